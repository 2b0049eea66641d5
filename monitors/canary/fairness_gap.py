"""Evidence that the canary treats groups less alike than the baseline: for "farther apart than tolerated", and for
"not unacceptably so".

For an ordered pair of groups (a, b) the canary is no less fair when theta_ca - theta_cb is at most the baseline's
|theta_ba - theta_bb| plus a margin. That is a union of two half-spaces of the four rates, one for each sign of the
baseline's gap, so its e-process is the smaller of two (`halfspace`); "at least that far apart" is an intersection, so
the mean of two. A fail refutes that all pairs are acceptable: the mean over pairs. A pass needs every pair.

Evidence is weighed in blocks of intervals: each block is compared with rates that were learned in earlier ones. Blocks
grow with the time since the start, and their edges depend on nothing else, so that every look sees the same ones. Both
arms' groups have to be seen in a block and stratum, so what strikes both versions at a time makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from scipy.special import betaln

from midwatch.spec import canary as spec
from monitors.canary import halfspace
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.counts import Counted, Missing
from monitors.canary.criteria import Evidence, Gap
from monitors.canary.dispersion import Dispersion
from monitors.canary.forecast import Forecast
from monitors.canary.ratio import Interval

GROWTH = 32
"""Blocks within which the length of a block is doubled."""
PRIOR = 0.18
"""Of each side, added to a group's counts when its rate is learned (Turner, Ly, Grünwald, JSPI 230, 2024)."""
ROUNDS, POINTS = 4, 17
"""The end of an interval is looked for among so many points, and then between two of them."""
ARMS = np.array([[1.0, -1.0, -1.0, 1.0], [1.0, -1.0, 1.0, -1.0]])
"""Weights of the rates of the canary's two groups and the baseline's two, by the sign of the baseline's gap."""
UNKNOWN = Interval(ratio=None, low=None, high=None)
"""A ratio is not what is compared."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Counts of a stratum by block, arm (baseline, canary) and group: shape (blocks, arms, groups)."""

    name: str
    events: Floats
    hits: Floats

    @property
    def rates(self) -> Floats:
        """Rates as they were learned before each block."""
        hits, events = (np.cumsum(found, axis=0) - found for found in (self.hits, self.events))
        learned: Floats = (hits + PRIOR) / (events + 2 * PRIOR)
        return learned

    def of(self, counts: Floats, pairs: Ints) -> Floats:
        """Counts by pair and block: the canary's two groups, and the baseline's."""
        found: Floats = np.stack([counts[:, arm, pairs[:, side]].T for arm in (1, 0) for side in (0, 1)], axis=-1)
        return found


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What is compared: groups with enough events on both arms, their pairs, the parts, and how alike events are."""

    groups: tuple[str, ...]
    pairs: Ints
    parts: tuple[_Part, ...]
    few: tuple[str, ...]
    alike: Floats
    cautious: Floats
    ends: Ints

    def logs(self, pairs: Ints, margin: float, *, against: bool) -> Floats:
        """Log e-processes by pair and block: against "apart by at most a margin more", or "by at least"."""
        sign = 1.0 if against else -1.0
        total = np.zeros((2, len(pairs), self.ends.size))
        for part in self.parts:
            events, hits, rates = (part.of(found, pairs) for found in (part.events, part.hits, part.rates))
            for place, weights in enumerate(ARMS):
                total[place] += halfspace.log_e(events, hits, rates, sign * weights, sign * margin)
        alike = (self.alike if against else self.cautious)[pairs].max(axis=1)
        paths: Floats = np.cumsum(total, axis=-1) / alike[:, None]
        joined: Floats = paths.min(axis=0) if against else np.logaddexp(paths[0], paths[1]) - math.log(2)
        return joined


def edges(intervals: int) -> Ints:
    """Where blocks end, as numbers of intervals; the last intervals may be in none yet.

    >>> edges(5).tolist(), edges(70)[-5:].tolist()
    ([1, 2, 3, 4, 5], [63, 64, 66, 68, 70])
    """
    ends, end = [], 0
    while (end := end + max(1, end // GROWTH)) <= intervals:
        ends.append(end)
    return np.array(ends, dtype=np.int64)


def weigh(
    criterion: spec.Fairness, counted: Counted, *, false_alarm: float, false_pass: float, two_sided: bool = False
) -> Evidence:
    """Evidence of a criterion from its counts."""
    sides = [counted, _swapped(counted)] if two_sided else [counted]
    told = [_told(criterion, side, false_alarm, false_pass) for side in sides]
    worst = max(told, key=lambda one: one.reached_fail)
    fails = np.logaddexp.reduce([one.log_fail for one in told], axis=0) - math.log(len(told))
    passes = np.minimum.reduce([np.maximum.accumulate(one.log_pass) for one in told])
    return Evidence(
        log_fail=fails,
        log_pass=passes,
        channel=spec.name_of(criterion),
        interval=UNKNOWN,
        baseline_events=int(counted.baseline_events.sum()),
        baseline_requests=int(counted.baseline_requests.sum()),
        canary_events=int(counted.canary_events.sum()),
        canary_requests=int(counted.canary_requests.sum()),
        towards_pass=_latest([one.towards_pass for one in told]),
        dispersion=worst.dispersion,
        is_excluded=worst.is_excluded,
        gap=worst.gap,
    )


def _told(criterion: spec.Fairness, counted: Counted, false_alarm: float, false_pass: float) -> Evidence:
    """Evidence of one way: the canary is less fair than the baseline."""
    compared = _compare(criterion, counted)
    size, pairs = counted.baseline_requests.size, compared.pairs
    tolerated, unacceptable = float(criterion.tolerated), float(criterion.unacceptable)
    nothing = np.zeros((max(1, len(pairs)), compared.ends.size))
    fails = compared.logs(pairs, tolerated, against=True) if len(pairs) else nothing
    passes = compared.logs(pairs, unacceptable, against=False) if len(pairs) else nothing
    passed = np.maximum.accumulate(passes, axis=-1)
    log_fail = np.logaddexp.reduce(fails, axis=0) - math.log(len(fails))
    log_pass = passed.min(axis=0) if not compared.few else np.zeros(compared.ends.size)
    gap, worst = None, 0
    if len(pairs) and compared.ends.size:
        level = math.log(1 / false_alarm)
        worst = _worst(fails, passed, level)
        gap = _gap(compared, counted, worst, false_alarm)
    now = float(log_fail[-1]) if log_fail.size else 0.0
    return Evidence(
        log_fail=_by_interval(log_fail, compared.ends, size),
        log_pass=_by_interval(log_pass, compared.ends, size),
        channel=spec.name_of(criterion),
        interval=UNKNOWN,
        baseline_events=0,
        baseline_requests=0,
        canary_events=0,
        canary_requests=0,
        towards_pass=_forecast(criterion, counted, compared, passed, false_pass) if gap else None,
        dispersion=float(compared.alike[pairs[worst]].max()) if len(pairs) else 1.0,
        is_excluded=gap is not None and (gap.interval[0] > tolerated or now >= math.log(1 / false_alarm)),
        gap=gap,
    )


def _worst(fails: Floats, passed: Floats, level: float) -> int:
    """The pair that decides: the one with most evidence against the canary, else the one least known to be well."""
    against = fails.max(axis=-1)
    return int(against.argmax()) if against.max() > min(level, 1.0) else int(passed[:, -1].argmin())


# What is compared ----------------------------------------------------------------------------------------------------


def _compare(criterion: spec.Fairness, counted: Counted) -> _Compared:
    ends = edges(counted.baseline_requests.size)
    there = [name for name, one in counted.groups.items() if one.baseline_requests.any() or one.canary_requests.any()]
    few = {name for name in there if _fewest(counted.groups[name]) < criterion.min_events}
    groups = tuple(name for name in there if name not in few)
    strata = {name: one.groups for name, one in counted.strata.items()} or {"": counted.groups}
    parts = tuple(_part(name, [own.get(group) for group in groups], ends) for name, own in strata.items())
    known = [_arms(counted.groups[group], ends) for group in groups]
    told = [Dispersion.of(arms) for arms in known]
    last = -1 if ends.size else None
    return _Compared(
        groups=groups,
        pairs=np.array(list(permutations(range(len(groups)), 2)), dtype=np.int64).reshape(-1, 2),
        parts=parts,
        few=tuple(sorted(few)),
        alike=np.array([1.0 if last is None else float(one.estimate()[last]) for one in told]),
        cautious=np.array([1.0 if last is None else float(one.at_most()[last]) for one in told]),
        ends=ends,
    )


def _fewest(group: Counted) -> int:
    return int(min(group.baseline_requests.sum(), group.canary_requests.sum()))


def _part(name: str, groups: Sequence[Counted | None], ends: Ints) -> _Part:
    nothing = np.zeros(int(ends[-1]) if ends.size else 0, dtype=np.int64)

    def counts(row_of: Callable[[Counted, str], Ints]) -> Floats:
        rows = [
            [_in_blocks(nothing if one is None else row_of(one, arm), ends) for one in groups]
            for arm in ("baseline", "canary")
        ]
        return np.moveaxis(np.array(rows, dtype=float).reshape(2, len(groups), ends.size), -1, 0)

    return _Part(
        name=name,
        events=counts(lambda one, arm: one.baseline_requests if arm == "baseline" else one.canary_requests),
        hits=counts(lambda one, arm: (one.baseline_events if arm == "baseline" else one.canary_events)[0]),
    )


def _in_blocks(row: Ints, ends: Ints) -> Ints:
    """Sums of a row of counts by block."""
    sums = np.concatenate([[0], np.cumsum(row)])
    found: Ints = np.diff(sums[np.concatenate([np.zeros(1, dtype=np.int64), ends])])
    return found


def _arms(group: Counted, ends: Ints) -> Arms:
    return Arms(
        baseline_events=_in_blocks(group.baseline_events[0], ends),
        baseline_requests=_in_blocks(group.baseline_requests, ends),
        canary_events=_in_blocks(group.canary_events[0], ends),
        canary_requests=_in_blocks(group.canary_requests, ends),
    )


def _by_interval(path: Floats, ends: Ints, size: int) -> Floats:
    """What was known at each interval's end: 0 before the first block is over."""
    known = np.concatenate([[0.0], path])
    found: Floats = known[np.searchsorted(ends, np.arange(1, size + 1), side="right")]
    return found


