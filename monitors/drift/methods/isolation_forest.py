"""Isolation forest: are the window's rows easier, or harder, to isolate than the reference's?

Liu, F. T., Ting, K. M. & Zhou, Z.-H. (2008): Isolation forest. ICDM, 413-422. The forest is grown on every second row
of the reference; the mean path lengths of the other half and of the window are compared by a two-sided
Kolmogorov-Smirnov test, so a window of outliers is seen and one without any is too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from monitors.drift.comparison import Result, RowMethod
from monitors.drift.counts import Counts, Floats, NumericGrid
from monitors.drift.embedding import Rows
from monitors.drift.methods import ks
from monitors.drift.moments import CalmMeans

FLOOR = 0.02
"""Distance of the path lengths' distributions that counts, as for a feature."""

TREES = 64
"""Path lengths have converged well before 100 trees (Liu et al., section 5.2, figure 4), and each costs time."""

SUBSAMPLE = 256
"""Rows a tree is grown on (Liu et al., section 5.2)."""

CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees with the path length of their nodes, and the path lengths of the other half of the reference's rows."""

    rows: int
    trees: Sequence[tuple[Any, Rows]]
    grid: NumericGrid
    before: Counts


def prepare(
    reference: Rows, *, inflation: float = 1.0, seed: int = 0, calm: CalmMeans | None = None
) -> Callable[[Rows], Result]:
    """The forest is grown once, on the reference."""
    del calm  # it has no terms
    if len(reference) < 2:
        return partial(_no_evidence, len(reference))
    return partial(_compared, _grown(reference, seed), inflation)


def compare(reference: Rows, window: Rows, *, inflation: float = 1.0, seed: int = 0) -> Result:
    """KS distance of mean path lengths; shapes (n, d) and (m, d)."""
    return prepare(reference, inflation=inflation, seed=seed)(window)


def _grown(reference: Rows, seed: int) -> Forest:
    from sklearn.ensemble import IsolationForest

    rows = reference[::2]
    forest = IsolationForest(n_estimators=TREES, max_samples=min(SUBSAMPLE, len(rows)), random_state=seed)
    trees = [(one.tree_, _lengths(one.tree_)) for one in forest.fit(rows).estimators_]
    before = _path_lengths(trees, reference[1::2])
    grid = NumericGrid.fit(before)
    return Forest(rows=len(reference), trees=trees, grid=grid, before=grid.count(before))


def _compared(forest: Forest, inflation: float, window: Rows) -> Result:
    if len(window) < 2:
        return _no_evidence(forest.rows, window)
    return ks.compare(forest.before, forest.grid.count(_path_lengths(forest.trees, window)), inflation)


def _no_evidence(reference_rows: int, window: Rows) -> Result:
    return Result(statistic=0.0, p_value=1.0, effect=0.0, reference_size=reference_rows, window_size=len(window))


def _lengths(tree: Any) -> Rows:
    """Depth of each node, and for a leaf with several rows the mean path that would separate them (equation 1)."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    size = np.maximum(tree.n_node_samples.astype(np.float64), 1)
    harmonic = np.log(np.maximum(size - 1, 1)) + np.euler_gamma
    rest = np.where(size > 2, 2 * harmonic - 2 * (size - 1) / size, (size == 2).astype(np.float64))
    lengths: Rows = (depth + rest).astype(np.float32)
    return lengths


def _path_lengths(trees: Sequence[tuple[Any, Rows]], rows: Rows) -> Floats:
    """Mean path length of each row over the trees, a thread per core."""
    rows = np.ascontiguousarray(rows)

    def part(start: int) -> Floats:
        chunk = rows[start : start + CHUNK]
        total = np.zeros(len(chunk))
        for tree, lengths in trees:
            total += lengths[tree.apply(chunk)]
        return total / len(trees)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(part, range(0, len(rows), CHUNK))))


def smallest(n: int, m: int, inflation: float, level: float) -> float:
    """Least distance of m rows from n, every second of which grew the forest, that is significant."""
    return ks.distance_at(level, max(1, n // 2), m, inflation)


METHOD = RowMethod(floor=FLOOR, prepare=prepare, smallest=smallest, large=ks.LARGE)
