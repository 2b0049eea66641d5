"""Population stability index of a feature, with a p-value.

Siddiqi, N. (2006): Credit Risk Scorecards, ch. 8 (the index and its limits of 0.1 and 0.25). Null distribution: the
index is about (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom (Yurdakul, B. (2018):
Statistical properties of population stability index); so small windows, which inflate the index, do not alarm.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from monitors.drift.counts import Counts, Floats, Integers
from monitors.drift.result import Result, clipped

BINS = 10
FLOOR = 0.005
"""A normal variable's mean moved by 0.07 deviations. The customary 0.1 takes 0.3 and misses much that hurts."""


def compare(reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Index over BINS bins of about equal reference mass, or over categories when there are at most as many cells."""
    n, m = reference.total, window.total
    starts = bin_starts(reference.cells)
    expected, actual = (_shares(np.add.reduceat(counts.cells, starts)) for counts in (reference, window))
    index = float(((actual - expected) * np.log(actual / expected)).sum())
    p_value = clipped(float(chi2.sf(index / (1 / n + 1 / m) / inflation, max(1, len(starts) - 1))))
    return Result(statistic=index, p_value=p_value, effect=index, reference_size=n, window_size=m)


def bin_starts(cells: Integers) -> Integers:
    """First cell of each bin; the last cell, which the reference has nothing in, is a bin of its own."""
    if len(cells) <= BINS + 1:
        return np.arange(len(cells))
    share = np.cumsum(cells[:-1]) / max(1, cells[:-1].sum())
    starts = np.searchsorted(share, np.arange(1, BINS) / BINS, side="left") + 1
    return np.unique(np.concatenate(([0], starts, [len(cells) - 1])))


def _shares(counts: Integers) -> Floats:
    """Shares with half a count added to each bin, so that an empty one does not make the index infinite."""
    smoothed = counts + 0.5
    shares: Floats = smoothed / smoothed.sum()
    return shares