def _swapped(counted: Counted) -> Counted:
    """The arms with their roles exchanged."""
    missing = counted.missing and Missing(
        baseline_events=counted.missing.canary_events,
        baseline_others=counted.missing.canary_others,
        canary_events=counted.missing.baseline_events,
        canary_others=counted.missing.baseline_others,
    )
    return Counted(
        channels=counted.channels,
        baseline_events=counted.canary_events,
        canary_events=counted.baseline_events,
        baseline_requests=counted.canary_requests,
        canary_requests=counted.baseline_requests,
        strata=_all_swapped(counted.strata),
        groups=_all_swapped(counted.groups),
        missing=missing,
    )


def _all_swapped(parts: Mapping[str, Counted]) -> dict[str, Counted]:
    return {name: _swapped(one) for name, one in parts.items()}


# What is shown -------------------------------------------------------------------------------------------------------


def _gap(compared: _Compared, counted: Counted, chosen: int, false_alarm: float) -> Gap:
    pair = compared.pairs[chosen]
    above, below = (compared.groups[place] for place in pair)
    baseline, canary = (
        _rate(counted.groups[above], arm) - _rate(counted.groups[below], arm) for arm in ("baseline", "canary")
    )
    level = math.log(len(compared.pairs) / false_alarm)
    names = [(compared.groups[one], compared.groups[other]) for one, other in compared.pairs]
    return Gap(
        above=above,
        below=below,
        baseline=baseline,
        canary=canary,
        interval=_interval(compared, pair, level),
        least=_possible(counted, above, below)[0],
        most=max(_possible(counted, one, other)[1] for one, other in names),
        few=compared.few,
    )


