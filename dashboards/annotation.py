"""Annotations: what happened, on the time axis of every panel. Prometheus is asked; nobody writes them to Grafana."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import style
from dashboards.data_sources import PROMETHEUS
from midwatch import metrics, promql, signals
from midwatch.promql import Expr
from midwatch.signals import Selection


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A kind of event: it lasts while `expr` is above 0. With `at`, the value is its moment, in milliseconds.

    `text` may name labels as `{{label}}`; `tags` are labels whose values become tags.
    """

    name: str
    color: str
    expr: Expr
    text: str
    tags: tuple[str, ...]
    at: bool = False
    shown: bool = True


def annotation_queries(shown: Sequence[Annotation]) -> list[dict[str, Any]]:
    """Grafana's annotation queries."""
    return [
        {
            "name": one.name,
            "datasource": PROMETHEUS,
            "enable": one.shown,
            "iconColor": one.color,
            "target": {"expr": str(one.expr), "interval": "", "refId": "Anno"},
            "titleFormat": one.name,
            "textFormat": one.text,
            "tagKeys": ",".join(one.tags),
            **({"useValueForTime": True} if one.at else {}),
        }
        for one in shown
    ]


def of_models(where: Selection) -> list[Annotation]:
    """What happens to the models selected."""
    return [
        deployments(where),
        retrainings(where),
        loop_steps(where),
        drift(where),
        canaries(where),
        paging_alerts(where),
    ]


def deployments(where: Selection) -> Annotation:
    """Versions that were not there a step before."""
    return Annotation(
        name="Deployments",
        color=style.GOOD,
        expr=_new(signals.series(metrics.REQUESTS, where), *signals.BY_VERSION),
        text="{{model}} {{version}}: first traffic",
        tags=signals.BY_VERSION,
    )


def retrainings(where: Selection) -> Annotation:
    """Triggers of retraining; the first one of a counter shows as a new series, not as an increase."""
    series = signals.series(metrics.RETRAIN_TRIGGERS, where)
    grown = promql.sum_by(promql.increase(series, signals.RATE), "model", "result") > 0
    return Annotation(
        name="Retrainings",
        color=style.BASELINE,
        expr=grown.or_(_new(series, "model", "result")),
        text="{{model}}: retraining trigger {{result}}",
        tags=("model", "result"),
    )


def loop_steps(where: Selection) -> Annotation:
    """Steps of the loop when they were done, as their owners say: training, registration, promotion and so on."""
    return Annotation(
        name="Loop",
        color=style.BASELINE,
        expr=signals.gauge(metrics.LOOP_STEP, where, *metrics.LOOP_STEP.labels) * 1000,
        text="{{model}}: {{step}}",
        tags=("model", "step"),
        at=True,
    )


def drift(where: Selection) -> Annotation:
    """Windows whose verdict is drift."""
    return Annotation(
        name="Drift",
        color=style.WATCH,
        expr=signals.gauge(metrics.DRIFT_DETECTED, where, *signals.BY_VERSION),
        text="{{model}} {{version}}: the last window drifted",
        tags=signals.BY_VERSION,
    )


def canaries(where: Selection) -> Annotation:
    """Verdicts of canaries that decide."""
    decided = {**where, "verdict": promql.matches("pass|fail")}
    return Annotation(
        name="Canary verdicts",
        color=style.CANARY,
        expr=signals.gauge(metrics.CANARY_VERDICT, decided, *metrics.CANARY_VERDICT.labels),
        text="{{model}} {{canary}} against {{baseline}}: {{verdict}}",
        tags=("model", "canary", "verdict"),
    )


def paging_alerts(where: Selection) -> Annotation:
    """Alerts that page somebody, while they fire."""
    return Annotation(
        name="Pages",
        color=style.BAD,
        expr=promql.max_by(signals.firing({**where, "severity": "page"}), "alertname", "model", "version"),
        text="{{alertname}} {{model}} {{version}}",
        tags=("alertname", "model"),
        shown=False,
    )


def experiments() -> Annotation:
    """Chaos experiments while they run."""
    return Annotation(
        name="Experiments",
        color=style.UNDECIDED,
        expr=signals.gauge(metrics.CHAOS_RUNNING, {}, "experiment"),
        text="chaos experiment {{experiment}}",
        tags=("experiment",),
    )


def drills() -> Annotation:
    """Recovery drills when they ended, with their verdict."""
    verdicts = promql.select(metrics.DR_DRILL_VERDICT).equals(1)
    ended = promql.on_each(verdicts, promql.select(metrics.DR_DRILL_LAST_RUN), "drill", "store")
    return Annotation(
        name="Drills",
        color=style.BASELINE,
        expr=promql.max_by(ended, "drill", "store", "verdict") * 1000,
        text="drill {{drill}} of {{store}}: {{verdict}}",
        tags=("drill", "verdict"),
        at=True,
    )


def _new(series: Expr, *by: str) -> Expr:
    """Sets of labels that have series now and had none a step before."""
    return promql.count_by(series, *by).unless(promql.count_by(promql.before(series, signals.STEP), *by))
