"""A reference from a table in time order: cells, counts, and what calm windows of it look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from midwatch.spec.drift import Feature
from monitors.drift import calibration, joint
from monitors.drift.columns import Columns, LocalColumns
from monitors.drift.counts import bin_starts
from monitors.drift.reference import COMPARISONS, FeatureReference, Reference

CALM_WINDOWS = 200
"""Windows of the reference that are looked at, evenly spread: more hardly move the largest of their effects."""


def fit(columns: Mapping[str, Any], features: Mapping[str, Feature], *, window_rows: int) -> Reference:
    """Reference of columns in time order: float64 arrays of the numeric features, sequences of the others."""
    return fit_columns(LocalColumns({name: columns[name] for name in features}), features, window_rows=window_rows)


def fit_columns(
    table: Columns,
    features: Mapping[str, Feature],
    *,
    window_rows: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Reference:
    """Reference of a table in time order; `progress` is told each feature that is done.

    Calibration is in time order because real streams are autocorrelated and shuffled windows would be too calm.
    """
    fitted = {}
    for name, kind in sorted(features.items()):
        fitted[name] = _fit_feature(table, name, kind, window_rows)
        progress(name)
    worst = max(feature.inflation for feature in fitted.values())
    cells = {name: (fitted[name].grid, fitted[name].counts) for name in features}
    together = joint.fit(table, cells, inflation=worst, window_rows=window_rows)
    return Reference(rows=table.rows, window_rows=window_rows, features=fitted, joint=together)


def _fit_feature(table: Columns, name: str, kind: Feature, window_rows: int) -> FeatureReference:
    grid = table.grid(name, kind)
    fitted = FeatureReference(kind=kind, grid=grid, counts=table.counts(name, grid), calm={})
    starts = bin_starts(fitted.counts.cells)
    inflation = calibration.inflation(table.bins(name, grid, starts), len(starts), window_rows)
    fitted = replace(fitted, inflation=inflation)
    return replace(fitted, calm=_calm(fitted.coarse, table, name, window_rows))


def _calm(fitted: FeatureReference, table: Columns, column: str, window_rows: int) -> dict[str, float]:
    """Largest effects of windows of the reference that differ from the whole by more than chance: its seasons."""
    if table.rows < window_rows or not fitted.counts.total:
        return {}
    starts = calibration.window_starts(table.rows, window_rows, CALM_WINDOWS)
    windows = table.windows(column, fitted.grid, starts.tolist(), window_rows)
    told = [window for window in windows if window.total]
    results = {
        name: [fitted.compare(name, window) for window in told]
        for name, method in COMPARISONS.items()
        if fitted.kind in method.features
    }
    return {name: calibration.calm_floor(of_method, len(windows)) for name, of_method in results.items()}
