"""Always-valid bands around distribution functions.

Howard & Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm identification",
Bernoulli 28(3), 2022, Theorem 2 and its numerical constants: with probability 1 - alpha the empirical distribution of n
independent values is within `radius(n, alpha)` of the true one, at all n from `N_MIN` on at once. On a Prometheus
histogram it holds at the `le` boundaries, where counts are exact and nothing is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq

from monitors.canary.arms import Floats, Ints

N_MIN = 100
_SCALE = 0.85
"""The paper's A, with which it gives C = 8.123, 8.623 and 9.284 for alpha 0.05, 0.025 and 0.01."""


@cache
def constant(alpha: float) -> float:
    """C of the theorem: the smallest for which the probability of ever leaving the band is at most `alpha`.

    >>> [round(constant(alpha), 3) for alpha in (0.05, 0.025, 0.01)]
    [8.123, 8.623, 9.284]
    """
    return float(brentq(lambda c: _error(c) - math.log(alpha), 4.0, 200.0, xtol=1e-9))


def _error(c: float) -> float:
    """Log of the bound on the error probability: the infimum over eta of the theorem's expression."""
    eta = np.geomspace(1 + 1e-6, _SCALE**2 * c / 2, 20_001)[:-1]
    inner = np.maximum(0.0, _SCALE - np.sqrt(2 * (eta - 1) / c))
    squared = 2 / eta * inner**2
    eta, squared = eta[squared > 1], squared[squared > 1]
    if not eta.size:
        return math.inf
    return float((math.log(4) - squared * c + np.log1p(1 / ((squared - 1) * np.log(eta)))).min())


def radius(count: int, alpha: float, *, n_min: int = N_MIN) -> float:
    """Half width of the band after `count` values; 1 (no information) before `n_min`.

    >>> round(radius(1000, 0.05), 6)
    0.082048
    """
    if count < n_min:
        return 1.0
    return min(1.0, _SCALE * math.sqrt((math.log(1 + math.log(count / n_min)) + constant(alpha)) / count))


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Largest difference of two distribution functions at the boundaries, and what chance may reach."""

    distance: float
    bound: float

    @property
    def differ(self) -> bool:
        """Whether the distributions differ, with an error of at most alpha at all looks together."""
        return self.distance > self.bound


def compare(baseline: Ints, canary: Ints, alpha: float) -> Distance:
    """Compare cumulative counts by boundary, shape (boundaries,), the last being all of them."""
    if not baseline[-1] or not canary[-1]:
        return Distance(distance=0.0, bound=1.0)
    curves: list[Floats] = [counts / counts[-1] for counts in (baseline, canary)]
    bound = radius(int(baseline[-1]), alpha / 2) + radius(int(canary[-1]), alpha / 2)
    return Distance(distance=float(np.abs(curves[0] - curves[1]).max()), bound=min(1.0, bound))
