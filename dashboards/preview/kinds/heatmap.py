"""Time across; upwards a histogram's buckets, or a row for each series. The stronger a cell, the larger its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from dashboards.preview import units
from dashboards.preview.answers import Answer, Series
from dashboards.preview.drawings import Stretch, Strip, Strips
from midwatch.html import numbers

WIDTH = 1000.0
MOST_ROWS = 60
LEAST = 0.04
"""Opacity of the smallest value that is not 0, so that it is seen."""


def draw(answer: Answer) -> Strips:
    """The cells; buckets of a histogram are told apart, the largest on top."""
    options = answer.panel.get("options") or {}
    unit = str((options.get("yAxis") or {}).get("unit") or "short")
    cells = str((options.get("cellValues") or {}).get("unit") or "short")
    is_histogram = any(one.format == "heatmap" for one in answer.series)
    rows = _buckets(answer.series, unit) if is_histogram else list(answer.series)
    largest = max((value for row in rows for value in row.values if math.isfinite(value)), default=0.0)
    span = answer.times[-1] - answer.times[0]
    more = len(rows) - MOST_ROWS
    return Strips(
        strips=[_strip(row, largest, cells) for row in rows[:MOST_ROWS]],
        legend=[(f"up to {units.said(largest, cells)}", "")],
        begin=numbers.clock(answer.times[0], span),
        end=numbers.clock(answer.times[-1], span),
        is_dense=is_histogram,
        note=f"{more} rows more in Grafana" if more > 0 else "",
    )


def _buckets(series: Sequence[Series], unit: str) -> list[Series]:
    """What falls between each bound and the one below it, of cumulative buckets; the largest bound first."""
    by_bound = sorted(series, key=lambda one: float(one.labels.get("le", "inf")))
    apart = []
    below: Sequence[float] = [0.0] * len(by_bound[0].values)
    for one in by_bound:
        bound = float(one.labels.get("le", "inf"))
        values = [max(0.0, value - rest) for value, rest in zip(one.values, below, strict=True)]
        name = "beyond" if math.isinf(bound) else f"≤ {units.said(bound, unit)}"
        apart.append(replace(one, name=name, values=values))
        below = [0.0 if math.isnan(value) else value for value in one.values]
    return apart[::-1]


def _strip(row: Series, largest: float, unit: str) -> Strip:
    width = WIDTH / len(row.values)
    stretches = [
        Stretch(x=place * width, width=width, text=units.said(value, unit), opacity=_opacity(value, largest))
        for place, value in enumerate(row.values)
        if math.isfinite(value) and value > 0
    ]
    return Strip(name=row.name, stretches=stretches, last=units.said(row.last, unit))


def _opacity(value: float, largest: float) -> float:
    """By the square root, as Grafana's exponential scale with 0.5 has it."""
    return max(LEAST, math.sqrt(value / largest)) if largest > 0 else LEAST
