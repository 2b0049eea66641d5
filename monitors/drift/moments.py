"""Whether the means of some terms of a window (features, their products) differ by more than those of calm windows do.

A term that differs need not be learnt on some rows and confirmed on others, so rows that come in runs are no hindrance:
what runs do to a mean is seen in the means of calm windows. Those are few, so a term's variance is moderated by what
all terms have in common, and the tail is Student's (Smyth, G. K. (2004): Linear models and empirical Bayes methods for
assessing differential expression in microarray experiments. Statistical Applications in Genetics and Molecular Biology
3(1), 3). Skewed terms have longer tails than normal ones: the distance is corrected for that (Cornish, E. A. & Fisher,
R. A. (1938): Moments and cumulants in the specification of distributions. Revue de l'Institut International de
Statistique 5(4), 307-320), where it makes it less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import norm
from scipy.stats import t as student

from monitors.drift.counts import Floats
from monitors.drift.embedding import Rows

FEWEST_WINDOWS = 8

MOST_FREEDOM = 1000.0
"""Student's distribution with more is the normal one."""


@dataclass(frozen=True, kw_only=True)
class CalmMeans:
    """Means of the terms of calm windows, shape (windows, terms), of so many `rows` looked at of each.

    `longer` is how much longer they are than the window that is judged, at least 1: what varies from window to window
    is averaged over less of the stream in a shorter one.
    """

    means: Floats
    rows: int
    longer: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Differing:
    """The term that differs most: its place, p-value, and how far the means are apart in deviations of a row."""

    term: int
    p_value: float
    distance: float

    @property
    def area(self) -> float:
        """Area under the curve beyond a half of a normal variable whose mean differs as much."""
        return float(norm.cdf(self.distance / np.sqrt(2)) - 0.5)


def compare(reference: Rows, window: Rows, calm: CalmMeans | None, features: int = 0) -> Differing | None:
    """Terms of shapes (n, t) and (m, t); None where no term varies. Without calm windows rows are independent.

    The first so many terms are features, which runs move more than their products: each sort is moderated by itself.
    """
    variances = reference.var(axis=0, dtype=np.float64)
    varied = np.flatnonzero(variances > 1e-12)
    if not len(varied) or min(len(reference), len(window)) < 2:
        return None
    before, now, variance = reference[:, varied], window[:, varied], variances[varied]
    n, m = len(before), len(now)
    between, freedom, looked_at = np.zeros(len(varied)), MOST_FREEDOM, m
    if calm is not None:
        looked_at = min(m, calm.rows)  # of rows in runs, more of the same window say less than more windows do
        for sort in (varied < features, varied >= features):
            if sort.any():
                between[sort], of_sort = _between(calm.means[:, varied[sort]], variance[sort] / calm.rows)
                freedom = min(freedom, of_sort)
        between *= calm.longer * (1 + 1 / len(calm.means))
    centre = before.mean(axis=0, dtype=np.float64)
    gap = now.mean(axis=0, dtype=np.float64) - centre
    spread = variance / looked_at + variance / n + between
    distance = np.abs(gap) / np.sqrt(spread)
    skewness = ((before - centre) ** 3).mean(axis=0) / variance**1.5 * np.sign(gap)
    distance -= skewness.clip(0) * (distance**2 - 1).clip(0) / (6 * np.sqrt(variance / spread))
    most = int(distance.argmax())
    p_value = 2 * len(varied) * float(student.sf(distance[most], freedom))
    return Differing(
        term=int(varied[most]), p_value=min(1.0, p_value), distance=float(abs(gap[most]) / np.sqrt(variance[most]))
    )


def _between(means: Floats, independent: Floats) -> tuple[Floats, float]:
    """What means of calm windows vary by beyond independent rows, by term, and the degrees of freedom of that."""
    freedom = len(means) - 1
    ratios = means.var(axis=0, ddof=1) / independent
    logs = np.log(ratios.clip(1e-6)) - digamma(freedom / 2) + np.log(freedom / 2)
    prior = _prior_freedom(float(logs.var(ddof=1)) - float(polygamma(1, freedom / 2))) if len(logs) > 1 else 0.0
    common = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))) if prior else 0.0
    moderated = (prior * common + freedom * ratios) / (prior + freedom)
    return independent * (moderated - 1).clip(0), min(MOST_FREEDOM, prior + freedom)


def _prior_freedom(excess: float) -> float:
    """Degrees of freedom at which chance explains that variances differ by so much between terms (Smyth, section 6)."""
    if excess <= float(polygamma(1, MOST_FREEDOM / 2)):
        return MOST_FREEDOM
    if excess >= float(polygamma(1, 0.05)):
        return 0.0
    return float(brentq(lambda freedom: polygamma(1, freedom / 2) - excess, 0.1, MOST_FREEDOM))
