"""Which categories of a feature are told apart, and how many of a calm window are none of them.

Categories are chosen, and their rows counted, on different blocks of the reference's rows where it has more of them
than are told apart: those that are frequent in some rows are less so in others (regression to the mean), and a calm
window would have fewer of them than the rows that they were chosen by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from monitors.drift.columns import Columns
from monitors.drift.counts import CategoryGrid, Counts

PARTS = 2
"""Every other block chooses; the others are counted."""

FEWEST_BLOCKS = 8
"""Blocks of a short reference, which has not as many windows."""

FEW = 0.005
"""Share of rows of a category that the others do not have, up to which all categories are told apart."""


@dataclass(frozen=True, kw_only=True)
class Categories:
    """Cells of a feature, their counts, and the first rows and the size of the blocks that were counted."""

    grid: CategoryGrid
    counts: Counts
    starts: tuple[int, ...]
    size: int


def fit(table: Columns, name: str, window_rows: int) -> Categories:
    """Of a column in time order; blocks are windows where the table has enough of them."""
    size = max(1, min(window_rows, table.rows // FEWEST_BLOCKS))
    choosing, held_out = table.frequencies(name, PARTS, size)
    grid = CategoryGrid.of({one: choosing.get(one, 0) + held_out.get(one, 0) for one in (*choosing, *held_out)})
    unseen = _unseen(choosing, held_out)
    if grid.whole and unseen <= FEW:
        counts = table.counts(name, grid)
        counts = replace(counts, unseen=round(unseen * counts.total))
        return Categories(grid=grid, counts=counts, starts=(), size=size)
    grid = replace(CategoryGrid.of(choosing), whole=False)
    starts = tuple(range(size, table.rows - size + 1, PARTS * size))
    windows = table.windows(name, grid, starts, size)
    return Categories(grid=grid, counts=sum(windows[1:], start=windows[0]), starts=starts, size=size)


def _unseen(choosing: dict[str, int], held_out: dict[str, int]) -> float:
    """Share of rows that would be of a new category if half of the reference were not known."""
    rows = sum(held_out.values())
    return sum(count for name, count in held_out.items() if name not in choosing) / rows if rows else 0.0
