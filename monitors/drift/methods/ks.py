"""Two-sample Kolmogorov-Smirnov test of a numeric feature, on a reference's cells.

Massey, F. J. (1951): The Kolmogorov-Smirnov test for goodness of fit. JASA 46(253), 68-78. The supremum is taken at and
just below each edge: the exact statistic when every reference value is an edge, else at most the mass of a cell less.
The p-value is asymptotic (Smirnov 1948) and errs to the large side, with ties as well.
"""

from __future__ import annotations

import numpy as np
from scipy.special import kolmogi, kolmogorov

from midwatch.spec.drift import Feature
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts

FLOOR = 0.02
"""Smallest distance that counts: a normal variable's mean moved by a twentieth of its deviation."""

LARGE = 0.68
"""A normal variable's mean moved by two deviations."""


def compare(reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """KS distance; the effect is the distance itself. `inflation`: monitors.drift.calibration.

    >>> from monitors.drift.counts import Counts
    >>> import numpy as np
    >>> compare(Counts(cells=np.array([50, 50])), Counts(cells=np.array([75, 25]))).statistic
    0.25
    """
    n, m = reference.total, window.total
    distance = float(np.abs(np.cumsum(reference.cells) / n - np.cumsum(window.cells) / m).max())
    p_value = clipped(float(kolmogorov(distance * np.sqrt(n * m / (n + m) / inflation))))
    return Result(statistic=distance, p_value=p_value, effect=distance, reference_size=n, window_size=m)


def distance_at(level: float, n: int, m: int, inflation: float) -> float:
    """Distance of m values from n that chance gives with this probability."""
    return float(kolmogi(level) * np.sqrt((n + m) / (n * m) * inflation))


class Tail:
    """Kolmogorov's distribution."""

    def p_value(self, effect: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        n = reference.total
        return clipped(float(kolmogorov(effect * np.sqrt(n * rows / (n + rows) / inflation))))

    def effect(self, p_value: float, reference: Counts, rows: int, inflation: float) -> float:
        """See `comparison.Tail`."""
        return distance_at(p_value, reference.total, rows, inflation)


METHOD = FeatureMethod(
    features=frozenset({Feature.NUMERIC}), floor=FLOOR, compare=compare, tail=Tail(), large=LARGE, bins=False
)
