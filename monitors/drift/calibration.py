"""How a calm stream behaves: how far its own windows stray, and how much less they say than independent rows.

Rows of a real stream come in runs (an hour of rain, a batch of one customer). The reference, in time order, is cut into
blocks of several sizes, and what the bins' shares vary by over the blocks is compared with what those of independent
rows do (batch means: Künsch 1989, Annals of Statistics 17(3), 1217-1241, section 3; the design effect of Kish 1965,
Survey Sampling, 5.4). A window of m rows is then worth m / inflation, where the inflation is that of blocks as long as
the window, for the statistic that is asked: a daily cycle that each window goes through as a whole does not move it.

A statistic that is a sum over bins has the tail of a weighted sum of chi-squared variables (Rao, J. N. K. & Scott, A.
J. (1984): On chi-squared tests for multiway contingency tables. Annals of Statistics 12(1), 46-60); a largest distance
has that of the place where it varies most.

Seasons are another thing than runs: a window lies in one of them, and has rows enough to say so. The calm floor is the
largest effect of the reference's own windows that differ from the whole by more than their rows vary *within* a window;
what is beyond it by more than that is no season that the reference has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from monitors.drift.comparison import Result
from monitors.drift.counts import Floats, Integers

SHORTEST_BLOCK = 16
STEP = 4
FEWEST_BLOCKS = 8
"""A variance from so few is taken for three times what it seems (CONFIDENCE); from fewer it would be a guess."""

CHANCE = 0.001
"""An inflation that independent rows would reach more often than this is taken for none."""

CONFIDENCE = 0.05
"""Probability that the true variance is above what is taken for it, where rows are not independent."""

TAIL = 1e-5
"""Tail probability at which a weighted sum of chi-squared variables is put in place of one: that of a usual budget."""

SEED = 0

BY_CHANCE = 0.05
"""Probability that chance alone gives a reference without seasons a floor from its windows."""


@dataclass(frozen=True)
class Inflation:
    """How many rows of windows of some sizes, ascending, are worth an independent one: at least 1 each."""

    sizes: tuple[int, ...] = (1,)
    ratios: tuple[float, ...] = (1.0,)

    def of(self, rows: int) -> float:
        """Of a window of so many rows: between sizes in proportion, beyond the last as it grew before."""
        if rows <= self.sizes[-1]:
            return float(np.interp(math.log(max(1, rows)), np.log(self.sizes), self.ratios))
        return float(self.ratios[-1] * (rows / self.sizes[-1]) ** self._growth)

    @property
    def _growth(self) -> float:
        """Power of the rows with which inflation grows; that of rows that never change is 1."""
        if len(self.sizes) == 1 or self.ratios[-1] == 1:
            return float(self.ratios[-1] > 1)
        (size, ratio), (last, highest) = list(zip(self.sizes, self.ratios, strict=True))[-2:]
        return min(1.0, max(0.0, math.log(highest / ratio) / math.log(last / size)))


@dataclass(frozen=True, kw_only=True)
class Inflations:
    """Of a statistic that is a sum over bins, of one that is a largest distance, and of the share of missing values.

    `bins_within` and `distance_within` are those of rows beside the others of their `window`, of so
    many rows: without its season.
    """

    bins: Inflation = Inflation()
    distance: Inflation = Inflation()
    missing: Inflation = Inflation()
    bins_within: Inflation = Inflation()
    distance_within: Inflation = Inflation()
    window: int = 1


def inflations(bins: Integers, count: int, window: int) -> Inflations:
    """Inflations of a feature from the bin of each row (below `count`; -1 is missing) in time order.

    Blocks are those of the windows' size and of some smaller and larger ones, as far as the rows reach.
    """
    sizes = _sizes(len(bins), window)
    tables = [_table(bins, count, size) for size in sizes]
    missing = [np.stack([table[:, -1], table[:, :-1].sum(axis=1)], axis=1) for table in tables]
    present = [_Blocks(table[:, :-1]) for table in tables]
    within = [
        _in_windows(blocks.rows, window // size)
        for blocks, size in zip(present, sizes, strict=True)
        if size <= window // STEP
    ]
    return Inflations(
        bins=_inflation(sizes, present, _sum_ratio),
        distance=_inflation(sizes, present, _distance_ratio),
        missing=_inflation(sizes, [_Blocks(table) for table in missing], _distance_ratio),
        bins_within=_inflation(sizes, within, _sum_ratio),
        distance_within=_inflation(sizes, within, _distance_ratio),
        window=window,
    )


def inflations_of(windows: Integers, phases: Integers, size: int) -> Inflations:
    """Inflations of windows beside the others of their phase, from their rows in each bin; shape (windows, bins)."""
    blocks = [_Blocks(windows, phases)]
    bins, distance = (_inflation([size], blocks, ratio) for ratio in (_sum_ratio, _distance_ratio))
    return Inflations(bins=bins, distance=distance, bins_within=bins, distance_within=distance, window=size)


def _in_windows(rows: Integers, together: int) -> _Blocks:
    """Blocks beside those of their own window, which has so many."""
    whole = len(rows) // together * together
    return _Blocks(rows[:whole], np.arange(whole) // together)


def _sizes(rows: int, window: int) -> list[int]:
    """The window's size, and what is a power of STEP smaller or larger, of which there are FEWEST_BLOCKS."""
    powers = range(-12, 13)
    sizes = {int(window * float(STEP) ** power) for power in powers}
    return sorted(size for size in sizes if SHORTEST_BLOCK <= size <= rows // FEWEST_BLOCKS)


def _table(bins: Integers, count: int, size: int) -> Integers:
    """Rows of each block in each bin, those without a value last; shape (blocks, count + 1)."""
    blocks = len(bins) // size
    kept = bins[: blocks * size].astype(np.int64)
    kept[kept < 0] = count
    cells = np.repeat(np.arange(blocks) * (count + 1), size) + kept
    return np.bincount(cells, minlength=blocks * (count + 1)).reshape(blocks, count + 1)


class _Blocks:
    """Rows of blocks in each bin, shape (blocks, bins), and how their shares deviate from those of their group.

    `groups` has a label of each block; without it all are one group.
    """

    def __init__(self, rows: Integers, groups: Integers | None = None) -> None:
        labels, group = np.unique(np.zeros(len(rows)) if groups is None else groups, return_inverse=True)
        of_groups = np.zeros((len(labels), rows.shape[1]))
        np.add.at(of_groups, group, rows)
        self.rows = rows
        self.freedom = len(rows) - len(labels)
        self.size = float(rows.sum(axis=1).mean()) if rows.size else 0.0
        self.shares = rows.sum(axis=0) / max(1, rows.sum())
        sizes = np.maximum(1, rows.sum(axis=1, keepdims=True))
        expected = of_groups / np.maximum(1, of_groups.sum(axis=1, keepdims=True))
        self.deviations: Floats = (rows - sizes * expected[group]) / np.sqrt(sizes)
        """In units of one over the root of the block's rows."""

    @property
    def is_inflated(self) -> bool:
        """Whether a bin's share varies by more than chance."""
        expected = self.shares * (1 - self.shares)
        usual = expected * self.size > 1  # a bin with hardly a row in a block has no variance to speak of
        if not usual.any():
            return False
        ratios = (self.deviations[:, usual] ** 2).sum(axis=0) / self.freedom / expected[usual]
        return bool(ratios.max() > chi2.isf(CHANCE / usual.sum(), self.freedom) / self.freedom)


Ratio = Callable[[_Blocks], float]
"""What blocks' shares vary by, in units of independent rows."""


def _inflation(sizes: Sequence[int], blocks: Sequence[_Blocks], ratio: Ratio) -> Inflation:
    """One where no size shows more than chance does; else the upper bound of each size's."""
    pairs = [(size, one) for size, one in zip(sizes, blocks, strict=False) if one.freedom >= FEWEST_BLOCKS - 1]
    if not any(one.is_inflated for _, one in pairs):
        return Inflation()
    bounds = [max(1.0, ratio(one) * _bound(one.freedom)) for _, one in pairs]
    return Inflation(tuple(size for size, _ in pairs), tuple(bounds))


def _bound(freedom: int) -> float:
    """Upper bound of a variance of so many degrees of freedom, as a multiple of what is found."""
    return float(freedom / chi2.ppf(CONFIDENCE, freedom))


def _distance_ratio(blocks: _Blocks) -> float:
    """Largest variance of the distribution function over the largest of independent rows."""
    below = np.cumsum(blocks.shares)
    independent = max(float((below * (1 - below)).max()), 1e-12)
    return float((np.cumsum(blocks.deviations, axis=1) ** 2).sum(axis=0).max() / blocks.freedom / independent)


def _sum_ratio(blocks: _Blocks) -> float:
    """What the sum over bins of squared deviations has to be divided by, so that its tail is that of chi-squared."""
    kept, freedom = blocks.shares > 0, blocks.freedom
    if kept.sum() < 2:
        return 1.0
    scaled = blocks.deviations[:, kept] / np.sqrt(blocks.shares[kept])
    gram = scaled.T @ scaled / freedom
    trace, squares = float(np.trace(gram)), float((gram**2).sum())
    if trace <= 0:
        return 1.0
    # What few blocks add to the squared eigenvalues by chance is taken away.
    squares = (squares - trace**2 / freedom) * freedom**2 / ((freedom - 1) * (freedom + 2))
    squares = max(squares, trace**2 / (kept.sum() - 1))
    return float(squares / trace * chi2.isf(TAIL, trace**2 / squares) / chi2.isf(TAIL, kept.sum() - 1))


def window_starts(rows: int, window_rows: int, most: int) -> Integers:
    """First rows of at most so many windows that lie all over the reference; it holds one at least."""
    whole = rows // window_rows
    if whole <= most:
        return np.unique(np.linspace(0, rows - window_rows, whole).astype(int))
    return window_rows * spread(whole, most)


def spread(count: int, most: int) -> Integers:
    """Places of at most so many things of `count`: one anywhere in each of equal parts.

    Places at equal distances could all be of one hour of the day, and calm hours would seem to differ by nothing.
    """
    edges = np.linspace(0, count, min(most, count) + 1).astype(int)
    return np.random.default_rng(SEED).integers(edges[:-1], edges[1:])


def calm_floor(results: Sequence[Result], windows: int) -> float:
    """Largest effect, of so many windows' results, that is no chance."""
    return max((result.effect for result in results if result.p_value < BY_CHANCE / windows), default=0.0)
