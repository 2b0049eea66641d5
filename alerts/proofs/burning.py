"""Proof of an objective's burn-rate alert: an hour of health and then an outage fires it in time, half its burn never.

`within` is what follows from the alert's arithmetic: with everything bad, the long window's ratio passes the threshold
after threshold * window; then come the tiles that a summed window waits for, and two evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from alerts import expressions
from alerts.expressions import Selector
from alerts.objectives import records
from alerts.objectives.objective import Objective
from alerts.objectives.tiers import BurnAlert
from alerts.proofs import series as test_series
from alerts.proofs.case import Case, Grid
from midwatch import metrics, quality, serving
from midwatch.promql import Expr
from midwatch.spec.slo import Alerting, FairnessSli, FreshnessSli, GaugeSli, Severity
from midwatch.spec.values import format_duration

HISTORY = 3600.0
COARSE_STEP = records.TILE_SECONDS
"""Between evaluations where an alert takes over an hour to fire anyway: its counts are no fresher."""
EVENTS_PER_STEP = 1000


def _grid(objective: Objective) -> Grid:
    """How often its platform scrapes and evaluates."""
    prometheus = objective.platform.prometheus
    return Grid(scrape=prometheus.scrape_interval, evaluation=prometheus.evaluation_interval)


Share = tuple[float, float]
"""How much a counter grows per good event, and per bad event."""


def within(objective: Objective, severity: Severity) -> float:
    """Seconds from the begin of a total outage until the alert fires at the latest."""
    tiers = [tier for tier in objective.tiers if tier.severity is severity]
    return min(_tier_within(objective, tier) for tier in tiers)


def _tier_within(objective: Objective, tier: BurnAlert) -> float:
    ratio = float(tier.error_ratio(objective.slo.budget))
    waits = 2 * _grid(objective).longest
    if not records.is_direct(objective, tier.long) or objective.slo.kind in ("freshness", "gauge", "fairness"):
        waits += records.TILE_SECONDS
    if objective.slo.kind in ("freshness", "gauge", "fairness"):
        waits += 60.0 * (objective.slo.burn_rate.min_bad_events or objective.sli.least_bad)
    added = objective.additions(tier.severity).for_
    return ratio * tier.long + waits + (objective.slo.burn_rate.for_ if added is None else added)


def cases(objective: Objective, severity: Severity, alert: str) -> tuple[list[Case], float]:
    """Two cases and the time within which the first fires. Raises NoInstanceError when there is no series for it."""
    sli = objective.slo.sli
    if objective.region is not None or objective.slo.kind == "drift_free":
        make = _of_windows if objective.region is None else _of_regions
        return make(objective, severity, alert)
    if not isinstance(sli, str) and sli.freshness:
        return _of_freshness(objective, severity, alert, sli.freshness)
    if not isinstance(sli, str) and sli.gauge:
        return _of_gauge(objective, severity, alert, sli.gauge)
    measured = (
        None
        if isinstance(sli, str) or objective.model is None
        else quality.measured(objective.model, sli, objective.slo.by)
    )
    if measured is not None:
        return _of_measured(objective, severity, alert, measured)
    if not isinstance(sli, str) and sli.fairness:
        return _of_fairness(objective, severity, alert, sli.fairness)
    shares = _shares(objective)
    limit = within(objective, severity)
    grid = _grid(objective)
    step = grid.evaluation if limit <= HISTORY else max(COARSE_STEP, grid.evaluation)
    end = HISTORY + limit
    half = float(objective.slo.budget) / 2
    case = partial(Case, interval=grid.scrape, evaluation=step, alert=alert, severity=severity.value)
    fires = {name: _grown(share, 0.0, HISTORY, end, grid.scrape) for name, share in shares.items()}
    silent = {name: _grown(share, half, end + 600, 0.0, grid.scrape) for name, share in shares.items()}
    at = _whole(end, step)
    return [
        case(series=fires, fires_at=[at], silent_at=[HISTORY // step * step]),
        case(series=silent, silent_at=[_whole(end / 2, step), at, at + 600]),
    ], limit


def _whole(seconds: float, step: float) -> float:
    return -(-seconds // step) * step


def _grown(share: Share, bad: float, healthy: float, until: float, step: float) -> str:
    """Values of a counter: events of which a share is bad, and from `healthy` seconds on only bad ones."""
    good_per_event, bad_per_event = share
    slow = EVENTS_PER_STEP * (good_per_event * (1 - bad) + bad_per_event * bad)
    steps = int(healthy // step)
    values = f"0+{slow:.12g}x{steps}"
    if until > healthy:
        fast = EVENTS_PER_STEP * bad_per_event
        values += f" {slow * steps + fast:.12g}+{fast:.12g}x{int((until - healthy) // step) + 2}"
    return values


def direct_cases(objective: Objective, alert: Alerting, name: str) -> tuple[list[Case], float]:
    """Cases of an alert on the SLI itself: everything bad from the begin, or half as much as may be."""
    grid = _grid(objective)
    limit = alert.over + alert.for_ + 4 * grid.longest
    half = float(objective.slo.budget) / 2
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=name, severity=alert.severity.value)
    at = _whole(limit, grid.evaluation)

    def grown(bad: float) -> dict[str, str]:
        until = limit + 4 * grid.longest
        return {one: _grown(share, bad, until, 0.0, grid.scrape) for one, share in _shares(objective).items()}

    return [case(series=grown(1.0), fires_at=[at]), case(series=grown(half), silent_at=[at])], limit


# What events are made of -------------------------------------------------------------------------------------------


def _shares(objective: Objective) -> dict[str, Share]:
    """Counters of an objective's events."""
    slo = objective.slo
    if not isinstance(slo.sli, str) and slo.sli.events:
        events = slo.sli.events
        return _own(objective, events.total, events.bad, events.good)
    if slo.kind == "ratio":
        raise test_series.NoInstanceError("a ratio of errors has no events to make series of")
    if objective.model is None:
        raise AssertionError("the spec gives a service events or freshness only")
    if slo.kind == "outcome":
        labels = {"model": objective.model.name, "predicted": "a"} | dict.fromkeys(slo.by, test_series.GROUP)
        return {
            test_series.text(metrics.SETTLED_OUTCOMES.name, {**labels, "actual": "a"}): (1, 0),
            test_series.text(metrics.SETTLED_OUTCOMES.name, {**labels, "actual": "b"}): (0, 1),
        }
    counted = None if isinstance(slo.sli, str) else quality.counted(objective.model, slo.sli, slo.by)
    if counted is not None:
        extra = dict.fromkeys(slo.by, test_series.GROUP)
        examples: list[tuple[quality.Series, Share]] = [(counted.good_example, (1, 0))]
        examples += [(bad, (0, 1)) for bad in counted.bad_examples]
        return {test_series.text(metric.name, {**extra, **labels}): share for (metric, labels), share in examples}
    profile = serving.profile_of(objective.model)
    if not isinstance(slo.sli, str) and slo.sli.latency:
        bound = serving.bucket(profile, slo.sli.latency.threshold)
        count = serving.selector(profile.duration or "", "_count")
        return {_one(objective, str(count)): (1, 1), _one(objective, str(bound)): (1, 0)}
    return _failing(objective, profile)


