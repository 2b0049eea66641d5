"""Alertmanager's configuration: ours is generated, any is read, and an alert is followed through it."""
