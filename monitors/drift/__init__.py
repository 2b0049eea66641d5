"""Drift of a model's inputs from a reference: one file per method, statistics that add up, one vote per window."""
