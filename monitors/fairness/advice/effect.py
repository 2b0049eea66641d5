"""What a change would do to a measure and to accuracy, with intervals, on events that did not choose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.fairness import evidence, intervals, measures
from monitors.fairness.intervals import Interval
from monitors.fairness.measures import Cells, Share
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Limit


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A figure as it is and as it is expected to be; `interval` is of the expected one, `events` are what it is of."""

    what: str
    now: float
    expected: float
    interval: Interval
    events: int


def of_measure(measure: str, limit: Limit, now: Cells, then: Cells, alpha: float) -> Effect:
    """The measure between its worst two groups, from cells of shape (groups, blocks).

    The interval pays for having chosen the two by looking, and for events that are alike from block to block.
    """
    before, after = total(now), total(then)
    is_ratio = limit.ratio is not None
    shares = [of(then) for of in measures.MEASURES[measure]]
    worst = max(shares, key=lambda share: _apart(share, is_ratio=is_ratio))
    measured = measures.measured_ratio if is_ratio else measures.measured_difference
    return Effect(
        what=f"{measure} {'ratio' if is_ratio else 'difference'}",
        now=measured(measure, before),
        expected=measured(measure, after),
        interval=_interval(worst, alpha, is_ratio=is_ratio),
        events=int(worst.events.sum()),
    )


def of_accuracy(now: Cells, then: Cells, alpha: float) -> Effect:
    """Share of right answers, all groups together."""
    before, after = (_together(measures.accuracy(cells)) for cells in (now, then))
    alike = evidence.dispersion(after.events, after.hits)
    events, hits = after.events.sum(), after.hits.sum()
    low, high = intervals.rate(events / alike, hits / alike, alpha)
    return Effect(
        what="accuracy",
        now=float(before.hits.sum() / before.events.sum()),
        expected=float(hits / events),
        interval=(float(low), float(high)),
        events=int(events),
    )


def total(cells: Cells) -> Cells:
    """Counts by group, all blocks together."""
    return Cells(
        true_positives=cells.true_positives.sum(axis=-1),
        false_positives=cells.false_positives.sum(axis=-1),
        false_negatives=cells.false_negatives.sum(axis=-1),
        true_negatives=cells.true_negatives.sum(axis=-1),
    )


def independent(share: Share) -> Share:
    """Totals by group of a share by group and block, as many as say the same if they were independent."""
    alike = evidence.dispersion(share.events, share.hits)
    return Share(events=share.events.sum(axis=-1) / alike, hits=share.hits.sum(axis=-1) / alike)


def _together(share: Share) -> Share:
    return Share(events=share.events.sum(axis=0), hits=share.hits.sum(axis=0))


def _apart(share: Share, *, is_ratio: bool) -> float:
    rates = Share(events=share.events.sum(axis=-1), hits=share.hits.sum(axis=-1)).rates
    found = -measures.ratio(rates) if is_ratio else measures.difference(rates)
    return -np.inf if np.isnan(found) else found


def _interval(share: Share, alpha: float, *, is_ratio: bool) -> Interval:
    known = np.flatnonzero(share.events.sum(axis=-1) > 0)
    if len(known) < 2:
        return (0.0, float("inf")) if is_ratio else (-1.0, 1.0)
    counted = independent(Share(events=share.events[known], hits=share.hits[known]))
    pair = [int(counted.rates.argmax()), int(counted.rates.argmin())]
    if pair[0] == pair[1]:
        pair = [0, 1]
    ends: Floats = (intervals.ratio if is_ratio else intervals.difference)(
        counted.events[pair], counted.hits[pair], alpha / (len(known) * (len(known) - 1) / 2)
    )
    return float(ends[0]), float(ends[1])
