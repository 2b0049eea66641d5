"""Population stability index of a feature, with a p-value.

Siddiqi, N. (2006): Credit Risk Scorecards, ch. 8 (the index and its limits of 0.1 and 0.25). Null distribution: the
index is about (1/n + 1/m) times a chi-squared variable with bins - 1 degrees of freedom (Yurdakul, B. (2018):
Statistical properties of population stability index); so small windows, which inflate the index, do not alarm.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from midwatch.spec.drift import Feature
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts, Floats, Integers, bin_starts

FLOOR = 0.005
"""A normal variable's mean moved by 0.07 deviations. The customary 0.1 takes 0.3 and misses much that hurts."""

LARGE = 4.0
"""A normal variable's mean moved by two deviations."""


def compare(reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Index over BINS bins of about equal reference mass, or over categories when there are at most as many cells."""
    n, m = reference.total, window.total
    starts = bin_starts(reference.cells)
    expected, actual = (_shares(np.add.reduceat(counts.cells, starts)) for counts in (reference, window))
    index = float(((actual - expected) * np.log(actual / expected)).sum())
    p_value = clipped(float(chi2.sf(index / (1 / n + 1 / m) / inflation, max(1, len(starts) - 1))))
    return Result(statistic=index, p_value=p_value, effect=index, reference_size=n, window_size=m)


def _shares(counts: Integers) -> Floats:
    """Shares with half a count added to each bin, so that an empty one does not make the index infinite."""
    smoothed = counts + 0.5
    shares: Floats = smoothed / smoothed.sum()
    return shares


class Tail:
    """The index's null distribution."""

    def p_value(self, effect: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        scale = (1 / reference.total + 1 / rows) * inflation
        return clipped(float(chi2.sf(effect / scale, _freedom(reference))))

    def effect(self, p_value: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        return float(chi2.isf(p_value, _freedom(reference)) * (1 / reference.total + 1 / rows) * inflation)


def _freedom(reference: Counts) -> int:
    return max(1, len(bin_starts(reference.cells)) - 1)


METHOD = FeatureMethod(
    features=frozenset({Feature.NUMERIC, Feature.CATEGORICAL}),
    floor=FLOOR,
    compare=compare,
    tail=Tail(),
    large=LARGE,
    power=0.5,
)
