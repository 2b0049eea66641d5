"""A reference from a table in time order: cells, counts, and what calm windows of it look like."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from midwatch.spec.drift import Feature
from monitors.drift import calibration, categories, joint, methods, seasons
from monitors.drift.columns import Columns, LocalColumns
from monitors.drift.comparison import FeatureMethod
from monitors.drift.counts import Counts, Grid, bin_starts
from monitors.drift.reference import COMPARISONS, FeatureReference, Reference
from monitors.drift.seasons import Windows

CALM_WINDOWS = 200
"""Windows of the reference that are looked at, from all over it: more hardly move the largest of their effects."""


SLOW = 4.0
"""Inflation of a feature, as a multiple of the median one, beyond which it is left out of whole rows."""


def fit(columns: Mapping[str, Any], features: Mapping[str, Feature], *, window_rows: int) -> Reference:
    """Reference of columns in time order: float64 arrays of the numeric features, sequences of the others."""
    return fit_columns(LocalColumns({name: columns[name] for name in features}), features, window_rows=window_rows)


def fit_columns(
    table: Columns,
    features: Mapping[str, Feature],
    *,
    window_rows: int,
    progress: Callable[[str], None] = lambda _: None,
    left_out: Mapping[str, str] | None = None,
    windows: Windows | None = None,
    time: str = "",
    labels: Collection[str] = (),
) -> Reference:
    """Reference of a table in time order; `progress` is told each feature that is done, `left_out` is kept.

    Calm windows are `windows`, which a column `time` was cut by, or those of `window_rows`. `labels` are features whose
    values come later than their rows.

    Calibration is in time order because real streams are autocorrelated and shuffled windows would be too calm.
    """
    fitted = {}
    windows = seasons.by_rows(table.rows, window_rows) if windows is None else windows
    for name, kind in sorted(features.items()):
        made = _fit_feature(table, name, kind, window_rows, windows)
        fitted[name] = replace(made, is_label=name in labels)
        progress(name)
    compared = {name: fitted[name] for name in _together(fitted, window_rows) if name in features}
    cells = {name: (fitted[name].grid, fitted[name].counts) for name in features if name in compared}
    worst = max((feature.inflations.distance for feature in compared.values()), key=lambda one: one.of(window_rows))
    together = joint.fit(table, cells, inflation=worst, window_rows=window_rows)
    return Reference(
        rows=table.rows,
        window_rows=window_rows,
        features=fitted,
        joint=together,
        left_out=dict(left_out or {}),
        time=time,
        window_seconds=windows.seconds,
    )


def _together(fitted: Mapping[str, FeatureReference], window_rows: int) -> list[str]:
    """Features that the methods of whole rows look at: one that is slow beside the others would blind them to all.

    Nor labels, which rows have or have not by their age.
    """
    inflation = {name: feature.inflations.distance.of(window_rows) for name, feature in fitted.items()}
    usual = max(1.0, statistics.median_low(inflation.values()))
    inputs = [name for name in inflation if not fitted[name].is_label] or list(inflation)
    return [name for name in inputs if inflation[name] <= SLOW * usual]


def _fit_feature(table: Columns, name: str, kind: Feature, window_rows: int, windows: Windows) -> FeatureReference:
    grid: Grid
    starts: Sequence[int] = ()
    if kind is Feature.CATEGORICAL:
        chosen = categories.fit(table, name, window_rows)
        grid, counts, size = chosen.grid, chosen.counts, chosen.size
        counted = calibration.spread(len(chosen.starts), CALM_WINDOWS)  # of windows that chose nothing
        starts = [chosen.starts[place] for place in counted]
    else:
        grid = table.grid(name)
        counts = table.counts(name, grid)
    if not starts:
        size = window_rows
        starts = calibration.window_starts(table.rows, size, CALM_WINDOWS).tolist() if table.rows >= size else ()
    made = FeatureReference(kind=kind, grid=grid, counts=counts, calm={})
    bins = bin_starts(made.coarse.counts.cells)
    of_rows = table.bins(name, made.coarse.grid, bins)
    found = None
    if kind is Feature.CATEGORICAL and chosen.starts:  # other rows chose the categories, and would look calmer
        of_rows = np.concatenate([of_rows[start : start + size] for start in chosen.starts])
    else:
        found = seasons.fit(of_rows, len(bins), windows, _able(kind))
    inflations = calibration.inflations(of_rows, len(bins), window_rows)
    fitted = replace(made, inflations=inflations, seasons=found)
    if not starts or not counts.total:
        return fitted
    coarse = fitted.coarse
    return replace(fitted, calm=_calm(coarse, table.windows(name, coarse.grid, starts, size)))


def _able(kind: Feature) -> dict[str, FeatureMethod]:
    """Methods that can compare a feature of a kind."""
    return {name: method for name, method in methods.FEATURE.items() if kind in method.features}


def _calm(fitted: FeatureReference, windows: Sequence[Counts]) -> dict[str, float]:
    """Largest effects of windows of the reference that differ from the whole by more than chance: its seasons."""
    told = [window for window in windows if window.total]
    results = {
        name: [fitted.compare_within(name, window) for window in told]
        for name, method in COMPARISONS.items()
        if fitted.kind in method.features
    }
    return {name: calibration.calm_floor(of_method, len(windows)) for name, of_method in results.items()}
