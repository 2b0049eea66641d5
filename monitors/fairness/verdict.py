"""Three verdicts on groups' rates: shown unfair, shown fair within the limit, or not known yet and how much is missing.

Every ordered pair of groups is compared, since the best and the worst group are not known before looking. Unfair needs
one pair whose evidence passes K / alpha, K pairs: the chance of a false alarm, over all pairs and all looks, stays at
most alpha (Bonferroni and Ville). Fair needs each pair's evidence against "at least as far apart as the limit" to pass
1 / alpha in every stratum that has both, and no group that was left out: all have to be shown, so nothing is divided.
An alarm stays until the counting begins anew, with a version; "fair" is said of the evidence as it stands.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice, permutations

import numpy as np
from numpy.typing import NDArray

from monitors.fairness import evidence, intervals, projection
from monitors.fairness.projection import Difference, Floats, Ratio

Names = tuple[tuple[str, str], ...]
"""Pairs of groups: the one that is above the other, and that."""


class Verdict(StrEnum):
    """What is said of a measure."""

    UNFAIR = "unfair"
    FAIR = "fair"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Greatest difference of two rates, or least ratio of one to another; exactly one is there."""

    difference: float | None = None
    ratio: float | None = None

    def kept(self) -> projection.Limit:
        """Rates (one, other) of which the first is not too far above the second."""
        return Ratio(self.ratio) if self.ratio is not None else Difference(self.difference or 0.0)

    def broken(self) -> projection.Limit:
        """Rates of which the first is at least so far above the second."""
        if self.ratio is not None:
            return Ratio(self.ratio, reverse=True)
        return Difference(self.difference or 0.0, reverse=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`alpha`: chance that groups within the limit are ever called unfair; `min_events`: fewest of a judged group.

    `false_alarm_blocks`: mean number of blocks to a false "became unfair", over all pairs.
    """

    limit: Limit
    alpha: float = 0.05
    min_events: int = 100
    false_alarm_blocks: float = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Events and hits of a rate by stratum, group and block: arrays of shape (strata, groups, blocks).

    Hits may be sums of values between 0 and 1. With `expected` hits, such as the sums of scores, what is compared is by
    how much each group's rate is above the expected one; then the limit is a difference.

    One stratum is the pooled comparison. Several compare like with like: within each of them the limit is to hold.
    `unseen` are groups that are there, though none of what the rate is of was seen of them, such as for want of labels.
    Evidence since the beginning, rates and intervals count from the block `first` on; the detector learns from all.
    """

    groups: tuple[str, ...]
    events: Floats
    hits: Floats
    strata: tuple[str, ...] = ("",)
    unseen: frozenset[str] = frozenset()
    first: int = 0
    expected: Floats | None = None

    def counted(self) -> Counts:
        """The same without what was before the first block that counts."""
        counts = np.arange(self.events.shape[-1]) >= self.first
        expected = None if self.expected is None else self.expected * counts
        return replace(self, events=self.events * counts, hits=self.hits * counts, expected=expected)

    @property
    def means(self) -> Floats:
        """Expected rate of each stratum, group and block; 0 where nothing is expected."""
        return np.zeros_like(self.events) if self.expected is None else _share(self.expected, self.events)

    @property
    def levelled(self) -> Floats:
        """Hits as they would be if as many were expected in every block."""
        if self.expected is None:
            return self.hits
        level = _share(self.expected.sum(axis=-1, keepdims=True), self.events.sum(axis=-1, keepdims=True))
        return self.hits - self.expected + level * self.events


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two groups that are farthest apart: rates, their difference and ratio, in a stratum if there are several.

    The intervals hold at every look, and for all pairs and strata at once, since these two were chosen by looking.
    `fewest` are the events of the group that has fewer of them.
    """

    above: str
    below: str
    stratum: str
    difference: float
    difference_interval: intervals.Interval
    ratio: float
    ratio_interval: intervals.Interval
    fewest: int


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A group's rate with its interval, and the events that it is of."""

    group: str
    events: int
    rate: float
    interval: intervals.Interval


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """The group with the fewest events of those that are there, in a stratum if there are several."""

    group: str
    stratum: str
    events: int


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and what it rests on. `became_unfair` is the detector's word, apart from the verdict since the start.

    `rows_needed` are more events of all judged groups together, at their present shares and rates, that would decide;
    None when it is decided or when no number would (the rates lie on the limit). `left_out` are groups with too few;
    `waits_for` are those of them that were there, when nothing else stands between the rest and "fair". `events` are
    those of every group that was there, also of the ones with too few. `apart` are the pairs that are shown beyond the
    limit since the start, and `apart_lately` lately, those with the most evidence first. `without_ratio` are the pairs
    whose rates are both 0 where the limit is a ratio: no number of events would decide these.
    """

    verdict: Verdict
    became_unfair: bool
    worst: Pair | None
    rates: tuple[Rate, ...]
    left_out: tuple[str, ...]
    rows_needed: int | None
    waits_for: tuple[str, ...] = ()
    smallest: Smallest | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    apart: Names = ()
    apart_lately: Names = ()
    without_ratio: Names = ()


def judge(counts: Counts, settings: Settings) -> Judgement:
    """Judge one comparison."""
    return judge_all([counts], settings)[0]


def judge_all(cases: Sequence[Counts], settings: Settings) -> list[Judgement]:
    """Judge many comparisons over the same blocks by the same settings."""
    return judge_each([(counts, settings) for counts in cases])


def judge_each(cases: Sequence[tuple[Counts, Settings]]) -> list[Judgement]:
    """Judge many comparisons over the same blocks at once: their pairs and intervals are computed together."""
    if not cases:
        return []
    tables = [_Table(counts, settings) for counts, settings in cases]
    against = _nats(tables, Limit.kept, _Table.counted)
    within = _nats(tables, Limit.broken, _Table.counted)
    lately = _nats(tables, Limit.kept, _Table.whole, recent=evidence.RECENT_BLOCKS)
    levels = _levels([log_lately.sum(axis=0) for log_lately in lately])
    weighed = [
        _Weighed(against=log_against, within=log_within.sum(axis=-1), level=level)
        for log_against, log_within, level in zip(against, within, levels, strict=True)
    ]
    rates = _rates(tables)
    worst = _worst(tables, [table.farthest(one) for table, one in zip(tables, weighed, strict=True)])
    return [table.judged(nats, own, pair) for table, nats, own, pair in zip(tables, weighed, rates, worst, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Weighed:
    """Nats of one comparison: by stratum, pair and block; of `within` summed over blocks, of the detector by pair."""

    against: Floats
    within: Floats
    level: Floats


@dataclass(frozen=True, kw_only=True)
class _Farthest:
    """The pair of a comparison that is shown, as places of its groups, in a stratum; counts and means of shape (2,)."""

    above: int
    below: int
    stratum: int
    events: Floats
    hits: Floats
    means: Floats
    alike: float
    alpha: float


class _Table:
    """Counts of one comparison, its groups that have enough events, and their pairs."""

    def __init__(self, counts: Counts, settings: Settings) -> None:
        self.every, self.counts, self.settings = counts, counts.counted(), settings
        self.events, self.hits = (found.sum(axis=(0, 2)) for found in (self.counts.events, self.counts.hits))
        self.enough = np.flatnonzero(self.events >= settings.min_events)
        self.pairs = np.array(list(permutations(self.enough, 2)), dtype=int).reshape(-1, 2)
        alike = evidence.dispersion(self.counts.events, self.counts.levelled)
        self.alike: Floats = alike[:, self.pairs].max(axis=-1)
        """By stratum and pair: how many events say as much as one."""
        pooled = (found.sum(axis=0) for found in (self.counts.events, self.counts.levelled))
        self.pooled: Floats = alike[0] if len(alike) == 1 else evidence.dispersion(*pooled)
        """The same by group."""
        self.by_pair = [found.sum(axis=-1)[:, self.pairs] for found in (self.counts.events, self.counts.hits)]
        self.together = (self.by_pair[0] > 0).all(axis=-1)
        expected = np.zeros_like(self.counts.events) if self.counts.expected is None else self.counts.expected
        self.means = _share(expected.sum(axis=-1), self.counts.events.sum(axis=-1))[:, self.pairs]
        """Expected rates by stratum and pair."""
        self.expected = _share(expected.sum(axis=(0, 2)), self.events)
        """The same by group."""

    def counted(self) -> Counts:
        """What evidence since the beginning counts."""
        return self.counts

    def whole(self) -> Counts:
        """What the detector of a late change learns from."""
        return self.every

    def places(self) -> evidence.Places:
        """Places of each pair's groups in counts whose strata follow one another: (strata * pairs, 2)."""
        groups = len(self.counts.groups) * np.arange(len(self.counts.strata))
        found: evidence.Places = (groups[:, None, None] + self.pairs).reshape(-1, 2)
        return found

    def judged(self, weighed: _Weighed, rates: tuple[Rate, ...], worst: Pair | None) -> Judgement:
        """Verdict from the nats."""
        left_out = tuple(name for place, name in enumerate(self.counts.groups) if place not in self.enough)
        if worst is None:
            return Judgement(
                verdict=Verdict.UNKNOWN,
                became_unfair=False,
                worst=None,
                rates=rates,
                left_out=left_out,
                rows_needed=None,
                smallest=self._smallest(),
                events=self._present(),
            )
        settings, many = self.settings, len(self.pairs)
        unfair, fair = self._unfair(weighed), math.log(1 / settings.alpha) - weighed.within
        verdict, waits_for = Verdict.UNKNOWN, tuple[str, ...]()
        apart = np.asarray((unfair <= 0).any(axis=-1))
        apart_lately = weighed.level >= math.log(settings.false_alarm_blocks * many)
        if apart.any():
            verdict = Verdict.UNFAIR
        elif self._is_fair(fair):
            waits_for = self._waits_for()
            verdict = Verdict.UNKNOWN if waits_for else Verdict.FAIR
        is_open = verdict is Verdict.UNKNOWN and not waits_for
        return Judgement(
            verdict=verdict,
            became_unfair=bool(apart_lately.any()),
            worst=worst,
            rates=rates,
            left_out=left_out,
            rows_needed=self._rows_needed(unfair[:, -1], fair) if is_open else None,
            waits_for=waits_for,
            smallest=self._smallest(),
            events=self._present(),
            apart=self._names(apart),
            apart_lately=self._names(np.argsort(-weighed.level)[: int(apart_lately.sum())]),
            without_ratio=self._names(np.asarray(self._without_ratio().any(axis=0))) if is_open else (),
        )

    def _names(self, chosen: NDArray[np.bool_] | evidence.Places) -> Names:
        groups = self.counts.groups
        return tuple((groups[above], groups[below]) for above, below in self.pairs[chosen])

    def _present(self) -> dict[str, int]:
        """Events of every group that was there."""
        return {
            name: int(seen)
            for name, seen in zip(self.counts.groups, self.events, strict=True)
            if seen > 0 or name in self.counts.unseen
        }

    def _smallest(self) -> Smallest | None:
        events, strata = self.counts.events.sum(axis=-1), self.counts.strata
        if self.counts.expected is not None:  # strata are scores then, and no people
            events, strata = self.events[None], ("",)
        cells = [
            Smallest(group=self.counts.groups[group], stratum=strata[stratum], events=int(seen))
            for (stratum, group), seen in np.ndenumerate(events)
            if seen > 0
        ]
        absent = [Smallest(group=name, stratum="", events=0) for name, seen in self._present().items() if not seen]
        return min([*absent, *cells], key=lambda cell: cell.events, default=None)

    def farthest(self, weighed: _Weighed) -> _Farthest | None:
        """The pair with the most evidence, in the stratum with the most; the widest apart of those with none."""
        if not len(self.pairs):
            return None
        rates = _share(self.by_pair[1], self.by_pair[0]) - self.means
        gaps = np.where(self.together, rates[..., 0] - rates[..., 1], -np.inf)
        missing, nats = self._unfair(weighed).min(axis=-1), weighed.against.sum(axis=-1)
        chosen = int(np.lexsort((-gaps.max(axis=0), missing))[0])
        stratum = int(np.lexsort((-gaps[:, chosen], -nats[:, chosen], ~self.together[:, chosen]))[0])
        events, hits = (counts[stratum, chosen] for counts in self.by_pair)
        return _Farthest(
            above=int(self.pairs[chosen, 0]),
            below=int(self.pairs[chosen, 1]),
            stratum=stratum,
            events=events,
            hits=hits,
            means=self.means[stratum, chosen],
            alike=float(self.alike[stratum, chosen]),
            alpha=self.settings.alpha / (len(self.pairs) / 2 * len(self.counts.events)),
        )

    def _unfair(self, weighed: _Weighed) -> Floats:
        """Nats that are missing to "unfair", by pair and block."""
        found: Floats = math.log(len(self.pairs) / self.settings.alpha) - np.cumsum(
            weighed.against.sum(axis=0), axis=-1
        )
        return found

    def _is_fair(self, missing: Floats) -> bool:
        """Whether every pair is shown to be within the limit in each stratum where both are, of which there is one."""
        return bool((~self.together | (missing <= 0)).all() and self.together.any(axis=0).all())

    def _waits_for(self) -> tuple[str, ...]:
        """Groups that are there and have too few events."""
        return tuple(
            name
            for place, name in enumerate(self.counts.groups)
            if place not in self.enough and (self.events[place] > 0 or name in self.counts.unseen)
        )

    def _without_ratio(self) -> NDArray[np.bool_]:
        """Pairs whose rates are both 0, by stratum, where the limit is a ratio."""
        found: NDArray[np.bool_] = self.together & (self.by_pair[1] == 0).all(axis=-1)
        return found if self.settings.limit.ratio is not None else np.zeros_like(found)

    def _rows_needed(self, unfair: Floats, fair: Floats) -> int | None:
        """Events of all groups until either verdict, if rates stay: evidence grows in proportion to events."""
        limit, (events, hits) = self.settings.limit, self.by_pair
        rates = evidence.rates(events, hits)
        shares = np.where(self.together[..., None], events, 1.0) / self.events[self.enough].sum()
        against, within = (
            np.where(self.together & ~self._without_ratio(), evidence.growth(shares, rates, kept) / self.alike, 0.0)
            for kept in (_beyond(limit.kept(), self.means), _beyond(limit.broken(), self.means))
        )
        to_unfair = _rows(unfair, against.sum(axis=0)).min()
        to_fair = _rows(fair, within)[self.together].max(initial=0.0)
        rows = min(float(to_unfair), float(to_fair) if self.together.any(axis=0).all() else math.inf)
        return math.ceil(rows) if math.isfinite(rows) else None


def _levels(lately: Sequence[Floats]) -> list[Floats]:
    """What the detector has reached for each pair of each table."""
    levels = evidence.detector(np.concatenate(lately))
    return np.split(levels, np.cumsum([len(own) for own in lately])[:-1])


def _rows(missing: Floats, per_row: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        rows: Floats = np.where(missing <= 0, 0.0, np.where(per_row > 0, missing / per_row, np.inf))
    return rows


def _nats(
    tables: Sequence[_Table],
    limit_of: Callable[[Limit], projection.Limit],
    counts_of: Callable[[_Table], Counts],
    recent: int | None = None,
) -> list[Floats]:
    """Nats of each table by stratum, pair and block, computed together where limits are the same."""
    found: dict[int, Floats] = {}
    by_limit: dict[Limit, list[int]] = defaultdict(list)
    for place, table in enumerate(tables):
        by_limit[table.settings.limit].append(place)
    for limit, places in by_limit.items():
        counts = [counts_of(tables[place]) for place in places]
        pairs = [tables[place].places() for place in places]
        groups = np.cumsum([0, *(one.events[..., 0].size for one in counts)])
        together = np.concatenate([own + first for own, first in zip(pairs, groups[:-1], strict=True)])
        own_limit = limit_of(limit)
        if any(one.expected is not None for one in counts):
            means = _rows_of([one.means for one in counts])[together]
            own_limit = _beyond(own_limit, np.moveaxis(means, -2, -1))
        events, hits = (_rows_of(found) for found in ([one.events for one in counts], [one.hits for one in counts]))
        nats = evidence.nats(events, hits, together, own_limit, recent)
        edges = np.cumsum([len(own) for own in pairs])[:-1]
        for place, own in zip(places, np.split(nats, edges), strict=True):
            alike = tables[place].alike
            found[place] = own.reshape(*alike.shape, own.shape[-1]) / alike[..., None]
    return [found[place] for place in range(len(tables))]


def _rows_of(counts: Sequence[Floats]) -> Floats:
    """Counts of (strata, groups, blocks) below one another, as (groups, blocks)."""
    return np.concatenate([found.reshape(-1, found.shape[-1]) for found in counts])


def _rates(tables: Sequence[_Table]) -> list[tuple[Rate, ...]]:
    """Rates of each table's judged groups, their intervals computed together."""
    flat = [(table, place) for table in tables for place in table.enough]
    alike = np.array([table.pooled[place] for table, place in flat])
    events = np.array([table.events[place] for table, place in flat]) / alike
    hits = np.array([table.hits[place] for table, place in flat]) / alike
    edges = intervals.rate(events, hits, np.array([table.settings.alpha for table, _ in flat]))
    shown = [
        Rate(
            group=table.counts.groups[place],
            events=int(table.events[place]),
            rate=float(table.hits[place] / table.events[place] - table.expected[place]),
            interval=_interval(ends - table.expected[place]),
        )
        for (table, place), ends in zip(flat, edges, strict=True)
    ]
    rest = iter(shown)
    return [tuple(islice(rest, len(table.enough))) for table in tables]


def _worst(tables: Sequence[_Table], farthest: Sequence[_Farthest | None]) -> list[Pair | None]:
    """The pair that is shown of each table that has one, their intervals computed together."""
    known = [one for one in farthest if one is not None]
    if not known:
        return [None] * len(tables)
    events = np.array([one.events / one.alike for one in known])
    hits = np.array([one.hits / one.alike for one in known])
    alpha = np.array([one.alpha for one in known])
    ends = iter(zip(intervals.difference(events, hits, alpha), intervals.ratio(events, hits, alpha), strict=True))
    return [
        None if one is None else _pair(table.counts, one, *next(ends))
        for table, one in zip(tables, farthest, strict=True)
    ]


def _pair(counts: Counts, one: _Farthest, difference: Floats, ratio: Floats) -> Pair:
    above, below = (float(rate) for rate in _share(one.hits, one.events) - one.means)
    is_ratio = counts.expected is None
    return Pair(
        above=counts.groups[one.above],
        below=counts.groups[one.below],
        stratum=counts.strata[one.stratum],
        difference=above - below,
        difference_interval=_interval(difference - (one.means[0] - one.means[1])),
        ratio=below / above if above and is_ratio else math.nan,
        ratio_interval=_interval(ratio) if is_ratio else (math.nan, math.nan),
        fewest=int(one.events.min()),
    )


def _beyond(limit: projection.Limit, means: Floats) -> projection.Limit:
    """A limit of differences, of rates above expected ones of shape (..., 2)."""
    return limit.shifted(means[..., 0] - means[..., 1]) if isinstance(limit, Difference) else limit


def _share(hits: Floats, events: Floats) -> Floats:
    shares: Floats = hits / np.maximum(events, 1.0)
    return shares


def _interval(ends: Floats) -> intervals.Interval:
    return float(ends[0]), float(ends[1])
