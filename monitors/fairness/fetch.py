"""Counts by group and block of time from Prometheus: a few range queries for all models of one window."""

from __future__ import annotations

import math
import operator
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from midwatch import metrics, promql
from midwatch.metrics import Metric
from midwatch.prometheus import Line
from midwatch.spec.fairness import BY_ERROR, BY_RANK, BY_SCORE, Fairness
from midwatch.spec.model import Model
from monitors.canary import increments
from monitors.canary.increments import Axis
from monitors.canary.series import Querier
from monitors.fairness.projection import Floats

SPLIT = frozenset(
    {"__name__", "attribute", "group", "predicted", "actual", "bin", "bound", "within", "outcome", "result"}
)
"""Labels that tell apart the counters of one target and version, which are reset together."""

VERSION = frozenset({"model", "version"})
"""Labels that tell apart the counters of one target."""

Target = frozenset[tuple[str, str]]
"""Labels of an exporter."""
Version = tuple[str, str]
"""Model and version."""
Cell = tuple[str, str, str, str]
"""Attribute, group, predicted and actual class; without an actual class where no label was asked for.

Of sums the score bin or error bound stands for the predicted class, and whether within the bound for the actual one.
"""

SUMMED: Mapping[frozenset[str], tuple[Metric, ...]] = {
    BY_SCORE: (
        metrics.SETTLED_GROUP_SCORED,
        metrics.SETTLED_GROUP_SCORED_OUTCOMES,
        metrics.SETTLED_GROUP_POSITIVES,
        metrics.SETTLED_GROUP_SCORE_SUM,
    ),
    BY_ERROR: (metrics.SETTLED_GROUP_ERRORS, metrics.SETTLED_GROUP_ABSOLUTE_ERROR),
    BY_RANK: (metrics.GROUP_RANKED, metrics.GROUP_EXPOSURE),
}
"""What is asked for beside classes, by the measures that need it."""
AMOUNTS = frozenset({metrics.SETTLED_GROUP_SCORE_SUM, metrics.SETTLED_GROUP_ABSOLUTE_ERROR, metrics.GROUP_EXPOSURE})
"""Sums of amounts, which are not whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Blocks of time; seconds since the epoch."""

    start: float
    block: float
    size: int

    @property
    def end(self) -> float:
        """End of the last block."""
        return self.start + self.block * self.size

    @classmethod
    def until(cls, end: float, promise: Fairness) -> Window:
        """The whole blocks up to a time: their edges are multiples of a block, whoever asks."""
        block = promise.block_seconds
        last = math.floor(end / block) * block
        size = round(promise.over / block)
        return cls(start=last - size * block, block=block, size=size)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Counts by version and cell, each an array over the blocks; `queries` gave them. `sums` are by metric's name.

    `totals` are by metric's name too: all predictions of a version, also those without a group.
    `folded` are the labels of which an exporter has ever counted a value as `other`. `since` is when an evaluator found
    that a version's counting began, seconds since the epoch.
    """

    predicted: Mapping[Version, Mapping[Cell, Floats]]
    labelled: Mapping[Version, Mapping[Cell, Floats]]
    settled: Mapping[Version, Mapping[Cell, Floats]]
    folded: frozenset[str]
    queries: tuple[str, ...]
    since: Mapping[Version, float] = field(default_factory=dict)
    sums: Mapping[str, Mapping[Version, Mapping[Cell, Floats]]] = field(default_factory=dict)
    totals: Mapping[str, Mapping[Version, Mapping[Cell, Floats]]] = field(default_factory=dict)

    def grouped(self, version: Version) -> list[Floats]:
        """Counts of a version's predictions by group, each over the blocks."""
        ranked = self.sums.get(metrics.GROUP_RANKED.name, {})
        return [row for counts in (self.predicted, ranked) for row in counts.get(version, {}).values()]

    def seen(self, version: Version) -> list[Floats]:
        """Counts of a version's predictions, by group or not, each over the blocks."""
        every = (row for counts in self._at_once for row in counts.get(version, {}).values())
        return [*self.grouped(version), *every]

    @property
    def versions(self) -> set[Version]:
        """Every version of which something tells that it predicted."""
        return {
            *self.predicted,
            *self.sums.get(metrics.GROUP_RANKED.name, {}),
            *(one for of in self._at_once for one in of),
        }

    @property
    def _at_once(self) -> list[Mapping[Version, Mapping[Cell, Floats]]]:
        """Totals of predictions as they come: a version that ended is settled for a while yet."""
        return [counts for name, counts in self.totals.items() if name != metrics.SETTLED.name]


