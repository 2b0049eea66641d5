"""Simulated incidents, and how well their causes are found."""
