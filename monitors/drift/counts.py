"""Counts of a window on a reference's cells: all that the univariate methods need, and they add up over parts.

A numeric feature has, for each of k edges, a cell below it (down to the edge before) and a cell for the edge itself,
and one above the last: 2k + 1. A categorical one has a cell per category and one for those the reference does not know.
Missing values, and values of another type, are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

EXACT = 200_000
"""Distinct values up to which each is an edge: then KS on the cells is the exact statistic."""

COARSE = 1000
"""Edges of a window that is kept open for long: KS on them is at most 1/1000 below the exact statistic."""

MAX_CATEGORIES = 1000

BINS = 10
"""Bins of cells, where a feature is looked at in a few parts."""


@dataclass(frozen=True, kw_only=True)
class NumericGrid:
    """Edges, ascending and distinct; shape (k,), for 2k + 1 cells."""

    edges: Floats

    @classmethod
    def fit(cls, values: Floats, most: int = EXACT) -> NumericGrid:
        """Every distinct value, or `most` of their quantiles where there are more; NaN is left out."""
        ordered = np.sort(values[~np.isnan(values)])
        distinct = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
        return cls(edges=ordered[distinct] if distinct.sum() <= most else np.unique(ordered[ranks(len(ordered), most)]))

    def count(self, values: Floats) -> Counts:
        """Counts of values; shape (n,). NaN is missing."""
        if len(values) > len(self.edges):
            return self._count(values, self._locator(len(values)))
        return self._count(
            np.sort(values), self._search
        )  # a search among edges for ascending values is four times as fast

    def counter(self) -> Callable[[Floats], Counts]:
        """The same for many batches of values: what is prepared for that is prepared once, and takes memory."""
        return partial(self._count, locate=_table(self.edges) if len(self.edges) else self._search)

    def places(self, values: Floats) -> Integers:
        """Cell of each value, -1 for NaN; shape (n,)."""
        locate = self._locator(len(values))
        places = np.full(len(values), -1, dtype=np.int32)
        for start in range(0, len(values), CHUNK):
            part = values[start : start + CHUNK]
            known = ~np.isnan(part)
            places[start : start + CHUNK][known] = locate(part[known])
        return places

    def _locator(self, values: int) -> Locator:
        """What finds the cell of each of so many values: a table of the edges pays for itself with many."""
        return _table(self.edges) if values > len(self.edges) > 0 else self._search

    def _count(self, values: Floats, locate: Locator) -> Counts:
        missing = int(np.isnan(values).sum())
        present = values[~np.isnan(values)] if missing else values
        cells = np.zeros(2 * len(self.edges) + 1, dtype=np.int64)
        for start in range(0, len(present), CHUNK):
            cells += np.bincount(locate(present[start : start + CHUNK]), minlength=len(cells))
        return Counts(cells=cells, missing=missing)

    def _search(self, part: Floats) -> Any:
        """Cell of each value; without an edge all are in the one cell."""
        place = self.edges.searchsorted(part)
        return 2 * place + (self._padded[place] == part)

    @cached_property
    def _padded(self) -> Floats:
        return np.append(self.edges, np.nan)


CHUNK = 1 << 17
"""Values located at a time: what is needed for them stays in a core's cache."""

BUCKETS_PER_EDGE = 8
"""With as many hardly a bucket holds two edges, and the table still fits into a core's cache."""

Locator = Callable[[Floats], Any]
"""Gives the cell of each value; NaN is none."""


def _table(edges: Floats) -> Locator:
    """What a search among the edges finds, for many values: uniform buckets hold one edge at most but for a few.

    A third of the time of sorting a million values, and exact: bucket numbers of values and edges are rounded alike, so
    a value is beyond the edges of lower buckets, below those of higher ones, and compared with the one of its own.
    """
    finite = edges[np.isfinite(edges)]
    tail = len(finite) // 2000  # far values would make the buckets of all others wide
    low, high = (float(finite[tail]), float(finite[-1 - tail])) if len(finite) else (0.0, 0.0)
    buckets = BUCKETS_PER_EDGE * len(edges)
    if not 0 < high - low < np.inf:
        low = high = 0.0  # one bucket for all
    scale = buckets / (high - low) if high > low else 0.0

    def bucket(values: Floats) -> Any:
        scaled = values.clip(low, high)
        scaled -= low
        scaled *= scale
        return scaled.astype(np.intp)

    held = np.bincount(bucket(edges), minlength=buckets + 2)  # rounding can give one more than the last
    first = (np.cumsum(held) - held).astype(np.int32)
    first[held > 1] = -1  # searched among all edges
    padded = np.append(edges, np.nan)  # equal to nothing, below nothing

    def locate(values: Floats) -> Any:
        place = first[bucket(values)].astype(np.intp)
        crowded = np.flatnonzero(place < 0)
        place[crowded] = edges.searchsorted(values[crowded])
        edge = padded[place]
        place *= 2
        place += 2 * (edge < values)
        place += edge == values
        return place

    return locate


def ranks(count: int, most: int) -> Integers:
    """Ranks (from 0) of evenly spread quantiles of so many values, each the next higher one."""
    return np.ceil((count - 1) * np.linspace(0, 1, most)).astype(np.int64)