def _failing(objective: Objective, profile: serving.Profile) -> dict[str, Share]:
    requests, failure = [_selector(text) for text in profile.requests], _selector(profile.failures[0])
    good = next(one for one in requests if one.metric != failure.metric or len(requests) == 1)
    unlike = failure if good.metric == failure.metric else None
    return {
        test_series.instance(good, more=objective.slo.by, unlike=unlike): (1, 0),
        _merged(objective, requests, failure): (0, 1),
    }


def _merged(objective: Objective, requests: list[Selector], failure: Selector) -> str:
    """A failure that is among the requests, too: labels of both where they are of one metric."""
    same = [one for one in requests if one.metric == failure.metric]
    matchers = tuple(dict.fromkeys((*failure.matchers, *(one for each in same for one in each.matchers))))
    return test_series.instance(Selector(metric=failure.metric, matchers=matchers), more=objective.slo.by)


def _own(objective: Objective, total: str, bad: str | None, good: str | None) -> dict[str, Share]:
    """Counters behind a team's own expressions: one series for each side."""
    wholes = _selectors(total)
    parts = _selectors(bad or good or "")
    part_share: Share = (0, 1) if bad else (1, 0)
    other_share: Share = (1, 0) if bad else (0, 1)
    shares: dict[str, Share] = {}
    for whole in wholes:
        if (whole.metric, whole.matchers) in {(one.metric, one.matchers) for one in parts}:
            continue  # read by both sides, such as `up`: it says whether to count, not what
        part = next((one for one in parts if one.metric == whole.metric), None)
        if part is None:
            shares[test_series.instance(whole, more=objective.slo.by)] = (1, 1)
            continue
        shares[test_series.instance(whole, more=objective.slo.by, unlike=part)] = other_share
        shares[_merged(objective, [whole], part)] = part_share
    for part in parts:
        if part.metric not in {one.metric for one in wholes}:
            shares[test_series.instance(part, more=objective.slo.by)] = part_share
    return shares


