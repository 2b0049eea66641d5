"""Addresses of the console's pages, for those who link to them and do not build them."""

from __future__ import annotations

from midwatch import grafana
from midwatch.spec.model import Platform

OF_ALERTS = ("model", "version", "slo", "store", "drill", "experiment", "system")
"""Labels that tell an alert from others of its name."""


def alert_url(platform: Platform, alert: str, **labels: str) -> str | None:
    """Address of an alert's page; a rule's template such as `{{ $labels.model }}` stays one. None without a console."""
    if platform.console is None or platform.console.url is None:
        return None
    told = [f"{name}={grafana.in_address(labels[name])}" for name in OF_ALERTS if name in labels]
    query = f"?{'&'.join(told)}" if told else ""
    return f"{platform.console.url.rstrip('/')}/alerts/{alert}{query}"
