"""Recording rules of one objective: its events, its burn rates, and what is left of its budget.

The period's budget is computed from event counts, each event once, summed. Averaging ratios instead, as others do,
gives a quiet night the weight of a busy noon. Windows that decide how quickly somebody is called read the counters
themselves: what was counted while nobody looked spends the budget and opens tickets, but it pages nobody for what is
over. Missing errors are no errors; missing traffic is no evidence, and gives no record rather than NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from alerts.objectives import calendars, counters
from alerts.objectives.objective import IDENTITY, VALUE, Objective
from midwatch import metrics, promql
from midwatch.metrics import Kind, Metric
from midwatch.promql import Expr
from midwatch.spec.regions import GLOBAL, Regions
from midwatch.spec.slo import CALENDAR_DAYS, CalendarPeriod, Severity
from midwatch.spec.values import format_duration, parse_duration

Rule = dict[str, Any]
Count = Callable[[Expr], Expr]

TILE_SECONDS = counters.TILE_SECONDS
"""What is no counter is counted over so long, each time beginning where the one before ends."""
DIRECT_SECONDS = 3600.0
"""Windows up to this long read the counters, where a tier pages by them."""
LONG_SECONDS = 7200.0
"""Windows from here on, and the period, know what was counted while nobody scraped: shorter ones page."""

EVENTS, BAD_EVENTS = "slo:events:increase", "slo:bad_events:increase"
COUNTED, BAD_COUNTED = "slo:events:counted", "slo:bad_events:counted"
"""Events since the last evaluation, each once."""
BRIDGED = "slo:events:bridged"
"""As many of them as came while nobody scraped."""
PERIOD_ID = "slo:calendar_period:id"
OF_PERIOD = "_of_period"
"""Ends the names of counts that know their calendar period, by a label."""


def counts_of_objective(objective: Objective) -> Iterator[Rule]:
    """Records that count each event once, in order, for a group that is evaluated once per tile."""
    read = objective.counters
    if read is None or objective.region is not None:
        return
    counted_at = objective.recorded(counters.COUNTED_AT)
    for rule in counters.rules(read, counted_at):
        yield {"record": rule.record, "expr": str(rule.expr), "labels": dict(rule.labels)}
    total, now = objective.sli.total(TILE_SECONDS), promql.last_over_time(objective.recorded(COUNTED), 1)
    bad = _bad(objective, TILE_SECONDS, read.counted, now)
    yield _record(objective, COUNTED, read.counted(total), owner=False)
    yield _record(objective, BAD_COUNTED, bad, owner=False)
    yield _record(objective, BRIDGED, read.counted(total, counters.BRIDGED), owner=False)
    if isinstance(objective.slo.window, CalendarPeriod):
        for name in (COUNTED, BAD_COUNTED, BRIDGED):
            yield _record(objective, name + OF_PERIOD, _with_period(objective, name), owner=False)
    yield _record(objective, counters.COUNTED_AT, promql.call("vector", promql.timestamp_now()), owner=False)


def _with_period(objective: Objective, name: str) -> Expr:
    """Counts of this evaluation with a label for the calendar period they are of.

    The period may have been recorded a tile ago, which Prometheus 3 does not look back by itself: a look back of five
    minutes ends after a sample that is five minutes old.
    """
    now = promql.last_over_time(objective.recorded(name), 1)
    period = promql.last_over_time(objective.recorded(PERIOD_ID), counters.GAP_SECONDS)
    return Expr(f'{now} * on () group_left (period) count_values("period", {period})', 1)


def of_objective(objective: Objective) -> Iterator[Rule]:
    """Records of an objective, each after those it reads."""
    yield from _promises(objective)
    yield from _counts(objective) if objective.region is None else _counts_of_regions(objective)
    yield from _burn_rates(objective)
    yield from _budget(objective)


def _record(objective: Objective, name: str, expr: Expr, *, owner: bool = True) -> Rule:
    labels = objective.own_labels | ({"owner": objective.owner} if owner else {})
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
    for window in counted_windows(objective):
        suffix = format_duration(window)
        direct = is_direct(objective, window)
        total = objective.sli.total(window) if direct else _summed(objective, EVENTS, window)
        bad = _bad(objective, window) if direct else _summed(objective, BAD_EVENTS, window)
        yield _record(objective, EVENTS + suffix, total, owner=False)
        yield _record(objective, BAD_EVENTS + suffix, bad, owner=False)


def counted_windows(objective: Objective) -> list[float]:
    """Five minutes, and every long window; short windows only where they read the counters."""
    wanted = {TILE_SECONDS}
    for tier in objective.tiers:
        wanted |= {tier.long, *([tier.short] if is_direct(objective, tier.short) else [])}
    if objective.platform.regions is not None:  # those of all regions are summed from counts of each
        wanted |= {window for window in _burn_windows(objective) if window >= LONG_SECONDS}
    return [TILE_SECONDS, *sorted(wanted - {TILE_SECONDS})]


def is_direct(objective: Objective, window: float) -> bool:
    """Whether a window reads the counters: five minutes, windows below ten, and the one that pages first."""
    paging = [tier.long for tier in objective.tiers if tier.severity is Severity.PAGE]
    return window < 2 * TILE_SECONDS or (window <= DIRECT_SECONDS and window == min(paging, default=0.0))


def _bad(objective: Objective, window: float, count: Count = lambda expr: expr, total: Expr | None = None) -> Expr:
    """Bad events, as `count` reads an expression; where none were ever counted, none of the total."""
    total = total or objective.recorded(EVENTS + format_duration(window))
    by = objective.slo.by
    if objective.sli.bad:
        return count(objective.sli.bad(window)).or_(total * 0, on=by)
    if objective.sli.good is None:
        raise AssertionError("an SLI has good or bad events")
    good = count(objective.sli.good(window)).or_(total * 0, on=by)
    return promql.call("clamp_min", total.minus(Expr(f"({good})"), on=by), 0)


# Counts of all regions ---------------------------------------------------------------------------------------------

KNOWN_SECONDS = 86_400.0
"""What a silent region counted is known for so long. After that the budget over all regions is not known either."""


def _counts_of_regions(objective: Objective) -> Iterator[Rule]:
    """Sums of what the planes of all regions counted: of the period also by those that are silent since today.

    Ratios are never averaged: a region with little traffic would weigh as much as one with much.
    """
    for window in counted_windows(objective):
        for name in (EVENTS, BAD_EVENTS):
            record = name + format_duration(window)
            yield _record(objective, record, _sum_of_regions(objective, copied(objective, record)), owner=False)
    for name in (EVENTS, BAD_EVENTS):
        latest = promql.last_over_time(copied(objective, _period(name)), KNOWN_SECONDS)
        yield _record(
            objective,
            _period(name),
            _sum_of_regions(objective, latest).and_(_every_region_known(objective), on=()),
            owner=False,
        )


def copied(objective: Objective, name: str) -> Expr:
    """Select what the view copied of a record, of every region."""
    labels = (*IDENTITY, *objective.slo.by, metrics.FROM_REGION)
    record = Metric(name=metrics.COPY_PREFIX + name, kind=Kind.GAUGE, help="", labels=labels)
    return promql.select(record, model=objective.subject, slo=objective.slo.name)


def _sum_of_regions(objective: Objective, copied: Expr) -> Expr:
    return promql.sum_by(copied, *IDENTITY, *objective.slo.by)


def _heard(regions: Regions) -> Expr:
    """When each region of the inventory was heard of last."""
    inventory = promql.matches("|".join(sorted(regions.planes)))
    heard = promql.select(metrics.COPIED_HEARTBEAT, "", **{metrics.FROM_REGION: inventory})
    return promql.max_by(promql.last_over_time(heard, KNOWN_SECONDS), metrics.FROM_REGION)


def _every_region_known(objective: Objective) -> Expr:
    """Whether every region of the inventory was heard of within a day: a part of the regions is not all of them."""
    regions = _regions(objective)
    return promql.count(_heard(regions)).equals(len(regions.planes))


def _left_at_least(objective: Objective, total: Expr, bad: Expr) -> Expr:
    """What is left of the budget if each event of a silent region was bad, at the rate of its busiest five minutes.

    With n events of the period, b bad, u unseen ones and a budget of a share e: 1 - (b + u) / (e (n + u)).
    """
    regions = _regions(objective)
    silence = (promql.timestamp_now() - _heard(regions)) > regions.silent_after
    busiest = promql.max_over_time(copied(objective, EVENTS + "5m"), KNOWN_SECONDS)
    unseen = Expr(f"{busiest / TILE_SECONDS} * on ({metrics.FROM_REGION}) group_left () ({silence})", 1)
    events = promql.set_label(_sum_of_regions(objective, unseen), "region", GLOBAL).or_(total * 0, on=objective.keys)
    return promql.number(1) - Expr(f"({bad} + ({events}))") / Expr(f"({total} + ({events}))") / objective.slo.budget


def _regions(objective: Objective) -> Regions:
    regions = objective.platform.regions
    if regions is None:
        raise AssertionError("counts of all regions are of a platform that has regions")
    return regions


def _summed(objective: Objective, name: str, window: float) -> Expr:
    """Events of a longer window: what was counted, or five-minute increases where it is not counters that are read."""
    if objective.counters is None:
        return promql.over_time("sum_over_time", objective.recorded(name + "5m"), window, step=TILE_SECONDS)
    return promql.over_time("sum_over_time", objective.recorded(_COUNTED_OF[name]), window)


_COUNTED_OF = {EVENTS: COUNTED, BAD_EVENTS: BAD_COUNTED}


# Burn rates --------------------------------------------------------------------------------------------------------


def _burn_rates(objective: Objective) -> Iterator[Rule]:
    """Burn rates of the standard windows, and of those that this objective's tiers ask for."""
    counted = set(counted_windows(objective))
    for window in _burn_windows(objective):
        suffix = format_duration(window)
        if window in counted:
            total, bad = objective.recorded(EVENTS + suffix), objective.recorded(BAD_EVENTS + suffix)
        elif window >= LONG_SECONDS:
            total, bad = (_summed(objective, name, window) for name in (EVENTS, BAD_EVENTS))
        else:
            # Their ratio is all that is asked of these: a finer step only makes them fresher.
            total, bad = (
                promql.over_time("sum_over_time", objective.recorded(name + "5m"), window, step=60.0)
                for name in (EVENTS, BAD_EVENTS)
            )
        yield _record(objective, burn_rate_name(window), bad / Expr(f"({total > 0})") / objective.slo.budget)


