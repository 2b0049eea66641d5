"""What a model's objectives promise, as dashed lines; the figures are the series that the rules record."""

from __future__ import annotations

from dashboards.data_sources import Query
from midwatch import metrics, promql, signals
from midwatch.promql import Expr
from midwatch.signals import THIS_MODEL, Selection
from midwatch.spec.model import Platform


def objective(platform: Platform, kind: str) -> Expr | None:
    """The objectives of a kind: availability, latency or outcome. None when no model of the platform has one."""
    names = {slo.name for model in platform.models for slo in model.slos if slo.kind == kind}
    if not names:
        return None
    these: Selection = {"model": "$model", "slo": promql.matches("|".join(sorted(names)))}
    return signals.gauge(metrics.SLO_OBJECTIVE, these, "slo")


def latency_threshold(platform: Platform) -> Expr | None:
    """The time within which requests shall be answered; None when no model of the platform promises one."""
    if objective(platform, "latency") is None:
        return None
    return signals.gauge(metrics.SLO_LATENCY_THRESHOLD, THIS_MODEL, "slo")


def dashed(expr: Expr | None) -> list[Query]:
    """The query that draws a promise; none where nothing is promised."""
    return [] if expr is None else [Query(expr=expr, legend="promised: {{slo}}", promise=True)]
