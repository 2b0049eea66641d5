"""Recording rules of one objective: its events, its burn rates, and what is left of its budget.

The period's budget is computed from event counts: five-minute increases, each five minutes once, summed. Averaging
ratios instead, as others do, gives a quiet night the weight of a busy noon. Windows that decide how quickly somebody is
called read the counters themselves. Missing errors are no errors; missing traffic is no evidence, and gives no record
rather than NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alerts.objectives import calendars
from alerts.objectives.objective import IDENTITY, VALUE, Objective
from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec.slo import CALENDAR_DAYS, CalendarPeriod, Severity
from midwatch.spec.values import format_duration, parse_duration

Rule = dict[str, Any]

TILE_SECONDS = 300.0
"""The period is covered by increases over this long, each beginning where the one before ends."""
DIRECT_SECONDS = 3600.0
"""Windows up to this long read the counters, where a tier pages by them."""

EVENTS, BAD_EVENTS = "slo:events:increase", "slo:bad_events:increase"
PERIOD_ID = "slo:calendar_period:id"


def of_objective(objective: Objective) -> Iterator[Rule]:
    """Records of an objective, each after those it reads."""
    yield from _promises(objective)
    yield from _counts(objective)
    yield from _burn_rates(objective)
    yield from _budget(objective)


def _record(objective: Objective, name: str, expr: Expr, *, owner: bool = True) -> Rule:
    labels = {"model": objective.subject, "slo": objective.slo.name} | ({"owner": objective.owner} if owner else {})
    return {"record": name, "expr": str(expr), "labels": labels}


def _promises(objective: Objective) -> Iterator[Rule]:
    yield _record(objective, metrics.SLO_OBJECTIVE.name, promql.call("vector", objective.slo.objective))
    sli = objective.slo.sli
    if not isinstance(sli, str) and sli.latency:
        threshold = promql.call("vector", sli.latency.threshold)
        yield _record(objective, metrics.SLO_LATENCY_THRESHOLD.name, threshold)


# Counts ------------------------------------------------------------------------------------------------------------


def _counts(objective: Objective) -> Iterator[Rule]:
    """Events and bad events of each window that something later asks for."""
    if objective.sli.value is not None:
        yield _record(objective, VALUE, objective.sli.value, owner=False)
    for window in _counted_windows(objective):
        suffix = format_duration(window)
        direct = is_direct(objective, window)
        total = objective.sli.total(window) if direct else _summed(objective.recorded(EVENTS + "5m"), window)
        bad = _bad(objective, window) if direct else _summed(objective.recorded(BAD_EVENTS + "5m"), window)
        yield _record(objective, EVENTS + suffix, total, owner=False)
        yield _record(objective, BAD_EVENTS + suffix, bad, owner=False)


def _counted_windows(objective: Objective) -> list[float]:
    """Five minutes, and every long window; short windows only where they read the counters."""
    wanted = {TILE_SECONDS}
    for tier in objective.tiers:
        wanted |= {tier.long, *([tier.short] if is_direct(objective, tier.short) else [])}
    return [TILE_SECONDS, *sorted(wanted - {TILE_SECONDS})]


def is_direct(objective: Objective, window: float) -> bool:
    """Whether a window reads the counters: five minutes, windows below ten, and the one that pages first."""
    paging = [tier.long for tier in objective.tiers if tier.severity is Severity.PAGE]
    return window < 2 * TILE_SECONDS or (window <= DIRECT_SECONDS and window == min(paging, default=0.0))


def _bad(objective: Objective, window: float) -> Expr:
    """Bad events; where none were ever counted, none of the total."""
    total = objective.recorded(EVENTS + format_duration(window))
    by = objective.slo.by
    if objective.sli.bad:
        return objective.sli.bad(window).or_(total * 0, on=by)
    if objective.sli.good is None:
        raise AssertionError("an SLI has good or bad events")
    good = objective.sli.good(window).or_(total * 0, on=by)
    return promql.call("clamp_min", total.minus(Expr(f"({good})"), on=by), 0)


def _summed(series: Expr, window: float) -> Expr:
    """Sum of five-minute increases over a longer window."""
    return promql.over_time("sum_over_time", series, window, step=TILE_SECONDS)


# Burn rates --------------------------------------------------------------------------------------------------------


def _burn_rates(objective: Objective) -> Iterator[Rule]:
    """Burn rates of the standard windows, and of those that this objective's tiers ask for."""
    counted = set(_counted_windows(objective))
    standard = {parse_duration(window) for window in metrics.BURN_RATE_WINDOWS}
    asked = {window for tier in objective.tiers for window in (tier.short, tier.long)}
    for window in sorted(asked | {one for one in standard if one <= objective.slo.period_seconds}):
        suffix = format_duration(window)
        if window in counted:
            total, bad = objective.recorded(EVENTS + suffix), objective.recorded(BAD_EVENTS + suffix)
        else:
            # Their ratio is all that is asked of these: a finer step only makes them fresher.
            step = 60.0 if window < 7200 else TILE_SECONDS
            total, bad = (
                promql.over_time("sum_over_time", objective.recorded(name + "5m"), window, step=step)
                for name in (EVENTS, BAD_EVENTS)
            )
        yield _record(objective, burn_rate_name(window), bad / Expr(f"({total > 0})") / objective.slo.budget)


