"""Drift judged beside the exporter, in a process of its own."""
