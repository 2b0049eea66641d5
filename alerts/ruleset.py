"""Alerting rules from the platform file: each objective, drift, missing data, and the plane itself."""

from __future__ import annotations

from typing import Any

from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec import model as spec
from midwatch.spec.values import format_duration

EXPORTER_JOB = "midwatch-exporter"
DEADMAN = "MidwatchDeadman"
PLATFORM_OWNER = "platform"

BY_VERSION = ("model", "version")

Rule = dict[str, Any]

NO_DATA_FOR = 300.0
"""Seconds without a prediction before that is an alert of its own: a quiet model has gaps."""


def model_rules(platform: spec.Platform, model: spec.Model) -> dict[str, Any]:
    """Rule file of a model: one group, evaluated in order."""
    rules = [_slo_rule(platform, model, slo) for slo in model.slos]
    if model.drift:
        rules.append(_drift_rule(platform, model, model.drift))
        if model.drift.retrain:
            rules.append(_retrain_rule(platform, model))
    rules.append(_no_data_rule(platform, model))
    return {"groups": [{"name": f"midwatch-model-{model.name}", "rules": rules}]}


def plane_rules(platform: spec.Platform) -> dict[str, Any]:
    """Rule file of the plane: the exporter, its judge of drift, and the deadman's switch that must always fire."""
    owner = sorted(platform.owners)[0]
    wait = _plane_wait(platform)
    rules = [
        _alert(
            platform, "ExporterDown", promql.scraped(job=EXPORTER_JOB).equals(0), wait, owner, spec.Severity.PAGE,
            "Exporter {{ $labels.instance }} cannot be scraped",
            "Nothing is known about any model whose events it takes; alerts on models cannot fire.",
        ),
        _alert(
            platform, "ExporterCannotKeepEvents",
            promql.increase(
                promql.select(metrics.EXPORTER_EVENTS, result="dropped", reason="not_durable"), max(60.0, 4 * wait)
            ) > 0,
            0.0, owner, spec.Severity.PAGE, "Exporter {{ $labels.instance }} cannot write its journal",
            "Clients get 503 and keep their events as long as they can; look at the disk.",
        ),
        _alert(
            platform, "ExporterJournalDamaged",
            promql.increase(promql.select(metrics.EXPORTER_JOURNAL_CORRUPTIONS), 3600.0) > 0,
            0.0, owner, spec.Severity.TICKET, "Exporter {{ $labels.instance }} found its journal damaged",
            "It recovered up to the damage; what was behind it is set aside in a .damaged file.",
        ),
        _alert(
            platform, "DriftJudgeDown", promql.select(metrics.DRIFT_WORKER_UP).equals(0), wait, owner,
            spec.Severity.TICKET, "The drift judge of {{ $labels.instance }} does not run",
            "Drift is not looked at; the exporter keeps the events and starts the judge again.",
        ),
        {"alert": DEADMAN, "expr": "vector(1)", "labels": {"severity": "none"},
         "annotations": {"summary": "Alerting works: this alert always fires"}},
    ]  # fmt: skip
    return {"groups": [{"name": "midwatch-plane", "rules": rules}]}


def _plane_wait(platform: spec.Platform) -> float:
    """Four scrapes: one that fails is noise."""
    return 4 * platform.prometheus.scrape_interval


def _slo_rule(platform: spec.Platform, model: spec.Model, slo: spec.Slo) -> Rule:
    """Alert while the SLI over the alert's window is short of its objective, with enough events to say so."""
    window = slo.alert.over
    good, total = sli(model, slo, window)
    share = good.over(total, on=BY_VERSION)
    expr = (share < slo.objective).and_(total >= slo.alert.min_events, on=BY_VERSION)
    name, what = _SLO_TEXT[_sli_kind(slo)]
    return _alert(
        platform, name, expr, slo.alert.for_, model.owner, slo.alert.severity,
        f"{model.name} {{{{ $labels.version }}}}: {{{{ $value | humanizePercentage }}}} {what}, "
        f"objective {_percent(slo)}",
        f"Over the last {format_duration(window)} the SLI of objective {slo.name} is short of {_percent(slo)}.",
        runbook=model.runbook, slo=slo.name,
    )  # fmt: skip


_SLO_TEXT = {
    "availability": ("ModelErrorsHigh", "of requests answered"),
    "latency": ("ModelLatencyHigh", "of requests in time"),
    "outcome": ("ModelAccuracyLow", "of predictions right"),
}


def _sli_kind(slo: spec.Slo) -> str:
    if isinstance(slo.sli, str):
        return slo.sli
    return "latency" if slo.sli.latency else "outcome"


def _percent(slo: spec.Slo) -> str:
    return f"{(slo.objective * 100).normalize():f}%"


