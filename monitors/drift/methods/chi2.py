"""Chi-squared test of homogeneity of a categorical feature (Pearson 1900); Cramér's V (Cramér 1946) is the effect."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, chi2_contingency

from midwatch.spec.drift import Feature
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts

FLOOR = 0.03
"""A third of what Cohen (1988), Statistical Power Analysis, section 7.2, calls a small effect (0.1)."""


def compare(reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Chi-squared statistic over the cells that either side has something in."""
    n, m = reference.total, window.total
    table = np.stack([reference.cells, window.cells])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Result(statistic=0.0, p_value=1.0, effect=0.0, reference_size=n, window_size=m)
    statistic = float(chi2_contingency(table, correction=False).statistic)
    p_value = clipped(float(chi2.sf(statistic / inflation, table.shape[1] - 1)))
    effect = float(np.sqrt(statistic / (n + m)))
    return Result(statistic=statistic, p_value=p_value, effect=effect, reference_size=n, window_size=m)


METHOD = FeatureMethod(features=frozenset({Feature.CATEGORICAL}), floor=FLOOR, compare=compare)
