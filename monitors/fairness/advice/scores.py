"""What a threshold on the score would do to each group, from histograms of scores by group and class.

A histogram has equal bins from 0 to 1; its edges are the only thresholds that it can say anything of (Hardt, Price,
Srebro 2016 read the receiver operating characteristic of each group from such counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitors.fairness.measures import Cells
from monitors.fairness.projection import Floats

Places = NDArray[np.intp]
"""The threshold of each group, as a place among the histogram's edges."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Labelled predictions of each group by score bin: `positives` and `negatives` of shape (groups, bins, ...).

    What follows the bins, such as blocks of time, is kept.
    """

    positives: Floats
    negatives: Floats

    @property
    def edges(self) -> Floats:
        """Thresholds: predicted positive from this score on. The first selects all, the last nobody."""
        bins = self.positives.shape[1]
        edges: Floats = np.arange(bins + 1) / bins
        return edges

    @property
    def labelled(self) -> float:
        """Predictions in all."""
        return float(self.positives.sum() + self.negatives.sum())

    @cached_property
    def cells(self) -> Cells:
        """Right and wrong decisions of each group at each threshold: arrays of shape (groups, thresholds, ...)."""
        selected_positive, selected_negative = _from_top(self.positives), _from_top(self.negatives)
        return Cells(
            true_positives=selected_positive,
            false_positives=selected_negative,
            false_negatives=self.positives.sum(axis=1, keepdims=True) - selected_positive,
            true_negatives=self.negatives.sum(axis=1, keepdims=True) - selected_negative,
        )

    def at(self, places: Places) -> Cells:
        """Decisions of each group at its own threshold: arrays of shape (groups, ...)."""
        every = np.arange(len(places))
        cells = self.cells
        return Cells(
            true_positives=cells.true_positives[every, places],
            false_positives=cells.false_positives[every, places],
            false_negatives=cells.false_negatives[every, places],
            true_negatives=cells.true_negatives[every, places],
        )


def _from_top(counts: Floats) -> Floats:
    """How many are in a bin or above, for each edge."""
    above: Floats = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([above, np.zeros_like(above[:, :1])], axis=1)
