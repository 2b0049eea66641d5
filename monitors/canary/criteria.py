"""Evidence of one counted criterion: e-processes for "worse than tolerated" and for "not unacceptable".

Three regions: a ratio up to the tolerated one, or events too rare to matter, is acceptable; a ratio from the
unacceptable one on, with events that matter, is not; between them nothing has to be decided. To fail, a channel has to
refute the whole acceptable region, which is a union, so its e-process is the smaller of two; to pass, the unacceptable
region, an intersection, so it is their mean. Over the channels of a criterion the fail is the mean (an e-process for
"all are acceptable"), and the pass needs every one (an intersection-union test, so each at the full level).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from midwatch.spec import canary as spec
from monitors.canary import alignment, band, bursts, dispersion, ratio, share, starts
from monitors.canary.arms import Arms, Floats
from monitors.canary.counts import Counted
from monitors.canary.finished import NOTHING, Finished
from monitors.canary.forecast import Forecast, forecast_fail, forecast_pass
from monitors.canary.ratio import Interval


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the counts say of a criterion.

    `log_fail` and `log_pass` are log e-processes by interval; `reached_fail` and `reached_pass` their maxima so far.
    `dispersion` is how many events one cause makes, by which evidence was divided. `since` is the interval from which
    the numbers count, later than 0 if only what came since decides. `is_excluded` says whether the interval excludes
    every ratio that is tolerated.

    `channel` is the one that decides: the worst while it is against the canary, else the one least known. `interval` is
    its always-valid one, true of all channels at once; `towards_pass` and `towards_fail` say what would decide it.
    """

    log_fail: Floats
    log_pass: Floats
    channel: str
    interval: Interval
    baseline_events: int
    baseline_requests: int
    canary_events: int
    canary_requests: int
    towards_pass: Forecast | None = None
    towards_fail: Forecast | None = None
    distance: band.Distance | None = None
    dispersion: float = 1.0
    since: int = 0
    is_excluded: bool = False

    @property
    def reached_fail(self) -> float:
        """Largest log e-value against the canary so far."""
        return float(self.log_fail.max(initial=-math.inf))

    @property
    def reached_pass(self) -> float:
        """Largest log e-value for the canary so far."""
        return float(self.log_pass.max(initial=-math.inf))


