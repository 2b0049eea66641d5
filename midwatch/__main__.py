"""`python -m midwatch`: the command line."""

from midwatch.app import cli

cli.main()
