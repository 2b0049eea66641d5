"""Attributions by feature and window of time from Prometheus."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from midwatch import metrics, promql
from midwatch.metrics import Metric
from midwatch.prometheus import Line
from monitors.attribution.change import Floats, Windows

SPLIT = frozenset({"__name__", "feature"})
"""Labels that tell apart the counters of one exporter and version."""


class Querier(Protocol):
    """What is asked of a Prometheus."""

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Windows of equal length that end at `end`, seconds since the epoch; the last one is judged."""

    end: float
    window: float
    count: int

    @property
    def start(self) -> float:
        """Start of the first window."""
        return self.end - self.window * self.count

    @classmethod
    def until(cls, end: float, window: float, count: int) -> Span:
        """Whole windows up to a time: their edges are multiples of a window, whoever asks."""
        return cls(end=math.floor(end / window) * window, window=window, count=count)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Names of features, and means by window of those predictions that were explained."""

    names: tuple[str, ...]
    windows: Windows
    queries: tuple[str, ...]


def ask(querier: Querier, model: str, version: str, span: Span) -> Asked:
    """Ask for what one version's explanations say; QueryError where Prometheus does not answer."""
    queries: list[str] = []

    def lines(metric: Metric) -> list[Line]:
        query = promql.select(metric, model=model, version=version)
        queries.append(str(query))
        return querier.query_range(query, start=span.start, end=span.end, step=span.window)

    asked = (metrics.EXPLAINED, metrics.ATTRIBUTION_ADDED, metrics.ATTRIBUTION_TAKEN)
    sums = _increases({metric.name: lines(metric) for metric in asked}, span)
    explained, added, taken = (sums[metric.name] for metric in asked)
    rows = explained.get("", np.zeros(span.count))
    names = tuple(sorted({*added, *taken}))
    each = np.maximum(rows, 1.0)
    gains = [np.array([of.get(name, np.zeros(span.count)) for name in names]) for of in (added, taken)]
    up, down = (one.reshape(len(names), span.count).T / each[:, None] for one in gains)
    return Asked(names=names, windows=Windows(signed=up - down, amount=up + down, rows=rows), queries=tuple(queries))


def _increases(lines: Mapping[str, Sequence[Line]], span: Span) -> dict[str, dict[str, Floats]]:
    """Increases by metric, feature and window, those of several exporters added."""
    targets: dict[frozenset[tuple[str, str]], list[tuple[str, str, Floats]]] = defaultdict(list)
    for metric, own in lines.items():
        for line in own:
            target = frozenset(pair for pair in line.labels.items() if pair[0] not in SPLIT)
            targets[target].append((metric, line.labels.get("feature", ""), _at_edges(line, span)))
    sums: dict[str, dict[str, Floats]] = {metric: defaultdict(lambda: np.zeros(span.count)) for metric in lines}
    for series in targets.values():
        gained = _gained(np.stack([values for _, _, values in series]))
        for (metric, feature, _), row in zip(series, gained, strict=True):
            sums[metric][feature] += row
    return sums


def _at_edges(line: Line, span: Span) -> Floats:
    values = np.full(span.count + 1, math.nan)
    for time, value in line.points:
        values[round((time - span.start) / span.window)] = value
    return values


def _gained(values: Floats) -> Floats:
    """Increases between edges of one exporter's counters, shape (series, edges): these are reset together.

    One that falls tells it of those that do not. A series that appears after others began at 0; what a gap hides is
    counted at its end, of all series alike.
    """
    gained = np.zeros_like(values)
    level = np.full(len(values), math.nan)
    for edge, now in enumerate(values.T):
        is_there = ~np.isnan(now)
        if not is_there.any():
            continue
        if (now < level).any():
            level = np.zeros_like(level)
        gained[:, edge] = np.nan_to_num(now - level)
        level = np.where(is_there, now, np.nan_to_num(level))
    return gained[:, 1:]
