"""Faults on purpose: Chaos Toolkit experiments from the platform file."""
