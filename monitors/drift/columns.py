"""What fitting asks of the columns of a table, wherever its rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from monitors.drift.counts import Counts, Grid, Integers, NumericGrid, frequencies


class Columns(Protocol):
    """Columns of a table in time order."""

    rows: int

    def grid(self, name: str) -> NumericGrid:
        """Cells of a numeric column: as `NumericGrid.fit` chooses them."""
        ...

    def frequencies(self, name: str, parts: int, size: int) -> list[dict[str, int]]:
        """How often each category occurs in each part of the rows, whose blocks of `size` go to the parts in turn."""
        ...

    def counts(self, name: str, grid: Grid) -> Counts:
        """Counts of all values of a column."""
        ...

    def windows(self, name: str, grid: Grid, starts: Sequence[int], size: int) -> list[Counts]:
        """Counts of the windows of `size` rows that begin at these rows, ascending and not overlapping."""
        ...

    def bins(self, name: str, grid: Grid, starts: Integers) -> Integers:
        """Bin of each row in order, shape (rows,): the last bin that starts at or before its cell; -1 for missing."""
        ...

    def take(self, places: Integers) -> dict[str, Any]:
        """Values of every column at these rows, ascending."""
        ...


class LocalColumns:
    """Columns on this machine: float64 arrays, and sequences or Arrow arrays of categories.

    A mapping that reads a column when it is asked for one holds no more than that one in memory.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        self._name, self._held = "", None
        self.rows = len(self._column(next(iter(columns))))

    def _column(self, name: str) -> Any:
        if name != self._name:
            self._held = None  # before the next is read
            self._name, self._held = name, self._columns[name]
        return self._held

    def grid(self, name: str) -> NumericGrid:
        """See `Columns`."""
        return NumericGrid.fit(self._column(name))

    def frequencies(self, name: str, parts: int, size: int) -> list[dict[str, int]]:
        """See `Columns`."""
        values, blocks = self._column(name), np.arange(self.rows) // size % parts
        return [frequencies(taken(values, np.flatnonzero(blocks == part))) for part in range(parts)]

    def counts(self, name: str, grid: Grid) -> Counts:
        """See `Columns`."""
        return grid.count(self._column(name))

    def windows(self, name: str, grid: Grid, starts: Sequence[int], size: int) -> list[Counts]:
        """See `Columns`."""
        values = self._column(name)
        return [grid.count(values[start : start + size]) for start in starts]

    def bins(self, name: str, grid: Grid, starts: Integers) -> Integers:
        """See `Columns`."""
        return bins_of(self._column(name), grid, starts)

    def take(self, places: Integers) -> dict[str, Any]:
        """See `Columns`."""
        return {name: taken(self._column(name), places) for name in self._columns}


def bins_of(values: Any, grid: Grid, starts: Integers) -> Integers:
    """Bin of each value; see `Columns.bins`. One byte each, since there may be very many."""
    cells = grid.places(values)
    bins = np.searchsorted(starts, cells, side="right").astype(np.int8) - np.int8(1)
    bins[cells < 0] = -1
    return bins


def taken(values: Any, places: Integers) -> Any:
    """Values at some places of a column of any kind."""
    if hasattr(values, "take"):
        return values.take(places)
    return [values[place] for place in places.tolist()]
