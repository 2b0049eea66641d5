"""Thresholds on the score that keep a promise at the least cost in right answers: one for all, or one for each group.

The search is exhaustive over the histogram's edges: the group with the lowest rate has one of finitely many rates, and
given that rate every other group takes the threshold with most right answers among those within the limit of it. So the
answer is the best that deterministic thresholds can do; fairlearn's ThresholdOptimizer also mixes two at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from monitors.fairness.advice.scores import Places, Scores
from monitors.fairness.measures import MEASURES
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Limit

ROUNDING = 1e-12


def for_all(scores: Scores, measure: str, limit: Limit) -> Places | None:
    """The one threshold with most right answers at which all groups keep the limit; None where no threshold does."""
    rates = _rates(scores, measure)
    kept = np.logical_and.reduce([_is_kept(limit, rate.min(axis=0), rate.max(axis=0)) for rate in rates])
    right = np.where(kept, _right(scores).sum(axis=0), -np.inf)
    best = int(right.argmax())
    return np.full(len(scores.positives), best, dtype=np.intp) if np.isfinite(right[best]) else None


def by_group(scores: Scores, measure: str, limit: Limit) -> Places | None:
    """The thresholds of each group with most right answers that keep the limit; None where no thresholds do."""
    right = _right(scores)
    best, places = -np.inf, None
    for allowed in _allowed(_rates(scores, measure), limit):
        reached = np.where(allowed, right[:, None, :], -np.inf)
        totals = reached.max(axis=2).sum(axis=0)
        lowest = int(totals.argmax())
        if totals[lowest] > best:
            best, places = totals[lowest], reached[:, lowest, :].argmax(axis=1)
    return places


def _allowed(rates: Sequence[Floats], limit: Limit) -> Iterator[NDArray[np.bool_]]:
    """Which thresholds each group may have, for lowest rates: masks of shape (groups, lowest rates, thresholds)."""
    first, rest = rates[0], rates[1:]
    if not rest:
        yield _within(first, np.unique(first[np.isfinite(first)]), limit)
        return
    for lowest in np.unique(first[np.isfinite(first)]):
        mask = _within(first, np.array([lowest]), limit)
        reachable = rest[0][mask[:, 0, :] & np.isfinite(rest[0])]
        if mask.any(axis=2).all():
            yield mask & _within(rest[0], np.unique(reachable), limit)


def _within(rates: Floats, lowest: Floats, limit: Limit) -> NDArray[np.bool_]:
    """Whether a rate is at least the lowest, and no farther from it than the limit."""
    low, rate = lowest[None, :, None], rates[:, None, :]
    return np.asarray((rate >= low - ROUNDING) & _is_kept(limit, low, rate))


def _is_kept(limit: Limit, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether two rates are within the limit. Where nobody is selected a ratio says nothing."""
    if limit.ratio is not None:
        return np.asarray((low >= limit.ratio * high - ROUNDING) & (high > 0))
    return np.asarray(high - low <= (limit.difference or 0.0) + ROUNDING)


def _rates(scores: Scores, measure: str) -> list[Floats]:
    """The measure's rates of each group at each threshold; NaN where no event tells one."""
    return [of(scores.cells).rates for of in MEASURES[measure]]


def _right(scores: Scores) -> Floats:
    """Right answers of each group at each threshold; a threshold that selects all or nobody is no answer to a gap."""
    cells = scores.cells
    right: Floats = cells.true_positives + cells.true_negatives
    right[:, [0, -1]] = -np.inf
    return right
