"""What a window is compared with: per feature a grid, the reference's counts on it, and how far calm windows stray."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import direction, joint, methods, quality
from monitors.drift.calibration import Inflations
from monitors.drift.comparison import FeatureMethod, Result
from monitors.drift.counts import COARSE, CategoryGrid, Counts, Grid, Integers, NumericGrid, bin_starts, numbers
from monitors.drift.seasons import Cycle, Seasons

COMPARISONS: Mapping[str, FeatureMethod] = {**methods.FEATURE, **quality.CHECKS}
"""Everything that compares one feature at a time, by its name."""

TESTS = 2
"""Against the whole, and against the furthest of its windows: both are looked at, so each has half of the level."""

ENOUGH = 16
"""Calm windows, beyond the first, of which half as much again as independent rows vary by would hardly stay unseen."""

LONGER = 2.0
"""Rows of a window, as a multiple of the reference's, up to which it strays as those do."""

MOST_ROWS = 10**9
"""More rows than this are no advice."""


@dataclass(frozen=True, kw_only=True)
class FeatureReference:
    """A feature of the reference.

    `calm` is the largest effect by method and check of the reference's own windows that differ from the whole by more
    than chance; `inflations` say how many rows of the stream are worth one independent row. `seasons` are its windows
    by their phase, where there are enough. `is_label`: its values come later than their rows.
    """

    kind: Feature
    grid: Grid
    counts: Counts
    calm: Mapping[str, float]
    inflations: Inflations = field(default_factory=Inflations)
    seasons: Seasons | None = None
    is_label: bool = False

    def waits(self, window: Counts) -> bool:
        """Whether a label is missing in more rows than in the reference: early ones are no sample of all."""
        if not self.is_label or not window.rows or not self.counts.rows:
            return False
        return window.missing / window.rows > self.counts.missing / self.counts.rows + quality.FLOOR

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of raw values on this feature's grid."""
        if isinstance(self.grid, CategoryGrid):
            return self.grid.count(values)
        numeric, wrong = numbers(values)
        counts = self.grid.count(numeric)
        return Counts(cells=counts.cells, missing=counts.missing - wrong, wrong_type=wrong)

    def compare(self, name: str, window: Counts) -> Result:
        """Result of a method or check; for a method the window must hold a value.

        Against the reference as a whole, or, where windows of its own stray from that, against the furthest of them.
        """
        method, rows = COMPARISONS[name], window.total
        result = method.compare(self.counts, window, self.inflation(name, window.rows))
        calm = self.calm.get(name, 0.0)
        if method.tail is None or not self._has_calm(window.rows):
            return result
        p_value = result.p_value
        if calm:
            excess = max(0.0, result.effect**method.power - calm**method.power) ** (1 / method.power)
            beyond = method.tail.p_value(excess, self.counts, rows, self._within(name, rows))
            p_value = min(1.0, TESTS * min(p_value, beyond))
        if self.seasons is not None and self._may_stray(name, rows):
            spread = self.seasons.spread_p_value(
                method, name, result.effect, self.counts.total, rows, self._scale(name, rows)
            )
            p_value = max(p_value, spread)
        return replace(result, p_value=p_value)

    def _may_stray(self, name: str, rows: int) -> bool:
        """Whether windows differ by more than independent rows do, or are too few to say that they do not."""
        few = self.seasons is not None and self.seasons.freedom < ENOUGH
        return few or self.inflation(name, rows) > 1

    def _scale(self, name: str, rows: int) -> float:
        """Inflation of a window of so many rows over that of a calm one."""
        return self.inflation(name, rows) / self.inflation(name, self.inflations.window)

    def compare_within(self, name: str, window: Counts) -> Result:
        """The same where a season is a difference: rows are compared with what they vary by within a window."""
        return COMPARISONS[name].compare(self.counts, window, self._within(name, window.rows))

    def on_bins(self, window: Counts) -> Counts:
        """A window on the bins that windows of a phase are kept on."""
        return replace(window, cells=np.add.reduceat(window.cells, self._bin_starts))

    @cached_property
    def _bin_starts(self) -> Integers:
        """First cell of each bin: bins are those of the coarse grid, whose edges are some of the finer one's."""
        starts = bin_starts(self.coarse.counts.cells)
        if not isinstance(self.grid, NumericGrid) or self.coarse is self:
            return starts
        ends = 2 * self.grid.edges.searchsorted(self.coarse.grid.edges)  # type: ignore[union-attr]
        below = np.append(0, ends[:-1] + 2)  # the first cell below each coarse edge
        return np.append(np.stack([below, ends + 1], axis=1).ravel(), ends[-1:] + 2)[starts]

    def at_phase(self, phase: int | None) -> FeatureReference | None:
        """The feature in windows of a phase, on bins; None where the reference has too few of them."""
        found = self.seasons
        if found is None or found.cycle is Cycle.NONE or phase is None or not 0 <= phase < len(found.rows):
            return None
        if not found.rows[phase].sum():
            return None
        if phase not in self._of_phases:
            self._of_phases[phase] = replace(
                self,
                counts=Counts(cells=found.rows[phase]),
                calm=found.calm,
                inflations=found.inflations,
            )
        return self._of_phases[phase]

    @cached_property
    def _of_phases(self) -> dict[int, FeatureReference]:
        return {}

    def inflation(self, name: str, rows: int) -> float:
        """How many rows of a window of so many are worth an independent one, for a method or check."""
        if name in quality.OF_MISSING:
            return self.inflations.missing.of(rows)
        return (self.inflations.bins if COMPARISONS[name].bins else self.inflations.distance).of(rows)

    def _has_calm(self, rows: int) -> bool:
        """Whether the reference's windows say how far calm ones of so many rows stray."""
        return rows <= LONGER * self.inflations.window

    def _within(self, name: str, rows: int) -> float:
        if name in quality.OF_MISSING:
            return self.inflations.missing.of(rows)
        return (self.inflations.bins_within if COMPARISONS[name].bins else self.inflations.distance_within).of(rows)

    def smallest(self, name: str, rows: int, level: float) -> float:
        """Least effect of a method that would be seen in a window of so many rows with a value."""
        method, calm = COMPARISONS[name], self.calm.get(name, 0.0)
        if method.tail is None:
            return self.floor(name)
        calm = calm if self._has_calm(rows) else 0.0
        level = level / TESTS if calm else level
        significant = method.tail.effect(level, self.counts, rows, self.inflation(name, rows))
        if calm:
            excess = method.tail.effect(level, self.counts, rows, self._within(name, rows))
            significant = min(significant, (calm**method.power + excess**method.power) ** (1 / method.power))
        if self.seasons is not None and self._has_calm(rows) and self._may_stray(name, rows):
            spread = self.seasons.spread_effect(method, name, level, self.counts.total, rows, self._scale(name, rows))
            significant = max(significant, spread)
        return max(self.floor(name), significant)

    def is_blind(self, name: str, rows: int, level: float) -> bool:
        """Whether a method would not even see what anybody calls a large change."""
        return self.smallest(name, rows, level) > COMPARISONS[name].large

    def rows_needed(self, name: str, rows: int, level: float) -> int | None:
        """Rows of a window in which a method would see a large change; None when no number is enough."""
        if self.floor(name) > COMPARISONS[name].large:
            return None
        while self.is_blind(name, rows, level):
            rows = rows * 5 // 4 + 1
            if rows > MOST_ROWS:
                return None
        return rows

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
    """Features of a reference by name; `window_rows` is the size of window it was calibrated for.

    `left_out` are columns of its table that are not compared, each with the reason. `time` is the column that its
    windows, of so many `window_seconds`, were cut by.
    """

    rows: int
    window_rows: int
    features: Mapping[str, FeatureReference]
    joint: joint.Joint
    left_out: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    window_seconds: float = 0.0

    def coarse(self, *, with_rows: bool) -> Reference:
        """The same for windows that are kept open for long, and without the rows that only some methods look at."""
        together = self.joint if with_rows else replace(self.joint, rows=self.joint.rows[:0].copy(), means={})
        return replace(self, features={name: one.coarse for name, one in self.features.items()}, joint=together)

    @property
    def cycle(self) -> Cycle:
        """What windows of the same phase have in common."""
        found = (feature.seasons.cycle for feature in self.features.values() if feature.seasons is not None)
        return next(found, Cycle.NONE)

    def phase(self, middle: float, seconds: float) -> int | None:
        """Of a window, from the time of its middle; None of one that is longer or shorter than the reference's."""
        if self.cycle is Cycle.NONE or not self.window_seconds / LONGER <= seconds <= self.window_seconds * LONGER:
            return None
        return int(self.cycle.phases(np.array([middle]))[0])


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
