"""Three verdicts on groups' rates: shown unfair, shown fair within the limit, or not known yet and how much is missing.

Every ordered pair of groups is compared, since the best and the worst group are not known before looking. Unfair needs
one pair whose evidence passes K / alpha, K pairs: the chance of a false alarm, over all pairs and all looks, stays at
most alpha (Bonferroni and Ville). Fair needs each pair's evidence against "at least as far apart as the limit" to pass
1 / alpha in every stratum that has both, and no group that was left out: all have to be shown, so nothing is divided.
An alarm stays until the counting begins anew, with a version; "fair" is said of the evidence as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import permutations

import numpy as np

from monitors.fairness import evidence, intervals, projection
from monitors.fairness.projection import Difference, Floats, Ratio


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
    """

    groups: tuple[str, ...]
    events: Floats
    hits: Floats
    strata: tuple[str, ...] = ("",)
    unseen: frozenset[str] = frozenset()
    expected: Floats | None = None

    @property
    def levelled(self) -> Floats:
        """Hits as they would be if as many were expected in every block."""
        if self.expected is None:
            return self.hits
        means = _means(self.expected.sum(axis=-1, keepdims=True), self.events.sum(axis=-1, keepdims=True))
        return self.hits - self.expected + means * self.events


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two groups that are farthest apart: rates, their difference and ratio, in a stratum if there are several.

    The intervals hold at every look, and for all pairs and strata at once, since these two were chosen by looking.
    """

    above: str
    below: str
    stratum: str
    difference: float
    difference_interval: intervals.Interval
    ratio: float
    ratio_interval: intervals.Interval


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
    those of every group that was there, also of the ones with too few.
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


def judge(counts: Counts, settings: Settings) -> Judgement:
    """Judge one comparison."""
    return judge_all([counts], settings)[0]


def judge_all(cases: Sequence[Counts], settings: Settings) -> list[Judgement]:
    """Judge many comparisons over the same blocks at once: their pairs are computed together."""
    tables = [_Table(counts, settings) for counts in cases]
    against = _split(tables, settings.limit.kept(), recent=None)
    within = _split(tables, settings.limit.broken(), recent=None)
    lately = _split(tables, settings.limit.kept(), recent=evidence.RECENT_BLOCKS)
    return [table.judged(*found) for table, *found in zip(tables, against, within, lately, strict=True)]


class _Table:
    """Counts of one comparison, its groups that have enough events, and their pairs."""

    def __init__(self, counts: Counts, settings: Settings) -> None:
        self.counts, self.settings = counts, settings
        self.events, self.hits = (found.sum(axis=(0, 2)) for found in (counts.events, counts.hits))
        self.enough = np.flatnonzero(self.events >= settings.min_events)
        self.pairs = np.array(list(permutations(self.enough, 2)), dtype=int).reshape(-1, 2)
        alike = evidence.dispersion(counts.events, counts.levelled)
        self.alike: Floats = alike[:, self.pairs].max(axis=-1)
        """By stratum and pair: how many events say as much as one."""
        self.together = (counts.events.sum(axis=-1)[:, self.pairs] > 0).all(axis=-1)

    def paired(self, counts: Floats) -> Floats:
        """Counts by pair, one stratum after the other: (strata * pairs, 2, blocks)."""
        found: Floats = counts[:, self.pairs].reshape(-1, 2, counts.shape[-1])
        return found

    @property
    def expected(self) -> Floats:
        """Expected rate of each group and block; 0 where nothing is expected of them."""
        own = self.counts.expected
        return np.zeros(self.counts.events.shape) if own is None else _means(own, self.counts.events)

    @property
    def means(self) -> Floats:
        """Expected rate of each group over all blocks, shape (strata, groups)."""
        own = self.counts.expected
        events = self.counts.events.sum(axis=-1)
        return np.zeros(events.shape) if own is None else _means(own.sum(axis=-1), events)

    def judged(self, against: Floats, within: Floats, lately: Floats) -> Judgement:
        """Verdict from the nats by stratum, pair and block."""
        rates = self._rates()
        left_out = tuple(name for place, name in enumerate(self.counts.groups) if place not in self.enough)
        if not len(self.pairs):
            return Judgement(
                verdict=Verdict.UNKNOWN,
                became_unfair=False,
                worst=None,
                rates=rates,
                left_out=left_out,
                rows_needed=None,
                smallest=self._smallest(),
                events=self._events(),
            )
        settings, many = self.settings, len(self.pairs)
        unfair = math.log(many / settings.alpha) - np.cumsum(against.sum(axis=0), axis=-1)
        fair = math.log(1 / settings.alpha) - within.sum(axis=-1)
        verdict, waits_for = Verdict.UNKNOWN, tuple[str, ...]()
        if (unfair <= 0).any():
            verdict = Verdict.UNFAIR
        elif self._is_fair(fair):
            waits_for = self._waits_for()
            verdict = Verdict.UNKNOWN if waits_for else Verdict.FAIR
        alarm = math.log(settings.false_alarm_blocks * many)
        is_open = verdict is Verdict.UNKNOWN and not waits_for
        return Judgement(
            verdict=verdict,
            became_unfair=bool((evidence.detector(lately.sum(axis=0)) >= alarm).any()),
            worst=self._worst(unfair.min(axis=-1), against.sum(axis=-1)),
            rates=rates,
            left_out=left_out,
            rows_needed=self._rows_needed(unfair[:, -1], fair) if is_open else None,
            waits_for=waits_for,
            smallest=self._smallest(),
            events=self._events(),
        )

    def _events(self) -> dict[str, int]:
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
        absent = [Smallest(group=name, stratum="", events=0) for name, seen in self._events().items() if not seen]
        return min([*absent, *cells], key=lambda cell: cell.events, default=None)

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

    def _rates(self) -> tuple[Rate, ...]:
        events, hits = self.events[self.enough], self.hits[self.enough]
        alike = evidence.dispersion(self.counts.events.sum(axis=0), self.counts.levelled.sum(axis=0))[self.enough]
        edges = intervals.rate(events / alike, hits / alike, self.settings.alpha)
        own = self.counts.expected
        means = np.zeros(events.shape) if own is None else own.sum(axis=(0, 2))[self.enough] / events
        return tuple(
            Rate(
                group=self.counts.groups[place],
                events=int(n),
                rate=float(y / n - mean),
                interval=(float(low - mean), float(high - mean)),
            )
            for place, n, y, mean, (low, high) in zip(self.enough, events, hits, means, edges, strict=True)
        )

    def _worst(self, missing: Floats, nats: Floats) -> Pair:
        """The pair with the most evidence, in the stratum with the most; the widest apart of those with none."""
        by_pair = [counts.sum(axis=-1)[:, self.pairs] for counts in (self.counts.events, self.counts.hits)]
        means = self.means[:, self.pairs]
        rates = by_pair[1] / np.maximum(by_pair[0], 1) - means
        gaps = np.where(self.together, rates[..., 0] - rates[..., 1], -np.inf)
        chosen = int(np.lexsort((-gaps.max(axis=0), missing))[0])
        stratum = int(np.lexsort((-gaps[:, chosen], -nats[:, chosen], ~self.together[:, chosen]))[0])
        one, other = self.pairs[chosen]
        above, below = (float(rate) for rate in rates[stratum, chosen])
        events, hits = (counts[stratum, chosen] / self.alike[stratum, chosen] for counts in by_pair)
        alpha = self.settings.alpha / (len(self.pairs) / 2 * len(self.counts.events))
        shift = means[stratum, chosen, 0] - means[stratum, chosen, 1]
        is_ratio = self.counts.expected is None
        return Pair(
            above=self.counts.groups[one],
            below=self.counts.groups[other],
            stratum=self.counts.strata[stratum],
            difference=above - below,
            difference_interval=_interval(intervals.difference(events, hits, alpha) - shift),
            ratio=below / above if above and is_ratio else math.nan,
            ratio_interval=_interval(intervals.ratio(events, hits, alpha)) if is_ratio else (math.nan, math.nan),
        )

    def _rows_needed(self, unfair: Floats, fair: Floats) -> int | None:
        """Events of all groups until either verdict, if rates stay: evidence grows in proportion to events."""
        limit, events, hits = (
            self.settings.limit,
            self.counts.events.sum(axis=-1)[:, self.pairs],
            self.counts.hits.sum(axis=-1)[:, self.pairs],
        )
        rates = evidence.rates(events, hits)
        shares = np.where(self.together[..., None], events, 1.0) / self.events[self.enough].sum()
        means = self.means[:, self.pairs]
        against, within = (
            np.where(self.together, evidence.growth(shares, rates, kept) / self.alike, 0.0)
            for kept in (_beyond(limit.kept(), means), _beyond(limit.broken(), means))
        )
        to_unfair = _rows(unfair, against.sum(axis=0)).min()
        to_fair = _rows(fair, within)[self.together].max(initial=0.0)
        rows = min(float(to_unfair), float(to_fair) if self.together.any(axis=0).all() else math.inf)
        return math.ceil(rows) if math.isfinite(rows) else None


def _rows(missing: Floats, per_row: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        rows: Floats = np.where(missing <= 0, 0.0, np.where(per_row > 0, missing / per_row, np.inf))
    return rows


def _beyond(limit: projection.Limit, means: Floats) -> projection.Limit:
    """A limit of differences, of rates above expected ones of shape (..., 2)."""
    return limit.shifted(means[..., 0] - means[..., 1]) if isinstance(limit, Difference) else limit


def _means(sums: Floats, events: Floats) -> Floats:
    means: Floats = sums / np.maximum(events, 1.0)
    return means


def _interval(ends: Floats) -> intervals.Interval:
    return float(ends[0]), float(ends[1])


def _split(tables: Sequence[_Table], limit: projection.Limit, recent: int | None) -> Iterator[Floats]:
    """Nats of each table by stratum, pair and block."""
    events = np.concatenate([table.paired(table.counts.events) for table in tables])
    hits = np.concatenate([table.paired(table.counts.hits) for table in tables])
    if any(table.counts.expected is not None for table in tables):
        means = np.concatenate([table.paired(table.expected) for table in tables])
        limit = _beyond(limit, np.moveaxis(means, -2, -1))
    found, place = evidence.nats(events, hits, limit, recent), 0
    for table in tables:
        strata, many = table.counts.events.shape[0], len(table.pairs)
        own = found[place : place + strata * many].reshape(strata, many, found.shape[-1])
        yield own / table.alike[..., None]
        place += strata * many
