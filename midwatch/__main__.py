"""`python -m midwatch`: the command line."""

from midwatch import modules
from midwatch.app import cli

modules.leave_out_working_folder()
cli.main()
