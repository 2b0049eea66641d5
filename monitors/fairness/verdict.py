"""Three verdicts on groups' rates: shown unfair, shown fair within the limit, or not known yet and how much is missing.

Every ordered pair of groups is compared, since the best and the worst group are not known before looking. Unfair needs
one pair whose evidence passes K / alpha, K pairs: the chance of a false alarm, over all pairs and all looks, stays at
most alpha (Bonferroni and Ville). Fair needs each pair's evidence against "at least as far apart as the limit" to pass
1 / alpha: all have to be shown, so nothing is divided. An alarm stays until the counting begins anew, with a version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

    One stratum is the pooled comparison. Several compare like with like: within each of them the limit is to hold.
    """

    groups: tuple[str, ...]
    events: Floats
    hits: Floats


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two groups that are farthest apart: rates, their difference and ratio, with intervals for every look."""

    above: str
    below: str
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
class Judgement:
    """A verdict and what it rests on. `became_unfair` is the detector's word, apart from the verdict since the start.

    `rows_needed` are more events of all judged groups together, at their present shares and rates, that would decide;
    None when it is decided or when no number would (the rates lie on the limit). `left_out` are groups with too few.
    """

    verdict: Verdict
    became_unfair: bool
    worst: Pair | None
    rates: tuple[Rate, ...]
    left_out: tuple[str, ...]
    rows_needed: int | None


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

    def paired(self, counts: Floats) -> Floats:
        """Counts by pair, one stratum after the other: (strata * pairs, 2, blocks)."""
        found: Floats = counts[:, self.pairs].reshape(-1, 2, counts.shape[-1])
        return found

    def judged(self, against: Floats, within: Floats, lately: Floats) -> Judgement:
        """Verdict from the nats by pair and block."""
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
            )
        settings, many = self.settings, len(self.pairs)
        unfair = math.log(many / settings.alpha) - np.cumsum(against, axis=-1)
        fair = math.log(1 / settings.alpha) - np.cumsum(within, axis=-1)
        verdict = Verdict.UNKNOWN
        if (unfair <= 0).any():
            verdict = Verdict.UNFAIR
        elif (fair <= 0).any(axis=-1).all():
            verdict = Verdict.FAIR
        alarm = math.log(settings.false_alarm_blocks * many)
        return Judgement(
            verdict=verdict,
            became_unfair=bool((evidence.detector(lately) >= alarm).any()),
            worst=self._worst(unfair.min(axis=-1)),
            rates=rates,
            left_out=left_out,
            rows_needed=self._rows_needed(unfair[:, -1], fair[:, -1]) if verdict is Verdict.UNKNOWN else None,
        )

    def _rates(self) -> tuple[Rate, ...]:
        events, hits = self.events[self.enough], self.hits[self.enough]
        edges = intervals.rate(events, hits, self.settings.alpha)
        return tuple(
            Rate(group=self.counts.groups[place], events=int(n), rate=float(y / n), interval=(float(low), float(high)))
            for place, n, y, (low, high) in zip(self.enough, events, hits, edges, strict=True)
        )

    def _worst(self, missing: Floats) -> Pair:
        """The pair with the most evidence; the widest apart of those with none."""
        rates = self.hits / np.maximum(self.events, 1)
        gaps = rates[self.pairs[:, 0]] - rates[self.pairs[:, 1]]
        chosen = self.pairs[np.lexsort((-gaps, missing))[0]]
        events, hits, alpha = self.events[chosen], self.hits[chosen], self.settings.alpha
        above, below = (float(rate) for rate in rates[chosen])
        return Pair(
            above=self.counts.groups[chosen[0]],
            below=self.counts.groups[chosen[1]],
            difference=above - below,
            difference_interval=_interval(intervals.difference(events, hits, alpha)),
            ratio=below / above if above else math.nan,
            ratio_interval=_interval(intervals.ratio(events, hits, alpha)),
        )

    def _rows_needed(self, unfair: Floats, fair: Floats) -> int | None:
        """Events of all groups until either verdict, if rates stay: evidence grows in proportion to events."""
        limit, events = self.settings.limit, self.events[self.pairs]
        rates = evidence.rates(events, self.hits[self.pairs])
        shares = events / self.events[self.enough].sum()
        to_unfair = _rows(unfair, evidence.growth(shares, rates, limit.kept())).min()
        to_fair = _rows(fair, evidence.growth(shares, rates, limit.broken())).max()
        rows = min(float(to_unfair), float(to_fair))
        return math.ceil(rows) if math.isfinite(rows) else None


def _rows(missing: Floats, per_row: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        rows: Floats = np.where(missing <= 0, 0.0, np.where(per_row > 0, missing / per_row, np.inf))
    return rows


def _interval(ends: Floats) -> intervals.Interval:
    return float(ends[0]), float(ends[1])


def _split(tables: Sequence[_Table], limit: projection.Limit, recent: int | None) -> Iterator[Floats]:
    """Nats by pair and block of each table, those of its strata added."""
    events = np.concatenate([table.paired(table.counts.events) for table in tables])
    hits = np.concatenate([table.paired(table.counts.hits) for table in tables])
    found, place = evidence.nats(events, hits, limit, recent), 0
    for table in tables:
        strata, many = table.counts.events.shape[0], len(table.pairs)
        yield found[place : place + strata * many].reshape(strata, many, found.shape[-1]).sum(axis=0)
        place += strata * many
