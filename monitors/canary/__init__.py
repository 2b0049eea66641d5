"""Canary: whether a new version is worse than the one it replaces, with a verdict that holds at every look.

Statistics are pure (`ratio`, `share`, `bursts`, `band`, `mannwhitney`), and so is the judgement over counts (`judge`).
Counts come from Prometheus (`fetch`) or a file (`counts_file`); the HTTP gate is `monitors.gate`'s job.
"""
