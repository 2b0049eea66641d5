"""What is shown: Grafana dashboards from the platform file."""