def _interval(compared: _Compared, pair: Ints, level: float) -> tuple[float, float]:
    """By how much farther apart a pair can be on the canary: rates whose prior-posterior ratio is below a level.

    It holds at every look (Waudby-Smith, Ramdas 2020); of the two signs of the baseline's gap the smaller is meant.
    """
    alike = float(compared.alike[pair].max())
    counts = [
        [part.of(found.sum(axis=0, keepdims=True), pair[None])[0, 0] / alike for found in (part.events, part.hits)]
        for part in compared.parts
    ]
    seen = [(events, hits) for events, hits in counts if (events > 0).all()]
    room = level - sum(_complexity(events, hits) for events, hits in seen)
    ends = [_end(seen, side * weights, room) * side for weights in ARMS for side in (1.0, -1.0)]
    return min(ends[0], ends[2]), min(ends[1], ends[3])


def _end(seen: Sequence[tuple[Floats, Floats]], weights: Floats, room: float) -> float:
    """Least weighted sum of rates that is not excluded, of counts by part."""
    if not seen:
        return -2.0
    total = np.sum(seen, axis=0)
    inside, outside = float((total[1] / total[0] * weights).sum()), -2.0
    for _ in range(ROUNDS):
        sums = np.linspace(inside, outside, POINTS)
        is_inside = _excess(seen, weights, sums) < room
        last = int(np.argmin(is_inside)) - 1 if not is_inside.all() else POINTS - 2
        inside, outside = float(sums[max(last, 0)]), float(sums[max(last, 0) + 1])
    return outside


