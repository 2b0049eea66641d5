"""Dashboards without a Grafana: every panel drawn from a live Prometheus as static pages, before and after a change.

It is enough to review a change, panel by panel; it is no second Grafana. `kinds` has a module for each kind of panel.
"""
