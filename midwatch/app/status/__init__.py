"""The state of the promises now, from any Prometheus and Alertmanager; and who is told, and silences."""
