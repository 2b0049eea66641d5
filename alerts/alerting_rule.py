"""One alerting rule as Prometheus loads it: its labels, its annotations, and the proof that it works."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from midwatch import console_links, grafana, metrics
from midwatch.promql import Expr
from midwatch.spec.model import Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.values import format_duration

DEADMAN = "MidwatchDeadman"
"""The alert that always fires: when it stops arriving, alerting is broken."""


@dataclass(frozen=True, kw_only=True)
class AlertingRule:
    """A rule as its file has it, and its proof where one is written."""

    rule: dict[str, Any]
    proof: Proof | None = None

    @property
    def name(self) -> str:
        """Its `alertname`; several rules may share it."""
        return str(self.rule["alert"])


def build(
    platform: Platform,
    name: str,
    expr: Expr,
    wait: float,
    owner: str,
    severity: Severity,
    summary: str,
    description: str,
    *,
    runbook: str | None = None,
    page: str = grafana.Page.PLANE,
    proof: Proof | None = None,
    **labels: str,
) -> AlertingRule:
    """Build a rule that fires once its expression has held for `wait` seconds; `page` is the dashboard to look at."""
    rule = {
        "alert": name,
        "expr": str(expr),
        "for": wait_text(wait),
        "labels": {"severity": severity.value, "owner": owner, **labels},
        "annotations": annotations_of(
            platform, name, summary=summary, description=description, owner=owner, runbook=runbook, page=page
        ),
    }
    return AlertingRule(rule=rule, proof=proof)


def wait_text(seconds: float) -> str:
    """A rule's `for`: `0s` when it fires at once."""
    return format_duration(seconds) if seconds else "0s"


def annotations_of(
    platform: Platform,
    alert: str,
    *,
    summary: str,
    description: str,
    owner: str | None,
    runbook: str | None = None,
    page: str = grafana.Page.OBJECTIVES,
    fires_as: str | None = None,
    **variables: str,
) -> dict[str, str]:
    """Annotations that every rule carries; `variables` fill those of the dashboard, and of the console.

    `fires_as` is its name where that is not the one of the runbook.
    """
    address = console_links.alert_url(platform, fires_as or alert, **variables)
    return {
        "summary": summary,
        "description": description,
        "runbook_url": runbook or platform.runbooks.replace("{alert}", alert),
        "dashboard_url": grafana.dashboard_url(platform, page, **variables),
        **({"console_url": address} if address else {}),
        **({"owner": owner} if owner else {}),
        **_changed(platform, fires_as or alert, variables),
    }


def _changed(platform: Platform, alert: str, variables: Mapping[str, str]) -> dict[str, str]:
    """What changed, as `midwatch explain watch` says it, of an alert on a model; empty while it has said nothing.

    Each value is quoted as Go and PromQL both quote it, so that a label can hold anything.
    """
    if not platform.incidents.watch or "model" not in variables:
        return {}
    query = f"{metrics.INCIDENT_INFO.name}{{alertname=%q,model=%q,version=%q,slo=%q}}"
    model = "$labels.model" if "{{" in variables["model"] else _quoted(variables["model"])
    values = f"{_quoted(alert)} {model} $labels.version {_quoted(variables.get('slo', ''))}"
    line = "{{ . | first | label `line` }}{{ end }}"
    return {"what_changed": f"{{{{ with printf `{query}` {values} | query }}}}{line}"}


def _quoted(text: str) -> str:
    """A string of Go's."""
    return json.dumps(text)
