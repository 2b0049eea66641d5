"""All features together: a seeded sample of the reference's rows as vectors, and the methods that compare rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from monitors.drift import calibration, methods, moments
from monitors.drift.calibration import Inflation
from monitors.drift.columns import Columns
from monitors.drift.comparison import Result
from monitors.drift.counts import Counts, Grid, Integers
from monitors.drift.embedding import Embedding, Rows
from monitors.drift.moments import CalmMeans

FEATURE = "all features"
"""What a finding of these methods is about."""

ROWS = 10_000
"""Rows of the reference that are kept."""

CALM_WINDOWS = 20
CALM_ROWS = 1000
"""Windows of the reference that are looked at, and rows of each: every one costs a whole comparison."""

SEED = 0

ROUNDED = 1.1
"""Step of the inflations that something is prepared for."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Vectors of reference rows, shape (n, d), and by method the largest effect of calm windows that deviate.

    `means` are, by method that has terms, their means over calm windows of `window_rows`.
    """

    embedding: Embedding
    rows: Rows
    inflation: Inflation
    calm: Mapping[str, float]
    means: Mapping[str, CalmMeans] = field(default_factory=dict)
    window_rows: int = 1

    def compare(self, method: str, window: Rows, samples: int) -> Result:
        """Result of a method; the window's vectors have shape (m, d), and are some of so many samples."""
        inflation = self._inflation(samples)
        means = self.means.get(method)
        longer = _rounded(max(1.0, self.window_rows / max(1, samples))) if means else 1.0
        if (method, inflation, longer) not in self._prepared:
            calm = replace(means, longer=longer) if means else None
            prepared = methods.ROW[method].prepare(self.rows, inflation=inflation, seed=SEED, calm=calm)
            self._prepared[method, inflation, longer] = prepared
        return self._prepared[method, inflation, longer](window)

    def _inflation(self, samples: int) -> float:
        """Of a window of so many samples."""
        return _rounded(self.inflation.of(samples))

    @cached_property
    def _prepared(self) -> dict[tuple[str, float, float], Callable[[Rows], Result]]:
        """What compares windows with the reference, by method, inflation and how much shorter a window is."""
        return {}

    def about(self, method: str, result: Result) -> list[str]:
        """Features of the term that differs most, where a method has terms and one is known."""
        named = methods.ROW[method].axes
        if named is None or result.term is None:
            return []
        axes = self.embedding.axes
        return list(dict.fromkeys(axes[axis] for axis in named(len(axes), result.term)))

    def smallest(self, method: str, rows: int, samples: int, level: float) -> float:
        """Least effect that would be seen in so many rows of a window of so many samples."""
        smallest = methods.ROW[method].smallest
        inflation = self._inflation(samples)
        significant = smallest(len(self.rows), rows, inflation, level) if smallest and rows else 0.0
        return max(self.floor(method), significant)

    def floor(self, method: str) -> float:
        """Effect that a vote needs: the method's own floor, or what the reference's own windows reach."""
        return max(methods.ROW[method].floor, self.calm.get(method, 0.0))


def _rounded(ratio: float) -> float:
    """Up, so that windows of about one size share what is prepared."""
    return float(ROUNDED ** np.ceil(np.log(ratio) / np.log(ROUNDED) - 1e-9))


def fit(
    columns: Columns, features: Mapping[str, tuple[Grid, Counts]], *, inflation: Inflation, window_rows: int
) -> Joint:
    """From a table in time order and its counts; `inflation` is how many of its rows are worth an independent one."""
    embedding = Embedding.fit(features)
    chosen = np.sort(np.random.default_rng(SEED).choice(columns.rows, min(ROWS, columns.rows), replace=False))
    windows = _calm_windows(columns.rows, window_rows)
    places = np.unique(np.concatenate([chosen, *windows]))
    vectors = embedding.rows(columns.take(places))
    parts = [vectors[np.searchsorted(places, part)] for part in (chosen, *windows)]
    means = _means(parts[0], parts[1:])
    fitted = Joint(
        embedding=embedding, rows=parts[0], inflation=inflation, calm={}, means=means, window_rows=window_rows
    )
    return replace(fitted, calm=_calm(fitted, parts[1:], window_rows))


def _calm_windows(rows: int, window_rows: int) -> list[Integers]:
    """Rows of windows from all over the reference; none when it has hardly one."""
    if rows < 2 * window_rows:
        return []
    starts = calibration.window_starts(rows, window_rows, CALM_WINDOWS)
    return [np.arange(start, start + window_rows, max(1, window_rows // CALM_ROWS)) for start in starts]


def _means(reference: Rows, windows: list[Rows]) -> dict[str, CalmMeans]:
    """By method that has terms, their means over calm windows; none where those are too few."""
    if len(windows) < moments.FEWEST_WINDOWS:
        return {}
    expansions = {name: method.terms(reference) for name, method in methods.ROW.items() if method.terms}
    return {
        name: CalmMeans(
            means=np.array([terms(window).mean(axis=0, dtype=np.float64) for window in windows]), rows=len(windows[0])
        )
        for name, terms in expansions.items()
    }


def _calm(fitted: Joint, windows: list[Rows], window_rows: int) -> dict[str, float]:
    """Largest effects of the reference's own windows that differ from the whole by more than chance."""
    if not windows:
        return {}
    few = replace(fitted, rows=fitted.rows[:: max(1, len(fitted.rows) // (2 * CALM_ROWS))])
    results = {name: [few.compare(name, window, window_rows) for window in windows] for name in methods.ROW}
    return {name: calibration.calm_floor(of_method, len(windows)) for name, of_method in results.items()}
