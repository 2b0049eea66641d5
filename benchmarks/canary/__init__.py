"""Canary verdicts beside the rules in use: honesty by simulation, and speed."""