def weigh(
    criterion: spec.Counted,
    counted: Counted,
    *,
    false_alarm: float,
    false_pass: float,
    two_sided: bool = False,
    finished: Finished = NOTHING,
) -> Evidence:
    """Evidence of a criterion from its counts, and from what is kept of earlier looks."""
    sides = _sides(criterion, counted, two_sided=two_sided)
    fail_by_channel = _fail_by_channel(criterion, sides, finished)
    passes = [log_pass(arms, criterion, finished.of("pass", side)) for side, arms in enumerate(sides)]
    # Each channel and direction has to exclude harm at some look; the latest to do so gives the criterion's pass.
    pass_by_channel = np.minimum.reduce([np.maximum.accumulate(one, axis=-1) for one in passes])
    index = _deciding(fail_by_channel, pass_by_channel, math.log(1 / false_alarm))
    clustered = dispersion.estimate(alignment.joined(counted.arms()))[..., -1]
    against = fail_by_channel[index]
    measured = _measured(
        criterion,
        [_channel(one, index) for one in sides],
        float(clustered[index]),
        false_alarm / len(counted.channels),
        until=int(against.argmax()) if against.max(initial=-math.inf) >= math.log(1 / false_alarm) else None,
    )
    arms = counted.arms(index).at(slice(measured.since, None))
    return Evidence(
        log_fail=_mean(fail_by_channel),
        log_pass=pass_by_channel.min(axis=0),
        channel=counted.channels[index],
        interval=measured.interval,
        baseline_events=int(arms.baseline_events.sum()),
        baseline_requests=int(arms.baseline_requests.sum()),
        canary_events=int(arms.canary_events.sum()),
        canary_requests=int(arms.canary_requests.sum()),
        towards_pass=_latest([forecast_pass(one, criterion, false_pass, clustered) for one in sides]),
        towards_fail=_soonest(
            [forecast_fail(_channel(one, index), criterion, false_alarm, clustered[index]) for one in sides]
        ),
        distance=_distance(criterion, counted, false_alarm),
        dispersion=1.0 if criterion.equal_baseline else float(clustered[index]),
        since=measured.since,
        is_excluded=measured.is_excluded,
    )


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Interval of the ratio since a start, and whether it excludes what is tolerated."""

    interval: Interval
    since: int
    is_excluded: bool


def _measured(
    criterion: spec.Counted, sides: list[Arms], clustered: float, alpha: float, until: int | None
) -> _Measured:
    """The interval of one channel since the start; since a later one if only that excludes what is tolerated.

    `until` is the look with most evidence against the canary, None when it never was enough. The sides are turned so
    that an increase does harm; the interval is turned back.
    """
    whole = [_interval(criterion, arms, clustered, alpha) for arms in sides]
    excluding = [index for index, one in enumerate(whole) if (one.low or 0.0) > criterion.tolerated_ratio]
    index, since, interval = excluding[0] if excluding else 0, 0, whole[excluding[0] if excluding else 0]
    if not excluding and until is not None:
        # An interval holds at all looks together, so what it excluded at one stays excluded unless a later one differs.
        for place, (arms, now) in enumerate(zip(sides, whole, strict=True)):
            then = _interval(criterion, arms.at(slice(None, until + 1)), clustered, alpha)
            if (then.low or 0.0) > criterion.tolerated_ratio and (now.ratio or 0.0) > (then.low or 0.0):
                index, interval, excluding = place, replace(now, low=then.low), [place]
    if not excluding and until is not None and not criterion.equal_baseline:
        for place, arms in enumerate(sides):
            start = ratio.deciding_start(arms, criterion.tolerated_ratio, clustered)
            late = _interval(criterion, _from(arms, start), clustered, alpha * math.exp(starts.log_weight(start)))
            if start and (late.low or 0.0) > criterion.tolerated_ratio:
                index, since, interval = place, start, late
    turned = criterion.harm == "decrease" or index == 1
    return _Measured(
        interval=interval.inverse() if turned else interval,
        since=since,
        is_excluded=bool(excluding) or since > 0,
    )


def _interval(criterion: spec.Counted, arms: Arms, clustered: float, alpha: float) -> Interval:
    """Each bound holds with probability 1 - `alpha`, as the one-sided test does."""
    if criterion.equal_baseline:
        return bursts.always_valid(arms, 2 * alpha)
    return ratio.always_valid(arms, 2 * alpha, clustered)


def _from(arms: Arms, start: int) -> Arms:
    """The arms since a start, whose first interval has the baseline's events only: the canary's may belong before."""
    if not start:
        return arms
    cut = arms.at(slice(start, None))
    events = cut.canary_events.copy()
    events[: int(np.argmax(cut.both())) + 1] = 0
    return replace(cut, canary_events=events, strata=tuple(_from(one, start) for one in arms.strata))


def against(criterion: spec.Counted, counted: Counted) -> Floats:
    """Log e-process by interval against "every channel is acceptable"."""
    return _mean(_fail_by_channel(criterion, _sides(criterion, counted, two_sided=False)))


def _sides(criterion: spec.Counted, counted: Counted, *, two_sided: bool) -> list[Arms]:
    """The arms, turned so that an increase does harm; both ways where either change does."""
    direction = "either" if two_sided else criterion.harm
    ways = {"increase": [False], "decrease": [True], "either": [False, True]}[direction]
    return [counted.arms().swapped() if swap else counted.arms() for swap in ways]


def _fail_by_channel(criterion: spec.Counted, sides: list[Arms], finished: Finished = NOTHING) -> Floats:
    return _mean(np.stack([log_fail(arms, criterion, finished.of(side)) for side, arms in enumerate(sides)]))


def _mean(logs: Floats) -> Floats:
    """Log of the mean over the first axis."""
    mean: Floats = np.logaddexp.reduce(logs, axis=0) - math.log(len(logs))
    return mean


def log_fail(arms: Arms, criterion: spec.Counted, finished: Finished = NOTHING) -> Floats:
    """Log e-process by channel against "acceptable", for events whose increase does harm."""
    if criterion.equal_baseline:
        return bursts.log_e_above(arms, criterion.tolerated_ratio)
    arms = alignment.joined(arms)
    clustered = dispersion.estimate(arms)
    by_ratio = ratio.log_e_above(arms, criterion.tolerated_ratio, clustered, finished.of("ratio"))
    if not criterion.negligible:
        return by_ratio
    limit = float(criterion.negligible)
    return np.minimum(by_ratio, share.log_e_above(arms, limit, clustered, finished.of("share")))


def log_pass(arms: Arms, criterion: spec.Counted, finished: Finished = NOTHING) -> Floats:
    """Log e-process by channel against "unacceptable", for events whose increase does harm.

    Bursty events cannot be called negligible from a quiet stretch, so there the ratio alone decides.
    """
    if criterion.equal_baseline:
        return bursts.log_e_below(arms, criterion.unacceptable_ratio)
    arms = alignment.joined(arms)
    clustered = dispersion.at_most(arms)
    by_ratio = ratio.log_e_below(arms, criterion.unacceptable_ratio, clustered, finished)
    if not criterion.negligible:
        return by_ratio
    limit = float(criterion.negligible)
    by_share = share.log_e_below(arms.canary_events, arms.canary_requests, limit, clustered)
    mixed: Floats = np.logaddexp(by_ratio, by_share) - math.log(2)
    return mixed


def _deciding(fails: Floats, passes: Floats, level: float) -> int:
    against = fails.max(axis=-1, initial=-math.inf)
    if against.max() > min(level, 1.0):
        return int(against.argmax())
    return int(passes.max(axis=-1, initial=-math.inf).argmin())


def _channel(arms: Arms, index: int) -> Arms:
    return arms.at(index)


def _latest(forecasts: list[Forecast | None]) -> Forecast | None:
    told = [one for one in forecasts if one is not None]
    return max(told, key=lambda one: one.requests) if len(told) == len(forecasts) else None


def _soonest(forecasts: list[Forecast | None]) -> Forecast | None:
    return min((one for one in forecasts if one is not None), key=lambda one: one.requests, default=None)


def _distance(criterion: spec.Counted, counted: Counted, alpha: float) -> band.Distance | None:
    """Distance of the latency distributions; channels count what is slower, the band wants cumulative counts."""
    if not isinstance(criterion, spec.Latency):
        return None
    sides = []
    for events, requests in (
        (counted.baseline_events, counted.baseline_requests),
        (counted.canary_events, counted.canary_requests),
    ):
        total = int(requests.sum())
        sides.append(np.append(total - events.sum(axis=-1), total))
    return band.compare(sides[0], sides[1], alpha)


WIDE = 0.25
"""Share of the requests in one bucket from which a verdict names it."""


def unseen(counted: Counted) -> str:
    """Between which boundaries of a histogram so many requests lie that a change among them matters; empty if none.

    Counts know no more of a request than its bucket, so a change that stays within one is not seen.
    """
    requests = int(counted.canary_requests.sum())
    if not requests:
        return ""
    slower = np.array([requests, *counted.canary_events.sum(axis=-1), 0]) / requests
    bounds = ["0", *(channel.removeprefix("> ") for channel in counted.channels), "any"]
    shares = slower[:-1] - slower[1:]
    wide = [
        f"{bounds[at]} and {bounds[at + 1]} ({shares[at]:.0%} of the requests)" for at in np.flatnonzero(shares >= WIDE)
    ]
    return f"changes between {', between '.join(wide)} cannot be seen" if wide else ""
