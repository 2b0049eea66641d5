"""Attributions by feature and window of time from Prometheus."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from midwatch import metrics, promql
from midwatch.metrics import Metric
from midwatch.prometheus import Line
from monitors.attribution.change import Floats, Windows


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
    """Names of features, means by window, and how many predictions of each window were explained."""

    names: tuple[str, ...]
    windows: Windows
    explained: Floats
    queries: tuple[str, ...]


def ask(querier: Querier, model: str, version: str, span: Span) -> Asked:
    """Ask for what one version's explanations say; QueryError where Prometheus does not answer."""
    queries: list[str] = []

    def increases(metric: Metric) -> dict[str, Floats]:
        query = promql.select(metric, model=model, version=version)
        queries.append(str(query))
        lines = querier.query_range(query, start=span.start, end=span.end, step=span.window)
        return _by_feature(lines, span)

    explained = increases(metrics.EXPLAINED).get("", np.zeros(span.count))
    added, taken = increases(metrics.ATTRIBUTION_ADDED), increases(metrics.ATTRIBUTION_TAKEN)
    names = tuple(sorted({*added, *taken}))
    each = np.maximum(explained, 1.0)
    sums = [np.array([of.get(name, np.zeros(span.count)) for name in names]) for of in (added, taken)]
    up, down = (one.reshape(len(names), span.count).T / each[:, None] for one in sums)
    return Asked(
        names=names, windows=Windows(signed=up - down, amount=up + down), explained=explained, queries=tuple(queries)
    )


def _by_feature(lines: Sequence[Line], span: Span) -> dict[str, Floats]:
    """Increases by feature and window, those of several exporters added; a counter that fell began anew at 0."""
    edges = span.start + span.window * np.arange(span.count + 1)
    sums: dict[str, Floats] = defaultdict(lambda: np.zeros(span.count))
    for line in lines:
        points = dict(line.points)
        values = np.array([points.get(float(edge), math.nan) for edge in edges])
        before, after = values[:-1], values[1:]
        gained = np.where(after < before, after, after - before)
        sums[line.labels.get("feature", "")] += np.nan_to_num(gained)
    return dict(sums)
