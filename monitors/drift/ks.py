"""Two-sample Kolmogorov-Smirnov test of a numeric feature, on a reference's cells.

Massey, F. J. (1951): The Kolmogorov-Smirnov test for goodness of fit. JASA 46(253), 68-78. The supremum is taken over
the cells' edges: at most 1/CELLS below the exact statistic, and the p-value (asymptotic, Smirnov 1948) errs to the
large side, with ties as well.
"""

from __future__ import annotations

import numpy as np
from scipy.special import kolmogorov

from monitors.drift.counts import Counts
from monitors.drift.result import Result, clipped

FLOOR = 0.1
"""Smallest distance that counts as drift: a tenth of the distribution has moved."""


def compare(reference: Counts, window: Counts) -> Result:
    """KS distance; the effect is the distance itself.

    >>> from monitors.drift.counts import Counts
    >>> import numpy as np
    >>> compare(Counts(cells=np.array([50, 50])), Counts(cells=np.array([75, 25]))).statistic
    0.25
    """
    n, m = reference.total, window.total
    distance = float(np.abs(np.cumsum(reference.cells) / n - np.cumsum(window.cells) / m).max())
    p_value = clipped(float(kolmogorov(distance * np.sqrt(n * m / (n + m)))))
    return Result(statistic=distance, p_value=p_value, effect=distance, reference_size=n, window_size=m)
