"""All features together: a seeded sample of the reference's rows as vectors, and the methods that compare rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType

import numpy as np

from monitors.drift import classifier, isolation_forest, mmd
from monitors.drift.counts import Counts, Grid, Integers
from monitors.drift.embedding import Embedding, Rows
from monitors.drift.result import Result
from monitors.drift.source import Source

METHODS: dict[str, ModuleType] = {"mmd": mmd, "isolation_forest": isolation_forest, "classifier": classifier}

FEATURE = "all features"
"""What a finding of these methods is about."""

ROWS = 10_000
"""Rows of the reference that are kept."""

CALM_WINDOWS = 20
CALM_ROWS = 1000
"""Windows of the reference that are looked at, and rows of each: every one costs a whole comparison."""

BY_CHANCE = 0.05
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Vectors of reference rows, shape (n, d), and by method the largest effect of calm windows that deviate."""

    embedding: Embedding
    rows: Rows
    inflation: float
    calm: Mapping[str, float]

    def compare(self, method: str, window: Rows) -> Result:
        """Result of a method; the window's vectors have shape (m, d)."""
        if method == "isolation_forest" and min(len(self.rows), len(window)) > 1:
            return self._forest.compare(window, inflation=self.inflation)
        found: Result = METHODS[method].compare(self.rows, window, inflation=self.inflation, seed=SEED)
        return found

    @cached_property
    def _forest(self) -> isolation_forest.Forest:
        """Grown once: every window meets the same reference."""
        return isolation_forest.grown(self.rows, seed=SEED)

    def floor(self, method: str) -> float:
        """Effect that a vote needs."""
        return float(max(METHODS[method].FLOOR, self.calm.get(method, 0.0)))


def fit(source: Source, features: Mapping[str, tuple[Grid, Counts]], *, inflation: float, window_rows: int) -> Joint:
    """From a table in time order and its counts; `inflation` is how many of its rows are worth an independent one."""
    embedding = Embedding.fit(features)
    chosen = np.sort(np.random.default_rng(SEED).choice(source.rows, min(ROWS, source.rows), replace=False))
    windows = _calm_windows(source.rows, window_rows)
    places = np.unique(np.concatenate([chosen, *windows]))
    vectors = embedding.rows(source.take(places))
    parts = [vectors[np.searchsorted(places, part)] for part in (chosen, *windows)]
    fitted = Joint(embedding=embedding, rows=parts[0], inflation=inflation, calm={})
    return replace(fitted, calm=_calm(fitted, parts[1:]))


def _calm_windows(rows: int, window_rows: int) -> list[Integers]:
    """Rows of windows that are evenly spread over the reference; none when it has hardly one."""
    last = rows - window_rows
    if last < window_rows:
        return []
    starts = np.unique(np.linspace(0, last, min(CALM_WINDOWS, last // window_rows + 1)).astype(int))
    return [np.arange(start, start + window_rows, max(1, window_rows // CALM_ROWS)) for start in starts]


def _calm(fitted: Joint, windows: list[Rows]) -> dict[str, float]:
    """Largest effects of the reference's own windows that differ from the whole by more than chance."""
    if not windows:
        return {}
    few = replace(fitted, rows=fitted.rows[:: max(1, len(fitted.rows) // (2 * CALM_ROWS))])
    calm = {}
    for name in METHODS:
        results = [few.compare(name, window) for window in windows]
        effects = (result.effect for result in results if result.p_value < BY_CHANCE / len(windows))
        calm[name] = max(effects, default=0.0)
    return calm
