"""Alerting rules on a model beside its error budgets: on the SLI itself where `alert` asks, and the shipped ones."""

from __future__ import annotations

from alerts import alerting_rule
from alerts.alerting_rule import AlertingRule
from alerts.objectives import sli as slis
from alerts.rules import shipped
from midwatch.promql import Expr
from midwatch.signals import BY_VERSION
from midwatch.spec.model import Model, Platform
from midwatch.spec.slo import Alerting, Slo
from midwatch.spec.values import format_duration

_SLI_TEXT = {
    "availability": ("ModelErrorsHigh", "of requests answered"),
    "latency": ("ModelLatencyHigh", "of requests in time"),
    "outcome": ("ModelAccuracyLow", "of predictions right"),
}
"""Name of the alert on an SLI, and what its value is a share of."""


def of_model(platform: Platform, model: Model) -> list[AlertingRule]:
    """Rules of a model: those that its objectives' `alert` asks for, then the shipped ones."""
    direct = [on_sli(platform, model, slo, slo.alert) for slo in model.slos if slo.alert]
    return [*direct, *shipped.of_model(platform, model)]


def on_sli(platform: Platform, model: Model, slo: Slo, alert: Alerting) -> AlertingRule:
    """Alert while the SLI over the alert's window is short of its objective, with enough events to say so."""
    good, total = good_and_total(model, slo, alert.over)
    expr = (good.over(total, on=BY_VERSION) < slo.objective).and_(total >= alert.min_events, on=BY_VERSION)
    name, share_of = _SLI_TEXT[slo.kind]
    promise = f"{(slo.objective * 100).normalize():f}%"
    return AlertingRule(
        rule={
            "alert": name,
            "expr": str(expr),
            "for": alerting_rule.wait_text(alert.for_),
            "labels": {"severity": alert.severity.value, "owner": model.owner, "model": model.name, "slo": slo.name},
            "annotations": alerting_rule.annotations_of(
                platform,
                name,
                summary=f"{model.name} {{{{ $labels.version }}}}: {{{{ $value | humanizePercentage }}}} {share_of}, "
                f"objective {promise}",
                description=f"Over the last {format_duration(alert.over)} the SLI of objective {slo.name} is short of "
                f"{promise}.",
                owner=model.owner,
                runbook=slo.runbook or model.runbook,
                slo=slo.name,
                model=model.name,
                version="{{ $labels.version }}",
            ),
        }
    )


def good_and_total(model: Model, slo: Slo, window: float) -> tuple[Expr, Expr]:
    """Good and total events of an objective over a window of seconds, by model and version.

    A version without good events has 0 of them, not nothing: `total * 0` stands in.
    """
    counted = slis.sli_of(slo.model_copy(update={"by": list(BY_VERSION)}), model, Expr(""))
    total = counted.total(window)
    if counted.good:
        return counted.good(window).or_(total * 0), total
    if counted.bad is None:
        raise AssertionError("an SLI has good or bad events")
    return total - Expr(f"({counted.bad(window).or_(total * 0)})"), total