def bin_starts(cells: Integers) -> Integers:
    """First cell of each of about BINS bins of equal mass, or each cell where there are at most as many.

    The last cell, which a reference has nothing in, is a bin of its own.
    """
    if len(cells) <= BINS + 1:
        return np.arange(len(cells))
    share = np.cumsum(cells[:-1]) / max(1, cells[:-1].sum())
    starts = np.minimum(np.searchsorted(share, np.arange(1, BINS) / BINS, side="left") + 1, len(cells) - 1)
    return np.unique(np.concatenate(([0], starts, [len(cells) - 1])))


@dataclass(frozen=True, kw_only=True)
class CategoryGrid:
    """Known categories in order; the last cell counts every other one.

    `whole` says that they are all that the reference has; else they are the most frequent of more.
    """

    categories: tuple[str, ...]
    whole: bool = True

    @cached_property
    def _index(self) -> dict[str, int]:
        """Cell of each category.

        A text file does not tell a flag from the words true and false, nor how a flag is spelt: where those are all
        that is known, they are found in any of the usual spellings.
        """
        index = {name: place for place, name in enumerate(self.categories)}
        flags = {name.lower(): place for name, place in index.items()}
        if len(flags) < len(index) or not flags.keys() <= {"true", "false"}:
            return index
        spelt = {write(name): place for name, place in flags.items() for write in (str.lower, str.upper, str.title)}
        return spelt | index

    @classmethod
    def fit(cls, values: Sequence[Any]) -> CategoryGrid:
        """The most frequent categories, at most MAX_CATEGORIES."""
        return cls.of(frequencies(values))

    @classmethod
    def of(cls, occurrences: Mapping[str, int]) -> CategoryGrid:
        """The same from how often each occurs."""
        ranked = sorted(occurrences, key=lambda name: (-occurrences[name], name))
        return cls(categories=tuple(sorted(ranked[:MAX_CATEGORIES])), whole=len(ranked) <= MAX_CATEGORIES)

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of values; None is missing."""
        cells = np.zeros(len(self.categories) + 1, dtype=np.int64)
        present = 0
        for name, count in frequencies(values).items():
            cells[self._index.get(name, -1)] += count
            present += count
        return Counts(cells=cells, missing=len(values) - present)

    def counter(self) -> Callable[[Sequence[Any]], Counts]:
        """The same for many batches of values."""
        return self.count

    def place(self, value: Any) -> int:
        """Cell of a value, -1 for None."""
        if value is None:
            return -1
        return self._index.get(value if type(value) is str else str(value), len(self.categories))

    def places(self, values: Sequence[Any]) -> Integers:
        """Cell of each value, -1 for None; shape (n,). Of an Arrow array each distinct value is looked up once."""
        if not hasattr(values, "dictionary_encode"):
            return np.array([self.place(value) for value in values], dtype=np.int64)
        whole: Any = values.combine_chunks() if hasattr(values, "combine_chunks") else values
        encoded = whole if hasattr(whole, "indices") else whole.dictionary_encode()
        cells = [self.place(value) for value in encoded.dictionary.to_pylist()]
        known = np.array([*cells, -1], dtype=np.int64)
        places: Integers = encoded.indices.fill_null(len(cells)).to_numpy(zero_copy_only=False)
        return known[places]


def frequencies(values: Sequence[Any]) -> dict[str, int]:
    """How often each category occurs; None is left out. An Arrow array is counted by Arrow."""
    if hasattr(values, "value_counts"):
        pairs = values.value_counts()
        names, counts = pairs.field(0).to_pylist(), pairs.field(1).to_pylist()
        return {str(name): count for name, count in zip(names, counts, strict=True) if name is not None}
    occurrences: dict[str, int] = {}
    for value in values:
        if value is not None:
            name = str(value)
            occurrences[name] = occurrences.get(name, 0) + 1
    return occurrences


Grid = NumericGrid | CategoryGrid


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Values per cell, and how many were missing or of another type.

    `unseen` are those of a reference whose category its other rows do not have: as many of a calm window are new.
    """

    cells: Integers
    missing: int = 0
    wrong_type: int = 0
    unseen: int = 0

    @property
    def total(self) -> int:
        """Values that were there."""
        return int(self.cells.sum())

    @property
    def rows(self) -> int:
        """Rows, whatever they held."""
        return self.total + self.missing + self.wrong_type

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            cells=self.cells + other.cells,
            missing=self.missing + other.missing,
            wrong_type=self.wrong_type + other.wrong_type,
        )


def numbers(values: Sequence[Any]) -> tuple[Floats, int]:
    """Values as numbers, and how many were no number; None and those are NaN.

    >>> numbers([1, None, "x"])[1]
    1
    """
    if set(map(type, values)) <= _NUMBERS:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64), 0
    right = [type(value) in _NUMBERS for value in values]
    pairs = zip(values, right, strict=True)
    array = np.array([value if good and value is not None else np.nan for value, good in pairs], dtype=np.float64)
    return array, right.count(False)


_NUMBERS = {float, int, bool, type(None), np.float64}
