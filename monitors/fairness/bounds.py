"""What a rate can be when labels are missing: bounds that assume nothing of the unlabelled (Manski 1989)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitors.fairness.measures import Cells
from monitors.fairness.projection import Floats, Limit


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Predictions without a label by group: predicted positive, and not."""

    positive: Floats
    negative: Floats


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Least and greatest rate of each group; both NaN where there is no event."""

    low: Floats
    high: Floats

    def of(self, groups: Sequence[int]) -> Bounds:
        """The same of some groups."""
        return Bounds(low=self.low[groups], high=self.high[groups])

    def certainly_above(self, one: int, other: int) -> bool:
        """Whether one group's rate is above another's, whatever the missing labels are."""
        return bool(self.low[one] > self.high[other])

    def keeps(self, limit: Limit) -> bool:
        """Whether every two groups keep a limit (the first rate not too far above), whatever the missing labels are."""
        pairs = [
            np.array([one, other]) for i, one in enumerate(self.high) for j, other in enumerate(self.low) if i != j
        ]
        return not (limit.excess(np.array(pairs)) > 0).any()


def true_positive(cells: Cells, missing: Unlabelled) -> Bounds:
    """Least when all unlabelled negatives were positive, greatest when all unlabelled positives were."""
    hits, misses = cells.true_positives, cells.false_negatives
    return Bounds(
        low=_share(hits, hits + misses + missing.negative),
        high=_share(hits + missing.positive, hits + missing.positive + misses),
    )


def false_positive(cells: Cells, missing: Unlabelled) -> Bounds:
    """The same of those that are negative."""
    hits, misses = cells.false_positives, cells.true_negatives
    return Bounds(
        low=_share(hits, hits + misses + missing.negative),
        high=_share(hits + missing.positive, hits + missing.positive + misses),
    )


def precision(cells: Cells, missing: Unlabelled) -> Bounds:
    """All unlabelled positives wrong, or all right."""
    total = cells.true_positives + cells.false_positives + missing.positive
    return Bounds(low=_share(cells.true_positives, total), high=_share(cells.true_positives + missing.positive, total))


def accuracy(cells: Cells, missing: Unlabelled) -> Bounds:
    """All unlabelled ones wrong, or all right."""
    right = cells.true_positives + cells.true_negatives
    unknown = missing.positive + missing.negative
    total = cells.labelled + unknown
    return Bounds(low=_share(right, total), high=_share(right + unknown, total))


def _share(hits: Floats, events: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Floats = np.where(events > 0, hits / events, np.nan)
    return shares
