"""Rules with the names and expressions of Sloth (v0.12, `sloth generate`), for teams that migrate from it.

Dashboards, alerts and silences made for Sloth go on; what Sloth gets wrong goes on with them (see `records`). Two
things differ: numbers are exact (`0.001`, not `0.0009999999999999432`), and the rules of an objective are one group, so
that each reads what was recorded in the same evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from alerts import alerting_rule
from alerts.objectives.objective import ALERT, Objective
from alerts.objectives.tiers import STANDARD, BurnAlert
from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec.slo import DAY, WINDOW_PLACEHOLDER, Severity
from midwatch.spec.values import format_duration, parse_duration

_ERROR = "slo:sli_error:ratio_rate"


def rules(objective: Objective) -> list[dict[str, Any]]:
    """Every rule of an objective: the SLI's windows, the period, what describes it, and the alerts."""
    return [*_sli(objective), *_about(objective), *_alerts(objective)]


def _labels(objective: Objective) -> dict[str, str]:
    name, slo = objective.subject, objective.slo.name
    return {"sloth_id": f"{name}-{slo}", "sloth_service": name, "sloth_slo": slo}


def _select(objective: Objective, name: str) -> str:
    matchers = ", ".join(promql.matcher(label, value) for label, value in _labels(objective).items())
    return f"{name}{{{matchers}}}"


def _record(objective: Objective, name: str, expr: object, **more: str) -> dict[str, Any]:
    return {"record": name, "expr": str(expr), "labels": {**dict(objective.labels), **_labels(objective), **more}}


def _sli(objective: Objective) -> Iterator[dict[str, Any]]:
    for window in metrics.BURN_RATE_WINDOWS:
        expr = _errors(objective, parse_duration(window))
        yield _record(objective, _ERROR + window, expr, sloth_window=window)
    period, five = format_duration(objective.slo.period_seconds), _select(objective, _ERROR + "5m")
    expr = f"sum_over_time({five}[{period}])\n/ ignoring (sloth_window)\ncount_over_time({five}[{period}])\n"
    yield _record(objective, _ERROR + period, expr, sloth_window=period)


def _errors(objective: Objective, window: float) -> str:
    """Ratio of errors over a window; a team's own as it wrote it."""
    sli = objective.slo.sli
    if not isinstance(sli, str) and sli.ratio:
        return f"({sli.ratio.errors.replace(WINDOW_PLACEHOLDER, format_duration(window))})"
    bad, total = _ratio(objective, window)
    return f"({bad})\n/\n({total})\n"


def _ratio(objective: Objective, window: float) -> tuple[str, str]:
    """Texts of bad and total events; a team's own are as it wrote them."""
    slo = objective.slo
    if not isinstance(slo.sli, str) and slo.sli.events:
        events, filled = slo.sli.events, format_duration(window)
        total = events.total.replace("{window}", filled)
        if events.bad:
            return events.bad.replace("{window}", filled), total
        return f"({total}) - ({(events.good or '').replace('{window}', filled)})", total
    sli = objective.sli
    whole = sli.total(window)
    if sli.bad:
        return str(sli.bad(window)), str(whole)
    if sli.good is None:
        raise AssertionError("an SLI has good or bad events")
    return str(whole - sli.good(window)), str(whole)


def _about(objective: Objective) -> Iterator[dict[str, Any]]:
    slo = objective.slo
    period = format_duration(slo.period_seconds)
    budget = (
        "\n/ on(sloth_id, sloth_slo, sloth_service) group_left\n" + _select(objective, "slo:error_budget:ratio") + "\n"
    )
    yield _record(objective, "slo:objective:ratio", promql.call("vector", slo.objective))
    yield _record(objective, "slo:error_budget:ratio", promql.call("vector", slo.budget))
    yield _record(objective, "slo:time_period:days", promql.call("vector", Decimal(slo.period_seconds / DAY)))
    yield _record(objective, "slo:current_burn_rate:ratio", _select(objective, _ERROR + "5m") + budget)
    yield _record(objective, "slo:period_burn_rate:ratio", _select(objective, _ERROR + period) + budget)
    remaining = "1 - " + _select(objective, "slo:period_burn_rate:ratio")
    yield _record(objective, "slo:period_error_budget_remaining:ratio", remaining)
    more = {
        "sloth_mode": "midwatch",
        "sloth_objective": f"{(slo.objective * 100).normalize():f}",
        "sloth_spec": "prometheus/v1",
        "sloth_version": "0.12",
    }
    yield _record(objective, "sloth_slo_info", Expr("vector(1)"), **more)


def _alerts(objective: Objective) -> Iterator[dict[str, Any]]:
    tiers = [_tier(objective, name) for name in STANDARD if getattr(objective.slo.burn_rate, name) is not False]
    for severity in Severity:
        own = [tier for tier in tiers if tier.severity is severity]
        if own:
            yield _alert(objective, severity, own)


def _tier(objective: Objective, name: str) -> BurnAlert:
    tier = STANDARD[name]
    rate = tier.budget * Decimal(objective.slo.period_seconds) / Decimal(tier.over)
    exact = Decimal(format(rate.quantize(Decimal("0.000001")).normalize(), "f"))
    severity = Severity(name.partition("_")[0])
    return BurnAlert(name=name, severity=severity, short=tier.over / 12, long=tier.over, burn_rate=exact)


def _alert(objective: Objective, severity: Severity, tiers: Sequence[BurnAlert]) -> dict[str, Any]:
    labels = {
        "severity": severity.value,
        "owner": objective.owner,
        "model": objective.subject,
        "slo": objective.slo.name,
        "sloth_severity": severity.value,
    }
    added = objective.additions(severity)
    how = "too fast" if severity is Severity.PAGE else "over expected"
    return {
        "alert": objective.alert_name,
        "expr": "or\n".join(_burns(objective, tier) for tier in tiers),
        **({"for": alerting_rule.wait_text(added.for_)} if added.for_ else {}),
        "labels": {**added.labels, **labels},
        "annotations": alerting_rule.annotations_of(
            objective.platform,
            ALERT,
            summary=f"{objective.subject} {objective.slo.name}: the error budget burns {how}",
            description=f"{objective.subject} {objective.slo.name}: both windows of a tier burn too fast.",
            owner=objective.owner,
            runbook=objective.slo.runbook or objective.runbook,
            fires_as=objective.alert_name,
            slo=objective.slo.name,
            model=objective.subject,
        )
        | added.annotations,
    }


def _burns(objective: Objective, tier: BurnAlert) -> str:
    limit = f"({tier.burn_rate:f} * {promql.number(objective.slo.budget)})"
    lines = [
        f"    max({_select(objective, _ERROR + format_duration(window))} > {limit}) without (sloth_window)"
        for window in (tier.short, tier.long)
    ]
    return f"(\n{lines[0]}\n    and\n{lines[1]}\n)\n"
