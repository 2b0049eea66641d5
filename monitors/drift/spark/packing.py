"""Counts on their way from a partition's worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from monitors.drift.counts import Counts, Grid, Integers, NumericGrid

Batches = Iterator[tuple[Integers, Any]]
"""Of a partition: numbers of the rows, and the Arrow batch with their values."""

Work = Callable[[Batches], Iterator[Any]]
"""What a partition's worker does; what it yields goes through MessagePack."""


def empty(grid: Grid) -> Counts:
    """Counts of no value."""
    return grid.count(np.zeros(0)) if isinstance(grid, NumericGrid) else grid.count([])


def packed(counts: Counts) -> list[Any]:
    """Counts as MessagePack takes them."""
    return [counts.cells.astype(np.int64).tobytes(), counts.missing]


def unpacked(part: list[Any]) -> Counts:
    """Counts that were packed."""
    return Counts(cells=np.frombuffer(part[0], np.int64), missing=part[1])
