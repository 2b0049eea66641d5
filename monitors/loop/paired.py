"""How much more often one of two versions is right on the same labelled rows, with bounds that hold at every look.

A row gives x = 1 where only the new version is right, -1 where only the old one is, 0 where both or neither are; the
difference of the accuracies is the mean of x. For y = (1 + x) / 2 and a supposed mean of it, u, the wealth of bets
prod(1 - f + f y / u) with a fixed part 0 < f < 1 is a test martingale, and one that falls where the mean is less than
u; a mean over several f is one too (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86(1), 2024, section 4; a mixture over fixed bets is Cover's universal portfolio, Orabona & Jun 2024). So the
chance that it ever reaches 1/alpha is at most alpha (Ville 1939), however often rows are added and looked at.

With fixed bets the wealth depends on the rows by their three counts alone: the same rows in another order say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

BETS = np.array([0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7])
"""Parts of the wealth that are bet, each with the same weight. The best one is the difference divided by the share of
rows on which the versions differ, times 2: from 1 in 200 to nearly all of it."""
EDGE = 1 - 1e-9
"""Differences beyond are taken for 1."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Labelled rows that both versions predicted: how many, and on how many of them only one was right."""

    rows: int
    only_new: int
    only_old: int

    def __post_init__(self) -> None:
        if min(self.only_new, self.only_old) < 0 or self.only_new + self.only_old > self.rows:
            raise ValueError(f"{self.rows} rows cannot have {self.only_new} and {self.only_old} that differ")

    @property
    def difference(self) -> float:
        """Accuracy of the new version less that of the old one; 0 without rows."""
        return (self.only_new - self.only_old) / self.rows if self.rows else 0.0

    def swapped(self) -> Pairs:
        """The same rows with the versions exchanged."""
        return Pairs(rows=self.rows, only_new=self.only_old, only_old=self.only_new)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of the accuracies, new less old, and bounds that hold at every look."""

    value: float
    low: float
    high: float


def log_wealth(pairs: Pairs, difference: float) -> float:
    """Log e-value against "the new version's accuracy is better by at most `difference`" (between -1 and 1).

    >>> round(log_wealth(Pairs(rows=1000, only_new=80, only_old=20), 0.0), 2)
    16.33
    """
    supposed = (1 + difference) / 2
    logs = (
        pairs.only_new * np.log1p(BETS * (1 / supposed - 1))
        + pairs.only_old * np.log1p(-BETS)
        + (pairs.rows - pairs.only_new - pairs.only_old) * np.log1p(BETS * (0.5 / supposed - 1))
    )
    return float(np.logaddexp.reduce(logs)) - math.log(len(BETS))


def interval(pairs: Pairs, alpha: float) -> Difference:
    """The difference with bounds that are wrong, at whatever look, with a chance of `alpha` at most: half on each side.

    >>> interval(Pairs(rows=1000, only_new=80, only_old=20), 0.05).low > 0
    True
    """
    low = _lower_bound(pairs, alpha / 2)
    high = -_lower_bound(pairs.swapped(), alpha / 2)
    return Difference(value=pairs.difference, low=low, high=high)


def _lower_bound(pairs: Pairs, alpha: float) -> float:
    """Largest difference that is refuted at a level; -1 if there is none. The wealth falls as the difference grows."""
    level = -math.log(alpha)

    def above_level(difference: float) -> float:
        return log_wealth(pairs, difference) - level

    if above_level(-EDGE) <= 0:
        return -1.0
    return float(brentq(above_level, -EDGE, EDGE, xtol=1e-9))