def _burn_windows(objective: Objective) -> list[float]:
    standard = {parse_duration(window) for window in metrics.BURN_RATE_WINDOWS}
    asked = {window for tier in objective.tiers for window in (tier.short, tier.long)}
    return sorted(asked | {one for one in standard if one <= objective.slo.period_seconds})


def burn_rate_name(window: float) -> str:
    """Record of the burn rate over a window of seconds."""
    return f"slo:burn_rate:ratio{format_duration(window)}"


# The period's budget -----------------------------------------------------------------------------------------------


def _budget(objective: Objective) -> Iterator[Rule]:
    """Error ratio of the period, what is left of its budget, and how long that lasts."""
    period = objective.slo.window
    if isinstance(period, CalendarPeriod):
        yield _record(objective, PERIOD_ID, calendars.period_id(period), owner=False)
    if objective.region is None:
        for name in (EVENTS, BAD_EVENTS):
            yield _record(objective, _period(name), _of_period(objective, name), owner=False)
    total, bad = (objective.recorded(_period(name)) for name in (EVENTS, BAD_EVENTS))
    yield _record(objective, metrics.SLO_PERIOD_ERROR.name, bad / Expr(f"({total > 0})"))
    if objective.counters is not None and objective.region is None:
        bridged = _counts_of_period(objective, BRIDGED).or_(total * 0, on=objective.keys)
        yield _record(objective, metrics.SLO_PERIOD_BRIDGED.name, Expr(f"({bridged})") / Expr(f"({total > 0})"))
    error, left = (
        objective.recorded(metrics.SLO_PERIOD_ERROR.name),
        objective.recorded(metrics.SLO_BUDGET_REMAINING.name),
    )
    yield _record(objective, metrics.SLO_BUDGET_REMAINING.name, promql.number(1) - error / objective.slo.budget)
    yield _record(objective, metrics.SLO_TIME_TO_EXHAUSTION.name, _time_to_exhaustion(objective, left))
    if objective.region is not None:
        yield _record(objective, metrics.SLO_BUDGET_AT_LEAST.name, _left_at_least(objective, total, bad))


