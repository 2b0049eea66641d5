"""Alerts on the burn rate of one objective: a page and a ticket, each when both windows of a tier burn too fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alerts import alerting_rule
from alerts.objectives import records
from alerts.objectives.objective import ALERT, Objective
from alerts.objectives.tiers import BurnAlert
from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec.slo import Severity
from midwatch.spec.values import format_duration

Rule = dict[str, Any]


def alerts(objective: Objective) -> Iterator[Rule]:
    """A page and a ticket, each for whichever of its tiers burns."""
    for severity in Severity:
        tiers = [tier for tier in objective.tiers if tier.severity is severity]
        if tiers:
            yield _alert(objective, severity, tiers)


def _alert(objective: Objective, severity: Severity, tiers: Sequence[BurnAlert]) -> Rule:
    expr = _burns(objective, tiers[0])
    for tier in tiers[1:]:
        expr = expr.or_(_burns(objective, tier), on=objective.keys)
    slo = objective.slo
    promise = f"{(slo.objective * 100).normalize():f}%"
    where = "".join(f" {{{{ $labels.{label} }}}}" for label in slo.by)
    over = " over all regions" if objective.region else ""
    added = objective.additions(severity)
    return {
        "alert": objective.alert_name,
        "expr": str(expr),
        "for": alerting_rule.wait_text(slo.burn_rate.for_ if added.for_ is None else added.for_),
        "labels": {
            **added.labels,
            "severity": severity.value,
            "owner": objective.owner,
            "model": objective.subject,
            "slo": slo.name,
        },
        "annotations": alerting_rule.annotations_of(
            objective.platform,
            ALERT,
            summary=f"{objective.subject}{where} {slo.name}: the error budget{over} burns {{{{ $value | humanize }}}} "
            f"times too fast, objective {promise}",
            description=_description(objective, severity, tiers),
            owner=objective.owner,
            runbook=slo.runbook or objective.runbook,
            fires_as=objective.alert_name,
            slo=slo.name,
            model=objective.subject,
        )
        | added.annotations,
    }


def _burns(objective: Objective, tier: BurnAlert) -> Expr:
    """Both windows burn, and the long one has seen enough to say so."""
    counted = format_duration(tier.long)
    least = objective.slo.burn_rate.min_events or objective.sli.least_events
    least_bad = objective.slo.burn_rate.min_bad_events or objective.sli.least_bad
    # Increases are extrapolated: 2.97 of 3 events are 3.
    enough = promql.call("round", objective.recorded(records.EVENTS + counted)) >= least
    enough_bad = promql.call("round", objective.recorded(records.BAD_EVENTS + counted)) >= least_bad
    short, long = (
        objective.recorded(records.burn_rate_name(window)) > tier.burn_rate for window in (tier.short, tier.long)
    )
    return short.and_(long).and_(enough_bad, on=objective.keys).and_(enough, on=objective.keys)


def _description(objective: Objective, severity: Severity, tiers: Sequence[BurnAlert]) -> str:
    shares = " or ".join(f"{format_duration(tier.long)} (over {tier.burn_rate:f} times)" for tier in tiers)
    period = objective.slo.window
    what = format_duration(period) if isinstance(period, float) else period.calendar
    left = objective.recorded(metrics.SLO_TIME_TO_EXHAUSTION.name)
    matchers = ",".join(f"{label}='%s'" for label in objective.keys)
    values = " ".join(f"$labels.{label}" for label in objective.keys)
    name = str(left).partition("{")[0]
    query = f'{{{{ with printf "{name}{{{matchers}}}" {values} | query }}}}'
    tail = " If it goes on, the budget is spent in {{ . | first | value | humanizeDuration }}.{{ end }}"
    urgency = "Somebody has to look now." if severity is Severity.PAGE else "It can wait for office hours, not longer."
    about = f"{objective.slo.description.rstrip('.')}. " if objective.slo.description else ""
    return f"{about}The budget of the {what} burns too fast over {shares}. {urgency}{query}{tail}"
