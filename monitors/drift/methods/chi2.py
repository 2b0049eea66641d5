"""Chi-squared test of homogeneity of a categorical feature (Pearson 1900); Cramér's V (Cramér 1946) is the effect.

Categories that a calm window has hardly a row of are counted together with their neighbours until five rows are
expected of them (Cochran, W. G. (1954): Some methods for strengthening the common chi-squared tests. Biometrics 10(4),
417-451). The effect is V as it would be of two sides of equal size: a long reference does not make a change small.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, chi2_contingency

from midwatch.spec.drift import Feature
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts, Integers

FLOOR = 0.03
"""A third of what Cohen (1988), Statistical Power Analysis, section 7.2, calls a small effect (0.1)."""

LARGE = 0.68
"""A normal variable's mean moved by two deviations, in a few groups."""

EXPECTED = 5
"""Rows of a window that the reference expects in each group of categories."""


def compare(reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Chi-squared statistic over the groups of cells that either side has something in."""
    n, m = reference.total, window.total
    starts = _group_starts(reference.cells, m)
    table = np.stack([np.add.reduceat(counts.cells, starts) for counts in (reference, window)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Result(statistic=0.0, p_value=1.0, effect=0.0, reference_size=n, window_size=m)
    statistic = float(chi2_contingency(table, correction=False).statistic)
    p_value = clipped(float(chi2.sf(statistic / inflation, table.shape[1] - 1)))
    before, now = table / np.array([[n], [m]])
    effect = float(np.sqrt(((before - now) ** 2 / (before + now)).sum() / 2))
    return Result(statistic=statistic, p_value=p_value, effect=effect, reference_size=n, window_size=m)


class Tail:
    """The chi-squared distribution, of the effect's square."""

    def p_value(self, effect: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        scale = (1 / reference.total + 1 / rows) * inflation / 4
        return clipped(float(chi2.sf(effect**2 / scale, _freedom(reference, rows))))

    def effect(self, p_value: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        scale = (1 / reference.total + 1 / rows) * inflation / 4
        return float(np.sqrt(chi2.isf(p_value, _freedom(reference, rows)) * scale))


def _freedom(reference: Counts, rows: int) -> int:
    return max(1, len(_group_starts(reference.cells, rows)) - 1)


def _group_starts(cells: Integers, rows: int) -> Integers:
    """First cell of each group that a calm window of so many rows has EXPECTED in; the last cell, of the categories
    without one of their own, is a group by itself."""
    expected = cells[:-1] * (rows / max(1, int(cells.sum())))
    rest = expected[::-1].cumsum()[::-1]
    starts, held = [0], 0.0
    for place, (rows_expected, left) in enumerate(zip(expected.tolist(), rest.tolist(), strict=True)):
        if held >= EXPECTED and left >= EXPECTED:
            starts.append(place)
            held = 0.0
        held += rows_expected
    return np.array(starts + [len(cells) - 1] * (len(cells) > 1))


METHOD = FeatureMethod(
    features=frozenset({Feature.CATEGORICAL}), floor=FLOOR, compare=compare, tail=Tail(), large=LARGE
)
