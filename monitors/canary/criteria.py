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
from monitors.canary import alignment, band, bursts, ratio, share, starts
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.counts import Counted
from monitors.canary.dispersion import Dispersion
from monitors.canary.finished import NOTHING, Finished, Look
from monitors.canary.forecast import Forecast, forecast_fail, forecast_pass, pass_so_far
from monitors.canary.ratio import Interval
from monitors.canary.running import ALONE, Running


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The two groups that are treated less alike by the canary than by the baseline, or nearest to it.

    `baseline` and `canary` are the upper group's rate less the lower's, and `interval` is that of how much farther
    apart they are on the canary; it holds at every look, for all pairs at once. `least` and `most` are what missing
    labels leave possible of that: of this pair, and of any. `few` are groups with too few events.
    """

    above: str
    below: str
    baseline: float
    canary: float
    interval: tuple[float, float]
    least: float
    most: float
    few: tuple[str, ...] = ()

    @property
    def change(self) -> float:
        """By how much farther apart they are on the canary."""
        return self.canary - abs(self.baseline)


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
    gap: Gap | None = None

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
    look = finished.begin(counted)
    running, ways = look.running, _ways(criterion, two_sided=two_sided)
    told = [_Told.of(_turned(look.arms, way), criterion, running.of(way)) for way in ways]
    fails = _mean(np.stack([one.fail for one in told]))
    against, at = _largest(fails, running)
    # Each channel and direction has to exclude harm at some look; the latest to do so gives the criterion's pass.
    passes = np.minimum.reduce([one.passed for one in told])
    clustered = _clustered(look, ways, told)
    log_fail, log_pass = look.end(_mean(fails), passes.min(axis=0))
    sides = [_turned(counted.arms(), way) for way in ways]
    level = math.log(1 / false_alarm)
    index = _deciding(against, passes[:, -1], level)
    measured = _measured(
        criterion,
        [_channel(one, index) for one in sides],
        float(clustered[index]),
        false_alarm / len(counted.channels),
        until=int(at[index]) if against[index] >= level else None,
    )
    arms = counted.arms(index).at(slice(measured.since, None))
    return Evidence(
        log_fail=log_fail,
        log_pass=log_pass,
        channel=counted.channels[index],
        interval=measured.interval,
        baseline_events=int(arms.baseline_events.sum()),
        baseline_requests=int(arms.baseline_requests.sum()),
        canary_events=int(arms.canary_events.sum()),
        canary_requests=int(arms.canary_requests.sum()),
        towards_pass=_latest(
            [
                forecast_pass(one, criterion, false_pass, clustered, side.so_far)
                for one, side in zip(sides, told, strict=True)
            ]
        ),
        towards_fail=_soonest(
            [forecast_fail(_channel(one, index), criterion, false_alarm, clustered[index]) for one in sides]
        ),
        distance=_distance(criterion, counted, false_alarm),
        dispersion=1.0 if criterion.equal_baseline else float(clustered[index]),
        since=measured.since,
        is_excluded=measured.is_excluded,
    )


@dataclass(frozen=True, kw_only=True)
class _Told:
    """What a look's arms, turned so that an increase does harm, say of each channel.

    `fail` is the log e-process against the canary, and `passed` the largest one for it so far, by interval. `so_far` is
    what the newest look says of a pass, by alternative.
    """

    fail: Floats
    passed: Floats
    dispersion: Dispersion
    so_far: Floats

    @classmethod
    def of(cls, arms: Arms, criterion: spec.Counted, running: Running) -> _Told:
        """Of arms that are turned so that an increase does harm."""
        clusters = Dispersion.of(alignment.joined(arms), running.of("dispersion"))
        passed = log_pass(arms, criterion, clusters, running.of("pass"))
        return cls(
            fail=log_fail(arms, criterion, clusters, running.of("fail")),
            passed=running.largest("passed", passed),
            dispersion=clusters,
            so_far=pass_so_far(arms, criterion, running.of("so far")),
        )


def _clustered(look: Look, ways: list[bool], told: list[_Told]) -> Floats:
    """The newest dispersion by channel, of the arms as they are."""
    as_they_are = dict(zip(ways, told, strict=True)).get(False)
    if as_they_are is not None:
        return as_they_are.dispersion.estimate()[..., -1]
    return Dispersion.of(alignment.joined(look.arms), look.running.of("dispersion")).estimate()[..., -1]


def _largest(fails: Floats, running: Running) -> tuple[Floats, Ints]:
    """The largest log e-value of each channel so far, and the first interval that has it."""
    largest = running.largest("against", fails)
    earlier = np.concatenate([np.full((*fails.shape[:-1], 1), -math.inf), largest[..., :-1]], axis=-1)
    places = np.where(fails > earlier, running.offset + np.arange(fails.shape[-1]), 0)
    return largest[..., -1], running.largest("at", places)[..., -1]


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
    ways = _ways(criterion, two_sided=False)
    return _mean(_mean(np.stack([log_fail(_turned(counted.arms(), way), criterion) for way in ways])))


def _ways(criterion: spec.Counted, *, two_sided: bool) -> list[bool]:
    """Whether the arms are swapped so that an increase does harm; both ways where either change does."""
    direction = "either" if two_sided else criterion.harm
    return {"increase": [False], "decrease": [True], "either": [False, True]}[direction]


def _turned(arms: Arms, is_swapped: bool) -> Arms:
    return arms.swapped() if is_swapped else arms


def _mean(logs: Floats) -> Floats:
    """Log of the mean over the first axis."""
    mean: Floats = np.logaddexp.reduce(logs, axis=0) - math.log(len(logs))
    return mean


def log_fail(
    arms: Arms, criterion: spec.Counted, clusters: Dispersion | None = None, running: Running = ALONE
) -> Floats:
    """Log e-process by channel against "acceptable", for events whose increase does harm."""
    if criterion.equal_baseline:
        return bursts.log_e_above(arms, criterion.tolerated_ratio, running)
    arms = alignment.joined(arms)
    clustered = (clusters or Dispersion.of(arms)).estimate()
    by_ratio = ratio.log_e_above(arms, criterion.tolerated_ratio, clustered, running.of("ratio"))
    if not criterion.negligible:
        return by_ratio
    limit = float(criterion.negligible)
    return np.minimum(by_ratio, share.log_e_above(arms, limit, clustered, running.of("share")))


def log_pass(
    arms: Arms, criterion: spec.Counted, clusters: Dispersion | None = None, running: Running = ALONE
) -> Floats:
    """Log e-process by channel against "unacceptable", for events whose increase does harm.

    Bursty events cannot be called negligible from a quiet stretch, so there the ratio alone decides.
    """
    if criterion.equal_baseline:
        return bursts.log_e_below(arms, criterion.unacceptable_ratio, running)
    arms = alignment.joined(arms)
    clustered = (clusters or Dispersion.of(arms)).at_most()
    by_ratio = ratio.log_e_below(arms, criterion.unacceptable_ratio, clustered, running.of("ratio"))
    if not criterion.negligible:
        return by_ratio
    limit = float(criterion.negligible)
    by_share = share.log_e_below(arms.canary_events, arms.canary_requests, limit, clustered, running.of("share"))
    mixed: Floats = np.logaddexp(by_ratio, by_share) - math.log(2)
    return mixed


def _deciding(fails: Floats, passes: Floats, level: float) -> int:
    """The channel that decides, by the largest log e-values of each so far."""
    return int(fails.argmax()) if fails.max() > min(level, 1.0) else int(passes.argmin())


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