def _period(name: str) -> str:
    """Record of the events of the whole period."""
    return f"{name.rpartition(':')[0]}:period"


def _of_period(objective: Objective, name: str) -> Expr:
    """Events of the period."""
    period = objective.slo.window
    if objective.counters is not None:
        return _counts_of_period(objective, _COUNTED_OF[name])
    if isinstance(period, float):
        return _summed(objective, name, period)
    series = objective.recorded(name + "5m").and_(Expr(f"({_this_period(objective)})"), on=IDENTITY)
    return promql.over_time("sum_over_time", series, _longest(period), step=TILE_SECONDS)


def _counts_of_period(objective: Objective, name: str) -> Expr:
    """Sum of counts over the period; of a calendar's, those with its label."""
    period = objective.slo.window
    if isinstance(period, float):
        return promql.over_time("sum_over_time", objective.recorded(name), period)
    every = promql.over_time("sum_over_time", objective.recorded(name + OF_PERIOD), _longest(period))
    this = f'count_values by ({", ".join(IDENTITY)}) ("period", {objective.recorded(PERIOD_ID)})'
    return promql.sum_by(every.and_(Expr(this), on=(*IDENTITY, "period")), *objective.keys)


def _longest(period: CalendarPeriod) -> float:
    return (CALENDAR_DAYS[period.calendar] + 2 if period.calendar != "week" else 7) * 86400.0


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
