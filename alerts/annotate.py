"""Annotations that every alert carries: summary, description, runbook, and the dashboard to look at."""

from __future__ import annotations

from midwatch import grafana
from midwatch.spec import model as spec


def annotate(
    platform: spec.Platform,
    alert: str,
    *,
    summary: str,
    description: str,
    owner: str | None,
    runbook: str | None = None,
    page: grafana.AnyPage = grafana.Page.OBJECTIVES,
    **variables: str,
) -> dict[str, str]:
    """Text of each; `variables` fill the dashboard's."""
    return {
        "summary": summary,
        "description": description,
        "runbook_url": runbook or platform.runbooks.replace("{alert}", alert),
        "dashboard_url": grafana.dashboard_url(platform, page, **variables),
        **({"owner": owner} if owner else {}),
    }