def sli(model: spec.Model, slo: spec.Slo, window: promql.Range) -> tuple[Expr, Expr]:
    """Good and total events of an objective over a window, by model and version.

    A version without good events has 0 of them, not nothing: `total * 0` stands in.
    """
    if isinstance(slo.sli, str):
        total = _sum(promql.select(metrics.REQUESTS, model=model.name), window)
        good = _sum(promql.select(metrics.REQUESTS, model=model.name, outcome="ok"), window)
    elif slo.sli.latency:
        total = _sum(promql.select(metrics.REQUEST_DURATION, "_count", model=model.name), window)
        bound = promql.bucket(metrics.REQUEST_DURATION, slo.sli.latency.threshold, model=model.name)
        good = _sum(bound, window)
    else:
        return right_outcomes(model.name, window)
    return good.or_(total * 0), total


def right_outcomes(model: str, window: promql.Range) -> tuple[Expr, Expr]:
    """Right and all labelled predictions over a window, by model and version.

    Right is where the actual class is the predicted one: PromQL compares labels by copying one onto the other.
    """
    outcomes = promql.select(metrics.OUTCOMES, model=model)
    by_pair = promql.sum_by(promql.increase(outcomes, window), *BY_VERSION, "predicted", "actual")
    by_predicted = promql.sum_by(promql.increase(outcomes, window), *BY_VERSION, "predicted")
    diagonal = promql.same_label(by_predicted, "predicted", "actual")
    right = promql.sum_by(by_pair.and_(diagonal, on=(*BY_VERSION, "predicted", "actual")), *BY_VERSION)
    total = _sum(outcomes, window)
    return right.or_(total * 0), total


def _sum(series: Expr, window: promql.Range) -> Expr:
    return promql.sum_by(promql.increase(series, window), *BY_VERSION)


def _drift_rule(platform: spec.Platform, model: spec.Model, drift: spec.Drift) -> Rule:
    """Alert while the last window's verdict is drift and that window is not an old one; the value is its votes.

    One calm window between two drifted ones is the same incident: it keeps firing over it (Prometheus 2.42).
    """
    votes = promql.max_by(promql.select(metrics.DRIFT_VOTES, model=model.name), *BY_VERSION)
    ended = promql.max_by(promql.select(metrics.DRIFT_WINDOW_END, model=model.name), *BY_VERSION)
    recent = (promql.timestamp_now() - ended) < 3 * drift.window
    drifted = promql.max_by(promql.select(metrics.DRIFT_DETECTED, model=model.name), *BY_VERSION).equals(1)
    expr = votes.and_(drifted, on=BY_VERSION).and_(recent, on=BY_VERSION)
    rule = _alert(
        platform, "ModelInputDrift", expr, 0.0, model.owner, drift.severity,
        f"{model.name} {{{{ $labels.version }}}}: the inputs have drifted, {{{{ $value }}}} of "
        f"{len(drift.methods)} methods vote for it",
        f"The last window of {format_duration(drift.window)} differs from the reference beyond the false-alarm budget "
        f"({drift.false_alarms}) and beyond what calm windows do.",
        runbook=model.runbook,
    )  # fmt: skip
    return rule | {"keep_firing_for": format_duration(2 * drift.window)}


def _retrain_rule(platform: spec.Platform, model: spec.Model) -> Rule:
    unsure = promql.select(metrics.RETRAIN_TRIGGERS, model=model.name, result=promql.matches("failed|unknown"))
    return _alert(
        platform, "RetrainingNotTriggered", promql.sum_by(promql.increase(unsure, 3600.0), "model", "result") > 0,
        0.0, model.owner, spec.Severity.TICKET,
        f"{model.name}: drift holds, and the retraining trigger is {{{{ $labels.result }}}}",
        "Nobody has said that a training was started. It is not tried again in this episode.",
        runbook=model.runbook,
    )  # fmt: skip


def _no_data_rule(platform: spec.Platform, model: spec.Model) -> Rule:
    """Alert when there was traffic and there is none, or the model was never seen."""
    wait = max(NO_DATA_FOR, 8 * platform.prometheus.scrape_interval)
    requests = promql.select(metrics.REQUESTS, model=model.name)
    silent = promql.sum_by(promql.increase(requests, wait), "model").equals(0)
    expr = silent.or_(promql.absent(requests))
    return _alert(
        platform, "ModelNoData", expr, wait, model.owner, spec.Severity.TICKET,
        f"{model.name}: no prediction for {format_duration(wait)}",
        "Either nobody asks the model, or its events do not arrive. Its other alerts cannot fire meanwhile.",
        runbook=model.runbook, model=model.name,
    )  # fmt: skip


def _alert(
    platform: spec.Platform, name: str, expr: Expr, wait: float, owner: str, severity: spec.Severity,
    summary: str, description: str, *, runbook: str | None = None, **labels: str,
) -> Rule:  # fmt: skip
    return {
        "alert": name,
        "expr": str(expr),
        "for": format_duration(wait) if wait else "0s",
        "labels": {"severity": severity.value, "owner": owner, **labels},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": runbook or platform.runbooks.replace("{alert}", name),
        },
    }