def ask(querier: Querier, models: Sequence[Model], window: Window, *, labels: bool = True) -> Asked:
    """Ask for what the promises of some models need; QueryError where Prometheus does not answer.

    Without `labels` not for counts of labelled predictions.
    """
    queries: list[str] = []
    measures = {promise.measure for model in models for promise in model.fairness}

    def asked(query: promql.Expr) -> list[Line]:
        queries.append(str(query))
        return points(querier, query, window)

    def counts(metric: Metric) -> Mapping[Version, Mapping[Cell, Floats]]:
        return counted(asked(selected(metric, models)), window, whole=metric not in AMOUNTS)

    def of_labels(metric: Metric) -> Mapping[Version, Mapping[Cell, Floats]]:
        return counts(metric) if labels else {}

    def folded() -> frozenset[str]:
        lines = asked(promql.select(metrics.EXPORTER_FOLDED))
        return frozenset(line.labels["label"] for line in lines if any(value > 0 for _, value in line.points))

    def since() -> dict[Version, float]:
        found: dict[Version, float] = {}
        names = sorted(model.name for model in models)
        for line in asked(promql.select(metrics.FAIRNESS_SINCE, model=any_of(names))):
            version = line.labels["model"], line.labels["version"]
            found[version] = min(found.get(version, math.inf), *(value for _, value in line.points))
        return found

    def totals() -> dict[str, Mapping[Version, Mapping[Cell, Floats]]]:
        by_metric: dict[Metric, set[str]] = defaultdict(set)
        for model in models:
            for promise in model.fairness:
                for metric in (total_of(promise), at_once(promise)):
                    by_metric[metric].add(model.name)
        where = {metrics.REQUESTS: {"outcome": "ok"}}
        return {
            metric.name: counted(
                asked(promql.select(metric, model=any_of(sorted(names)), **where.get(metric, {}))), window
            )
            for metric, names in by_metric.items()
        }

    return Asked(
        predicted=counts(metrics.GROUP_PREDICTIONS),
        labelled=of_labels(metrics.SETTLED_GROUP_OUTCOMES),
        settled=of_labels(metrics.SETTLED_GROUP_PREDICTIONS),
        folded=folded(),
        since=since(),
        sums={
            metric.name: counts(metric)
            for of, summed in SUMMED.items()
            if not of.isdisjoint(measures)
            for metric in summed
        },
        totals=totals(),
        queries=tuple(queries),
    )


def total_of(promise: Fairness) -> Metric:
    """What counts all predictions that a promise is of, with a group or without.

    Of measures of labels these are the settled ones. Only by group are amounts and ranks counted, so all answers stand
    for those.
    """
    is_of_labels = promise.measure not in BY_ERROR | BY_RANK | {"demographic_parity"}
    return metrics.SETTLED if is_of_labels else at_once(promise)


def at_once(promise: Fairness) -> Metric:
    """What counts all predictions that a promise is of when they come."""
    return metrics.REQUESTS if promise.measure in BY_ERROR | BY_RANK else metrics.PREDICTIONS


def needs_labels(models: Sequence[Model]) -> bool:
    """Whether some promise is of more than predictions."""
    return any(promise.measure != "demographic_parity" for model in models for promise in model.fairness)


def selected(metric: Metric, models: Sequence[Model]) -> promql.Expr:
    """A metric by group, of the attributes that promises of some models compare."""
    attributes = {name for model in models for promise in model.fairness for name in promise.counted_attributes}
    names = sorted(model.name for model in models)
    return promql.select(metric, model=any_of(names), attribute=any_of(sorted(attributes)))


def points(querier: Querier, query: promql.Expr, window: Window) -> list[Line]:
    """A point at the end of each block, and one before the first."""
    lines = querier.query_range(query, start=window.start - window.block, end=window.end, step=window.block)
    return [_with_array(line) for line in lines]


def _with_array(line: Line) -> Line:
    """A line whose points are an array: there may be a million in an answer."""
    rows: Any = np.array(line.points, dtype=float).reshape(-1, 2)
    return Line(labels=line.labels, points=rows)


def any_of(names: Sequence[str]) -> promql.Matcher:
    """Matches any of some label values."""
    return promql.matches("|".join(re.escape(name) for name in names))


def counted(lines: Iterable[Line], window: Window, *, whole: bool = True) -> Mapping[Version, Mapping[Cell, Floats]]:
    """Increases by version, cell and block, those of several exporters added; sums of amounts are not `whole`."""
    by_version: dict[Version, list[Line]] = defaultdict(list)
    seen: dict[Target, float] = {}
    for line in lines:
        by_version[line.labels["model"], line.labels["version"]].append(line)
        seen[_target(line)] = min(seen.get(_target(line), math.inf), line.points[0][0])
    axis = Axis(start=window.start, step=window.block, size=window.size)
    counts: dict[Version, dict[Cell, Floats]] = {}
    for version, own in by_version.items():
        cells: dict[Cell, Floats] = defaultdict(lambda: np.zeros(window.size))
        first = min(seen[_target(line)] for line in own)  # of any version: one that begins later begins at 0
        found = increments.count(own, {}, axis, split=SPLIT, was_scraping=partial(operator.lt, first), whole=whole)
        for labels, row in found.by_series.items():
            cells[_cell(dict(labels))] += row
        counts[version] = dict(cells)
    return counts


def _target(line: Line) -> Target:
    return frozenset(pair for pair in line.labels.items() if pair[0] not in SPLIT | VERSION)


def _cell(labels: Mapping[str, str]) -> Cell:
    first = next((labels[name] for name in ("predicted", "bin", "bound") if name in labels), "")
    second = next((labels[name] for name in ("actual", "within") if name in labels), "")
    return labels.get("attribute", ""), labels.get("group", ""), first, second
