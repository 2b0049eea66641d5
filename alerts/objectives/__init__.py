"""Service level objectives as Prometheus rules: what they count, their budgets, and the alerts on burn rates."""
