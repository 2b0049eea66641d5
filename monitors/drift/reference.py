"""What a window is compared with: per feature a grid, the reference's counts on it, and how far calm windows stray."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import direction, joint, methods, quality
from monitors.drift.comparison import FeatureMethod, Result
from monitors.drift.counts import COARSE, CategoryGrid, Counts, Grid, NumericGrid, numbers

COMPARISONS: Mapping[str, FeatureMethod] = {**methods.FEATURE, **quality.CHECKS}
"""Everything that compares one feature at a time, by its name."""


@dataclass(frozen=True, kw_only=True)
class FeatureReference:
    """A feature of the reference.

    `calm` is the largest effect by method and check of the reference's own windows that differ from the whole by more
    than chance; `inflation` how many rows of the stream are worth one independent row.
    """

    kind: Feature
    grid: Grid
    counts: Counts
    calm: Mapping[str, float]
    inflation: float = 1.0

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of raw values on this feature's grid."""
        if isinstance(self.grid, CategoryGrid):
            return self.grid.count(values)
        numeric, wrong = numbers(values)
        counts = self.grid.count(numeric)
        return Counts(cells=counts.cells, missing=counts.missing - wrong, wrong_type=wrong)

    def compare(self, name: str, window: Counts) -> Result:
        """Result of a method or check; for a method the window must hold a value."""
        return COMPARISONS[name].compare(self.counts, window, self.inflation)

    def floor(self, name: str) -> float:
        """Effect that a vote needs: the method's own floor, or what the reference's own windows reach."""
        return max(COMPARISONS[name].floor, self.calm.get(name, 0.0))

    def direction(self, window: Counts) -> str:
        """Which way the window moved, in words."""
        if isinstance(self.grid, NumericGrid):
            return direction.of_numbers(self.counts, window)
        return direction.of_categories(self.grid.categories, self.counts, window)

    @cached_property
    def coarse(self) -> FeatureReference:
        """The same on at most COARSE edges, for windows that are kept open for long."""
        if not isinstance(self.grid, NumericGrid) or len(self.grid.edges) <= COARSE:
            return self
        ends = np.cumsum(self.counts.cells)
        ranks = np.linspace(1, self.counts.total, COARSE)
        chosen = np.unique(np.searchsorted(ends[1::2], ranks))  # the first edge with so many values up to it
        cells = np.append(np.stack([ends[2 * chosen], ends[2 * chosen + 1]], axis=1).ravel(), ends[-1])
        return replace(
            self,
            grid=NumericGrid(edges=self.grid.edges[chosen]),
            counts=replace(self.counts, cells=np.diff(cells, prepend=0)),
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Features of a reference by name; `window_rows` is the size of window it was calibrated for."""

    rows: int
    window_rows: int
    features: Mapping[str, FeatureReference]
    joint: joint.Joint


def count(reference: Reference, columns: Mapping[str, Any]) -> dict[str, Counts]:
    """Counts of a window's columns (as `fit` takes them) by feature, on as many threads as there are cores."""

    def one(name: str) -> Counts:
        return reference.features[name].grid.count(columns[name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and Arrow let other threads run meanwhile
        return dict(zip(reference.features, pool.map(one, reference.features), strict=True))


def ensure_schema(reference: Reference, kinds: Mapping[str, Feature], source: Path, *, whole: bool = False) -> None:
    """Raise InvalidInputError when features differ from the reference's, naming those that do.

    They may be fewer, but not when `whole`: what was learnt of all features together says nothing of some.
    """
    fitted = {name: feature.kind for name, feature in reference.features.items()}
    unused = [name for name in sorted(fitted) if name not in kinds]
    if whole and unused:
        *most, last = methods.ROW
        raise InvalidInputError.at(
            source,
            f"{', '.join(most)} and {last} look at all its features, but not watched: {', '.join(unused)}",
            remedy="list them under drift.features, or fit a reference with --features",
        )
    wrong = [f"{name} ({kind.value})" for name, kind in sorted(kinds.items()) if fitted.get(name) is not kind]
    if wrong:
        remedy = f"it has {', '.join(f'{name} ({kind.value})' for name, kind in sorted(fitted.items()))}; fit it again"
        raise InvalidInputError.at(source, f"the reference lacks {', '.join(wrong)}", remedy=remedy)
