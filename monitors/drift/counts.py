"""Counts of a window on a reference's cells: all that the methods need, and they add up over parts of a window.

A numeric feature has cells between quantiles of the reference; a categorical one has a cell per category and one for
categories the reference does not know. Missing values are counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

CELLS = 1000
"""Cells of equal mass of a numeric feature: the KS statistic on them is at most 1/1000 below the exact one."""

MAX_CATEGORIES = 1000


@dataclass(frozen=True, kw_only=True)
class NumericGrid:
    """Upper edges (inclusive, ascending, distinct) of the cells but the last; shape (k,), for k + 1 cells."""

    edges: Floats

    @classmethod
    def fit(cls, values: Floats) -> NumericGrid:
        """Quantiles of the values, NaN left out; the largest value is an edge, so that what exceeds it has a cell."""
        present = values[~np.isnan(values)]
        if not len(present):
            return cls(edges=np.empty(0))
        return cls(edges=np.unique(np.quantile(present, np.linspace(0, 1, CELLS + 1), method="higher")))

    def count(self, values: Floats) -> Counts:
        """Counts of values; shape (n,)."""
        missing = np.isnan(values)
        cells = np.searchsorted(self.edges, values[~missing], side="left")
        return Counts(cells=np.bincount(cells, minlength=len(self.edges) + 1), missing=int(missing.sum()))


@dataclass(frozen=True, kw_only=True)
class CategoryGrid:
    """Known categories in order; the last cell counts every other one."""

    categories: tuple[str, ...]
    _index: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._index.update({name: index for index, name in enumerate(self.categories)})

    @classmethod
    def fit(cls, values: Sequence[Any]) -> CategoryGrid:
        """The most frequent categories, at most MAX_CATEGORIES."""
        names, counts = np.unique([str(value) for value in values if value is not None], return_counts=True)
        order = np.lexsort((names, -counts))[:MAX_CATEGORIES]
        return cls(categories=tuple(sorted(str(name) for name in names[order])))

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of values; None is missing."""
        unknown = len(self.categories)
        cells = [self._index.get(str(value), unknown) for value in values if value is not None]
        return Counts(cells=np.bincount(cells, minlength=unknown + 1), missing=len(values) - len(cells))


Grid = NumericGrid | CategoryGrid


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Values per cell, and how many were missing."""

    cells: Integers
    missing: int = 0

    @property
    def total(self) -> int:
        """Values that were there."""
        return int(self.cells.sum())

    def __add__(self, other: Counts) -> Counts:
        return Counts(cells=self.cells + other.cells, missing=self.missing + other.missing)


def numbers(values: Sequence[Any]) -> Floats:
    """Values as numbers; what is none (None, text, infinities) is NaN, that is, missing."""
    try:
        array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array([value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64)
    array[~np.isfinite(array)] = np.nan
    return array
