"""Rows as vectors, for the methods that look at all features together.

A numeric feature becomes its distance from the median in deviations (from the interquartile range), clipped; a
categorical one becomes one axis per frequent category, scaled so that two different categories are a deviation apart.
A missing value stands at the centre: missing values are drift of a kind of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.drift.counts import CategoryGrid, Counts, Floats, Grid, NumericGrid

Rows = NDArray[np.float32]

NORMAL_IQR = 1.349
"""Interquartile range of a normal variable of deviation 1."""

NORMAL_MEAN = 1.2533
"""Deviation of a normal variable whose mean distance from its median is 1: sqrt(pi / 2)."""

CLIP = 5.0
"""Deviations beyond which a value is no further away: one wild value must not stand for the window."""

AXES = 10
"""Categories of a feature that get an axis of their own."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Per numeric feature its centre and scale, per categorical one its categories with an axis."""

    numeric: Mapping[str, tuple[float, float]]
    categorical: Mapping[str, Sequence[str]]

    @classmethod
    def fit(cls, features: Mapping[str, tuple[Grid, Counts]]) -> Embedding:
        """From the reference's cells and counts."""
        numeric, categorical = {}, {}
        for name, (grid, counts) in features.items():
            if isinstance(grid, NumericGrid):
                numeric[name] = _centre_and_scale(grid.edges, counts)
            else:
                order = np.argsort(-counts.cells[:-1], kind="stable")[:AXES]
                categorical[name] = [grid.categories[index] for index in sorted(order)]
        return cls(numeric=numeric, categorical=categorical)

    @property
    def features(self) -> list[str]:
        """Names of the features in it."""
        return [*self.numeric, *self.categorical]

    @property
    def width(self) -> int:
        """Length of a row's vector."""
        return len(self.numeric) + sum(map(len, self.categorical.values()))

    @property
    def axes(self) -> list[str]:
        """Feature of each axis of a row's vector."""
        return [*self.numeric, *(name for name, known in self.categorical.items() for _ in known)]

    def rows(self, columns: Mapping[str, Any]) -> Rows:
        """Vectors of the rows of columns; shape (n, width)."""
        rows = np.empty((len(next(iter(columns.values()))), self.width), np.float32)
        for place, (name, (centre, scale)) in enumerate(self.numeric.items()):
            scaled = np.subtract(columns[name], centre, dtype=np.float64)
            scaled /= scale
            rows[:, place] = np.nan_to_num(scaled.clip(-CLIP, CLIP, out=scaled), copy=False)
        place = len(self.numeric)
        for name, categories in self.categorical.items():
            places = CategoryGrid(categories=tuple(categories)).places(columns[name])
            rows[:, place : place + len(categories)] = (places[:, None] == np.arange(len(categories))) / np.sqrt(2)
            place += len(categories)
        return rows


def _centre_and_scale(edges: Floats, counts: Counts) -> tuple[float, float]:
    """Median and interquartile range, in deviations of a normal, of the finite values; a value counts as its edge."""
    finite = np.isfinite(edges)
    weights = counts.cells[:-1].reshape(-1, 2).sum(axis=1)[finite]
    values, rows = edges[finite], weights.sum()
    if not rows:
        return 0.0, 1.0
    low, centre, high = values[np.searchsorted(np.cumsum(weights), np.array([0.25, 0.5, 0.75]) * rows)]
    if high > low:
        return float(centre), float((high - low) / NORMAL_IQR)
    return float(centre), float((np.abs(values - centre) * (weights / rows)).sum() * NORMAL_MEAN) or 1.0
