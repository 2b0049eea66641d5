"""Attributions by feature and window of time from Prometheus."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from midwatch import metrics, promql
from midwatch.prometheus import Line
from monitors.attribution.change import Windows
from monitors.attribution.others import Floats

SPLIT = frozenset({"__name__", "feature", "le"})
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


Version = tuple[str, str]
"""Model and version."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Names of features, and means by window of those predictions that were explained."""

    names: tuple[str, ...]
    windows: Windows
    queries: tuple[str, ...] = ()


def ask(querier: Querier, model: str, version: str, span: Span) -> Asked:
    """Ask for what one version's explanations say; QueryError where Prometheus does not answer."""
    lines = _lines(querier, span, {"model": model, "version": version})
    return _asked(lines.own, span, lines.queries)


def ask_all(querier: Querier, models: Sequence[str], span: Span) -> dict[Version, Asked]:
    """The same of every version of some models, for the questions of one; those without an explanation are left out."""
    lines = _lines(querier, span, {"model": promql.matches("|".join(map(re.escape, models)))})
    by_version: dict[Version, _Own] = defaultdict(lambda: {name: [] for name in lines.own})
    for name, own in lines.own.items():
        for line in own:
            by_version[line.labels.get("model", ""), line.labels.get("version", "")][name].append(line)
    return {version: _asked(own, span, lines.queries) for version, own in sorted(by_version.items())}


_Own = Mapping[str, list[Line]]
_PLACES = f"{metrics.ATTRIBUTION_PLACE.name}_bucket"


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Lines by the name of their metric, and the queries that gave them."""

    own: _Own
    queries: tuple[str, ...]


def _lines(querier: Querier, span: Span, where: dict[str, str | promql.Matcher]) -> _Lines:
    selected = {
        metric.name: promql.select(metric, "", **where)
        for metric in (metrics.EXPLAINED, metrics.ATTRIBUTION_ADDED, metrics.ATTRIBUTION_TAKEN)
    }
    selected[_PLACES] = promql.select(metrics.ATTRIBUTION_PLACE, "_bucket", **where)
    own = {
        name: querier.query_range(query, start=span.start, end=span.end, step=span.window)
        for name, query in selected.items()
    }
    return _Lines(own=own, queries=tuple(map(str, selected.values())))


def _asked(lines: _Own, span: Span, queries: tuple[str, ...]) -> Asked:
    sums = _increases(lines, span)
    explained, added, taken, places = (sums[name] for name in lines)
    rows = explained.get(("", ""), np.zeros(span.count))
    names = tuple(sorted({name for name, _ in (*added, *taken)}))
    each = np.maximum(rows, 1.0)
    gains = [np.array([of.get((name, ""), np.zeros(span.count)) for name in names]) for of in (added, taken)]
    up, down = (one.reshape(len(names), span.count).T / each[:, None] for one in gains)
    windows = Windows(signed=up - down, amount=up + down, rows=rows, places=_places(names, places, span))
    return Asked(names=names, windows=windows, queries=queries)


def _places(names: Sequence[str], counts: Mapping[_Series, Floats], span: Span) -> Floats | None:
    """Predictions by window, feature and place; None where no histogram of places was kept."""
    if not counts:
        return None
    bounds = sorted({bound for _, bound in counts}, key=float)
    nothing = np.zeros(span.count)
    up_to = np.array([[counts.get((name, bound), nothing) for bound in bounds] for name in names])
    up_to = up_to.reshape(len(names), len(bounds), span.count)
    found: Floats = np.maximum(np.diff(up_to, axis=1, prepend=0.0), 0.0).transpose(2, 0, 1)
    return found


_Series = tuple[str, str]
"""Feature, and bound of a bucket; both empty where there is none."""


def _increases(lines: _Own, span: Span) -> dict[str, dict[_Series, Floats]]:
    """Increases by metric, series and window, those of several exporters added."""
    targets: dict[frozenset[tuple[str, str]], list[tuple[str, _Series, Floats]]] = defaultdict(list)
    for metric, own in lines.items():
        for line in own:
            target = frozenset(pair for pair in line.labels.items() if pair[0] not in SPLIT)
            series = line.labels.get("feature", ""), line.labels.get("le", "")
            targets[target].append((metric, series, _at_edges(line, span)))
    sums: dict[str, dict[_Series, Floats]] = {metric: defaultdict(lambda: np.zeros(span.count)) for metric in lines}
    for found in targets.values():
        gained = _gained(np.stack([values for _, _, values in found]))
        for (metric, series, _), row in zip(found, gained, strict=True):
            sums[metric][series] += row
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