def _excess(seen: Sequence[tuple[Floats, Floats]], weights: Floats, sums: Floats) -> Floats:
    """Nats by which the likeliest rates are above the nearest ones whose weighted sum is at most each of some."""
    excess = np.zeros(sums.shape)
    for events, hits in seen:
        rates = np.clip(hits / events, halfspace.EDGE, 1 - halfspace.EDGE)
        shape = (sums.size, rates.size)
        excess += halfspace.log_e(np.broadcast_to(events, shape), np.broadcast_to(hits, shape), rates, weights, sums)
    return excess


def _complexity(events: Floats, hits: Floats) -> float:
    """Logarithm of the prior's average likelihood over the greatest one: never positive (beta(1/2, 1/2) for each)."""
    rates = np.clip(hits / events, halfspace.EDGE, 1 - halfspace.EDGE)
    greatest = hits * np.log(rates) + (events - hits) * np.log(1 - rates)
    return float((betaln(0.5 + hits, 0.5 + events - hits) - betaln(0.5, 0.5) - greatest).sum())


def _rate(group: Counted, arm: str) -> float:
    events, requests = (int(getattr(group, f"{arm}_{what}").sum()) for what in ("events", "requests"))
    return events / max(1, requests)


def _possible(counted: Counted, above: str, below: str) -> tuple[float, float]:
    """Least and most by which a pair can be farther apart on the canary, whatever the missing labels are.

    Bounds of each rate that assume nothing (Manski 1989): all that could be events were none, or all were.
    """
    one, other = counted.groups[above], counted.groups[below]
    canary, baseline = (_apart(_bounds(one, arm), _bounds(other, arm)) for arm in ("canary", "baseline"))
    nearest = 0.0 if baseline[0] <= 0 <= baseline[1] else min(map(abs, baseline))
    return canary[0] - max(map(abs, baseline)), canary[1] - nearest


def _apart(above: tuple[float, float], below: tuple[float, float]) -> tuple[float, float]:
    return above[0] - below[1], above[1] - below[0]


def _bounds(group: Counted, arm: str) -> tuple[float, float]:
    events, requests = (int(getattr(group, f"{arm}_{what}").sum()) for what in ("events", "requests"))
    could, others = (
        (0, 0)
        if group.missing is None
        else (int(getattr(group.missing, f"{arm}_{what}").sum()) for what in ("events", "others"))
    )
    return events / max(1, requests + others), (events + could) / max(1, requests + could)


def _forecast(
    criterion: spec.Fairness, counted: Counted, compared: _Compared, passed: Floats, false_pass: float
) -> Forecast | None:
    """Until every pair excludes what is unacceptable, should the rates stay as they are; None if they would not."""
    canary = int(counted.canary_requests.sum())
    missing = math.log(1 / false_pass) - passed[:, -1]
    if not canary or (missing <= 0).all():
        return None
    gained = _expected(compared, compared.pairs[missing > 0], float(criterion.unacceptable))
    if not (gained > 0).all():
        return None
    requests = math.ceil(float((missing[missing > 0] / gained).max()) * canary)
    rate = canary / counted.canary_requests.size
    return Forecast(requests=requests, intervals=requests / rate)


def _expected(compared: _Compared, pairs: Ints, margin: float) -> Floats:
    """Nats by pair that as many events as there were are expected to add for a pass."""
    gained = np.zeros((2, len(pairs)))
    for part in compared.parts:
        events, hits = (part.of(found.sum(axis=0, keepdims=True), pairs)[:, 0] for found in (part.events, part.hits))
        rates = (hits + PRIOR) / (events + 2 * PRIOR)
        for place, weights in enumerate(ARMS):
            gained[place] += halfspace.log_e(events, events * rates, rates, -weights, -margin)
    best: Floats = gained.max(axis=0) / compared.cautious[pairs].max(axis=1)
    return best


def _latest(forecasts: list[Forecast | None]) -> Forecast | None:
    told = [one for one in forecasts if one is not None]
    return max(told, key=lambda one: one.requests) if len(told) == len(forecasts) else None
