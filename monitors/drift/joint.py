"""All features together: a seeded sample of the reference's rows as vectors, and the methods that compare rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from midwatch.spec.model import Feature
from monitors.drift import classifier, isolation_forest, mmd
from monitors.drift.embedding import Embedding, Rows
from monitors.drift.result import Result

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
        found: Result = METHODS[method].compare(self.rows, window, inflation=self.inflation, seed=SEED)
        return found

    def floor(self, method: str) -> float:
        """Effect that a vote needs."""
        return float(max(METHODS[method].FLOOR, self.calm.get(method, 0.0)))


def fit(columns: Mapping[str, Any], kinds: Mapping[str, Feature], *, inflation: float, window_rows: int) -> Joint:
    """From columns in time order; `inflation` is how many rows of the stream are worth one independent row."""
    embedding = Embedding.fit(columns, kinds)
    vectors = embedding.rows(columns)
    chosen = np.sort(np.random.default_rng(SEED).choice(len(vectors), min(ROWS, len(vectors)), replace=False))
    fitted = Joint(embedding=embedding, rows=vectors[chosen], inflation=inflation, calm={})
    calm = _calm(fitted, vectors, window_rows)
    return Joint(embedding=embedding, rows=fitted.rows, inflation=inflation, calm=calm)


def _calm(fitted: Joint, vectors: Rows, window_rows: int) -> dict[str, float]:
    """Largest effects of the reference's own windows that differ from the whole by more than chance."""
    last = len(vectors) - window_rows
    if last < window_rows:
        return {}
    few = fitted.rows[:: max(1, len(fitted.rows) // (2 * CALM_ROWS))]
    starts = np.unique(np.linspace(0, last, min(CALM_WINDOWS, last // window_rows + 1)).astype(int))
    step = max(1, window_rows // CALM_ROWS)
    calm = {}
    for name, method in METHODS.items():
        windows = (vectors[start : start + window_rows : step] for start in starts)
        results = [method.compare(few, window, inflation=fitted.inflation, seed=SEED) for window in windows]
        effects = (result.effect for result in results if result.p_value < BY_CHANCE / len(starts))
        calm[name] = max(effects, default=0.0)
    return calm