def burn_rate_name(window: float) -> str:
    """Record of the burn rate over a window of seconds."""
    return f"slo:burn_rate:ratio{format_duration(window)}"


# The period's budget -----------------------------------------------------------------------------------------------


def _budget(objective: Objective) -> Iterator[Rule]:
    """Error ratio of the period, what is left of its budget, and how long that lasts."""
    period = objective.slo.window
    if isinstance(period, CalendarPeriod):
        yield _record(objective, PERIOD_ID, calendars.period_id(period), owner=False)
    total, bad = (_of_period(objective, objective.recorded(name + "5m")) for name in (EVENTS, BAD_EVENTS))
    yield _record(objective, metrics.SLO_PERIOD_ERROR.name, bad / Expr(f"({total > 0})"))
    error, left = (
        objective.recorded(metrics.SLO_PERIOD_ERROR.name),
        objective.recorded(metrics.SLO_BUDGET_REMAINING.name),
    )
    yield _record(objective, metrics.SLO_BUDGET_REMAINING.name, promql.number(1) - error / objective.slo.budget)
    yield _record(objective, metrics.SLO_TIME_TO_EXHAUSTION.name, _time_to_exhaustion(objective, left))


def _of_period(objective: Objective, series: Expr) -> Expr:
    """Sum of five-minute increases over the period."""
    period = objective.slo.window
    if isinstance(period, float):
        return _summed(series, period)
    longest = (CALENDAR_DAYS[period.calendar] + 2 if period.calendar != "week" else 7) * 86400.0
    return _summed(series.and_(Expr(f"({_this_period(objective)})"), on=IDENTITY), longest)


def _this_period(objective: Objective) -> Expr:
    this = objective.recorded(PERIOD_ID)
    return this.equals(promql.at_end(this))


def _time_to_exhaustion(objective: Objective, left: Expr) -> Expr:
    """Seconds until the budget is spent, if the last hour's burn rate goes on; nothing while it never would be.

    Rolling, with a period P, a share r of the budget left and a burn rate b above 1: the errors of the past leave the
    window evenly while new ones come, so that the budget is spent after P * r / (b - 1 + r). In a calendar period, of
    which E seconds are gone, nothing leaves: E * r / (b - 1).
    """
    burning = objective.recorded(burn_rate_name(DIRECT_SECONDS)) > 1
    at_least = promql.call("clamp_min", left, 0)
    if isinstance(objective.slo.window, float):
        return at_least * objective.slo.window / Expr(f"(({burning}) - 1 + {at_least})")
    span = (CALENDAR_DAYS[objective.slo.window.calendar] + 2) * 86400.0
    gone = promql.over_time("count_over_time", _this_period(objective), span, step=TILE_SECONDS) * TILE_SECONDS
    elapsed = Expr(f"scalar({gone})")
    return at_least * elapsed / Expr(f"(({burning}) - 1)")
