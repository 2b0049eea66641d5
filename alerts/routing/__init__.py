"""Alertmanager's configuration: generating ours, reading anybody's, and following an alert through it."""