def _selectors(text: str) -> list[Selector]:
    selectors = expressions.selectors(expressions.parse(text.replace("{window}", "5m")))
    unique = {(one.metric, one.matchers): one for one in selectors}
    return list(unique.values())


def _selector(text: str) -> Selector:
    return _selectors(text)[0]


def _one(objective: Objective, text: str) -> str:
    return test_series.instance(_selector(str(Expr(text))), more=objective.slo.by)


# Over all regions --------------------------------------------------------------------------------------------------


def _of_regions(objective: Objective, severity: Severity, alert: str) -> tuple[list[Case], float]:
    """Counts as they are copied from each region: all of them fail, or spend half of their budget.

    The counts of every window are there from the begin, as they are when the view's Prometheus starts.
    """
    grid, added = _grid(objective), objective.additions(severity).for_
    limit = 4 * grid.longest + (objective.slo.burn_rate.for_ if added is None else added)
    steps, half = int(limit // grid.scrape) + 10, float(objective.slo.budget) / 2
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=alert, severity=severity.value)
    at = _whole(limit, grid.evaluation)
    regions = objective.platform.regions
    planes = sorted(regions.planes) if regions else []
    return [
        case(series=dict(_copies(objective, planes, steps, 1.0)), fires_at=[at]),
        case(series=dict(_copies(objective, planes, steps, half)), silent_at=[at]),
    ], limit


def _copies(objective: Objective, planes: Sequence[str], steps: int, bad: float) -> Iterator[tuple[str, str]]:
    """Series of the counts of planes, of which a share is bad."""
    labels = {**objective.identity, **dict.fromkeys(objective.slo.by, test_series.GROUP)}
    events = 100 / float(objective.slo.budget)
    for plane in planes:
        for window in records.counted_windows(objective):
            for name, value in ((records.EVENTS, events), (records.BAD_EVENTS, events * bad)):
                copy = metrics.COPY_PREFIX + name + format_duration(window)
                yield test_series.text(copy, {**labels, metrics.FROM_REGION: plane}), f"{value:.12g}x{steps}"


# What is not counted by events -------------------------------------------------------------------------------------


