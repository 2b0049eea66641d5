"""How a calm stream behaves: how far its own windows stray, and how much less they say than independent rows.

Rows of a real stream come in runs (an hour of rain, a batch of one customer). The reference, in time order, is cut into
blocks, and the variance of a bin's share over the blocks is compared with that of independent rows (batch means:
Künsch 1989, Annals of Statistics 17(3), 1217-1241, section 3; the design effect of Kish 1965, Survey Sampling, 5.4).
A window of m rows is then worth m / inflation. Everything slower than the longest block is left to the calm floors: the
largest effect of the reference's own windows that differ from the whole by more than chance, which its seasons are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2

from monitors.drift.comparison import Result
from monitors.drift.counts import Integers

SHORTEST_BLOCK = 16
FEWEST_BLOCKS = 30
"""A variance from fewer blocks is off by more than a quarter."""

CHANCE = 0.001
"""An inflation that independent rows would reach more often than this is taken for none."""

BY_CHANCE = 0.05
"""Probability that chance alone gives a reference without seasons a floor from its windows."""


def inflation(bins: Integers, count: int, window: int) -> float:
    """Inflation, at least 1, of a feature from the bin of each row (below `count`; -1 is left out) in time order.

    Blocks are no longer than a window: shares of longer ones vary in ways that a window does not show.
    """
    sizes = []
    size = SHORTEST_BLOCK
    longest = min(window, len(bins) // FEWEST_BLOCKS)
    while size <= longest:
        sizes.append(size)
        size *= 4
    if sizes and longest > sizes[-1]:
        sizes.append(longest)
    return max((_of_blocks(bins, count, size) for size in sizes), default=1.0)


def _of_blocks(bins: Integers, count: int, size: int) -> float:
    blocks = len(bins) // size
    rows = bins[: blocks * size].reshape(blocks, size)
    table = np.zeros((blocks, count))
    np.add.at(table, (np.repeat(np.arange(blocks), size)[rows.ravel() >= 0], rows.ravel()[rows.ravel() >= 0]), 1.0)
    shares = table.mean(axis=0) / size
    variance = shares * (1 - shares) * size
    usual = variance > 1  # a bin with hardly a row in a block has no variance to speak of
    if not usual.any():
        return 1.0
    ratios = table.var(axis=0, ddof=1)[usual] / variance[usual]
    limit = chi2.isf(CHANCE / usual.sum(), blocks - 1) / (blocks - 1)
    worst = float(ratios.max())
    return worst if worst > limit else 1.0


def window_starts(rows: int, window_rows: int, most: int) -> Integers:
    """First rows of at most so many windows that lie evenly over the reference; it holds one at least."""
    last = rows - window_rows
    return np.unique(np.linspace(0, last, min(most, last // window_rows + 1)).astype(int))


def calm_floor(results: Sequence[Result], windows: int) -> float:
    """Largest effect, of so many windows' results, that is no chance."""
    return max((result.effect for result in results if result.p_value < BY_CHANCE / windows), default=0.0)
