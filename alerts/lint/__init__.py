"""Checks find what Prometheus and Alertmanager load without a word and what works otherwise than it looks."""
