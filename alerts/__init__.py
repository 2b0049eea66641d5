"""Who is woken, by what, and how: Prometheus rules and Alertmanager routes from the platform file."""
