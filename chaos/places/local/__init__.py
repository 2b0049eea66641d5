"""Faults on the processes of `midwatch up`."""