def _of_windows(objective: Objective, severity: Severity, alert: str) -> tuple[list[Case], float]:
    """Windows of drift, one after the other: all drifted, or all stable."""
    if objective.model is None or objective.model.drift is None:
        raise AssertionError("the spec lets no drift_free pass without drift")
    window = max(objective.model.drift.window, 60.0)
    step = 60.0
    limit = max(tier.long for tier in objective.tiers if tier.severity is severity)
    each = int(window // step)
    count = int((limit + 600) // window) + 2
    values = " ".join(f"{number}x{each - 1}" if each > 1 else f"{number}" for number in range(count))
    labels = {"model": objective.model.name} | dict.fromkeys(objective.slo.by, test_series.GROUP)
    drifted = test_series.text(metrics.DRIFT_WINDOWS.name, {**labels, "verdict": "drift"})
    stable = test_series.text(metrics.DRIFT_WINDOWS.name, {**labels, "verdict": "stable"})
    case = partial(Case, interval=step, evaluation=records.TILE_SECONDS, alert=alert, severity=severity.value)
    return [
        case(series={drifted: values, stable: f"0x{each * count}"}, fires_at=[_whole(limit, records.TILE_SECONDS)]),
        case(series={stable: values, drifted: f"0x{each * count}"}, silent_at=[_whole(limit, records.TILE_SECONDS)]),
    ], limit


def _of_freshness(
    objective: Objective, severity: Severity, alert: str, freshness: FreshnessSli
) -> tuple[list[Case], float]:
    """Old from the begin, or fresh throughout."""
    selectors = _selectors(freshness.timestamp or freshness.age or "")
    if not selectors:
        raise test_series.NoInstanceError("the expression reads no series")
    name = test_series.instance(selectors[0])
    grid = _grid(objective)
    limit = within(objective, severity)
    steps = int((limit + 1200) // grid.scrape)
    old = f"{-10 * freshness.limit - 86400:.12g}x{steps}"
    fresh = f"0+{grid.scrape:g}x{steps}"
    if freshness.age:
        old, fresh = f"{2 * freshness.limit + 1:.12g}x{steps}", f"0x{steps}"
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=alert, severity=severity.value)
    at = _whole(limit + 600, grid.evaluation)
    return [
        case(series={name: old}, fires_at=[at]),
        case(series={name: fresh}, silent_at=[at]),
    ], limit + 600


def _of_gauge(objective: Objective, severity: Severity, alert: str, gauge: GaugeSli) -> tuple[list[Case], float]:
    """Beyond the limit from the begin, or within it throughout; of one series, or of one divided by another, a 1."""
    first, *others = _selectors(gauge.value)
    if len(others) > (1 if _divides(gauge.value) else 0):
        raise test_series.NoInstanceError("the expression reads several series")
    name = test_series.instance(first, more=objective.slo.by)
    divisors = [test_series.instance(other, more=objective.slo.by) for other in others]
    if gauge.at_most is not None:
        bad, good = 2 * abs(gauge.at_most) + 1, min(gauge.at_most, 0.0)
    else:
        least = gauge.at_least or 0.0
        bad, good = least - abs(least) - 1, least
    grid = _grid(objective)
    limit = within(objective, severity) + 600.0
    steps = int((limit + 600) // grid.scrape)
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=alert, severity=severity.value)
    at = _whole(limit, grid.evaluation)
    ones = dict.fromkeys(divisors, f"1x{steps}")
    return [
        case(series={**ones, name: f"{bad:.12g}x{steps}"}, fires_at=[at]),
        case(series={**ones, name: f"{good:.12g}x{steps}"}, silent_at=[at]),
    ], limit


def _divides(expr: str) -> bool:
    """Whether an expression is a ratio, whatever is around it."""
    return any(str(getattr(node, "op", "")) == "/" for node in expressions.walk(expressions.parse(expr)))


def _of_measured(
    objective: Objective, severity: Severity, alert: str, measured: quality.Measured
) -> tuple[list[Case], float]:
    """Counters that grow so that the value is beyond its limit from the begin, or far within it."""
    grid = _grid(objective)
    limit = within(objective, severity) + 900.0
    steps = int((limit + 600) // grid.scrape)
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=alert, severity=severity.value)
    at = _whole(limit, grid.evaluation)
    above, below = (
        {name: f"0+{growth:.12g}x{steps}" for name, growth in counters.items()}
        for counters in (measured.above, measured.below)
    )
    return [case(series=above, fires_at=[at]), case(series=below, silent_at=[at])], limit


def _of_fairness(
    objective: Objective, severity: Severity, alert: str, fairness: FairnessSli
) -> tuple[list[Case], float]:
    """Two groups: of one every prediction is right and positive, of the other none; or both alike."""
    model = objective.model
    if model is None:
        raise AssertionError("fairness is of a model")
    positive, negative = model.positive or "a", "not " + (model.positive or "a")
    grid = _grid(objective)
    limit = within(objective, severity) + 900.0
    steps = int((limit + 600) // grid.scrape)

    def counter(group: str, predicted: str, actual: str) -> str:
        labels = {"model": model.name, "attribute": fairness.attribute, "group": group, "predicted": predicted}
        extra = dict.fromkeys(objective.slo.by, test_series.GROUP)
        return test_series.text(metrics.SETTLED_GROUP_OUTCOMES.name, {**labels, **extra, "actual": actual})

    grown = f"0+100x{steps}"
    hit, miss = counter("x", positive, positive), counter("y", negative, positive)
    other = counter("y", positive, positive)
    case = partial(Case, interval=grid.scrape, evaluation=grid.evaluation, alert=alert, severity=severity.value)
    at = _whole(limit, grid.evaluation)
    return [
        case(series={hit: grown, miss: grown}, fires_at=[at]),
        case(series={hit: grown, other: grown}, silent_at=[at]),
    ], limit
