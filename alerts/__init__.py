"""Alerting: Prometheus rules and Alertmanager routes are made from the platform file, checked, and proven."""
