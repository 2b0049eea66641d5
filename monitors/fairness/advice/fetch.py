"""Histograms of scores by group, labels that came late, and attributes that are sent, from Prometheus."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from midwatch import metrics, promql
from midwatch.prometheus import Line
from midwatch.spec.model import Model
from monitors.canary import increments
from monitors.canary.increments import Axis
from monitors.canary.series import Querier
from monitors.fairness import fetch
from monitors.fairness.advice.scores import Scores
from monitors.fairness.fetch import Cell, Version, Window
from monitors.fairness.projection import Floats

Cells = Mapping[Cell, Floats]

EDGES = tuple(f"{(bin_ + 1) / metrics.GROUP_SCORE_BINS:g}" for bin_ in range(metrics.GROUP_SCORE_BINS))
"""Score bins as labels: their upper edges."""
_LATE_SPLIT = frozenset({"__name__", "result"})


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Labelled predictions by version and cell (attribute, group, score bin), how many are positive, and late labels.

    `late` has, by version, how many predictions got a label after they were settled without one; `sent` those that have
    each attribute that is counted, promised or not, by version and block.
    """

    outcomes: Mapping[Version, Cells] = field(default_factory=dict)
    positives: Mapping[Version, Cells] = field(default_factory=dict)
    late: Mapping[Version, float] = field(default_factory=dict)
    sent: Mapping[Version, Mapping[str, Floats]] = field(default_factory=dict)

    def scores(self, version: Version, attribute: str, groups: Sequence[str], blocks: int) -> Scores | None:
        """Histograms of some groups by block; None where none were counted."""
        outcomes, positives = self.outcomes.get(version, {}), self.positives.get(version, {})
        if not any(cell[0] == attribute for cell in outcomes):
            return None

        def counts(of: Cells) -> Floats:
            nothing = np.zeros(blocks)
            return np.array([[of.get((attribute, group, edge, ""), nothing) for edge in EDGES] for group in groups])

        positive = counts(positives)
        return Scores(positives=positive, negatives=np.maximum(counts(outcomes) - positive, 0.0))


def ask(querier: Querier, models: Sequence[Model], window: Window, lacking: Collection[str]) -> Scored:
    """Ask for what proposals need, of models in `lacking` for the attributes that they send.

    QueryError where Prometheus does not answer.
    """
    scoring = [model for model in models if any(promise.counts_scores for promise in model.fairness)]

    def counts(metric: metrics.Metric) -> Mapping[Version, Cells]:
        query = fetch.selected(metric, scoring)
        return fetch.counted(fetch.points(querier, query, window), window)

    def late() -> dict[Version, float]:
        query = promql.select(metrics.LATE_LABELS, model=fetch.any_of(sorted(model.name for model in models)))
        return _late(fetch.points(querier, query, window), window)

    def sent() -> dict[Version, dict[str, Floats]]:
        query = promql.select(metrics.GROUP_PREDICTIONS, model=fetch.any_of(sorted(lacking)))
        return _sent(fetch.counted(fetch.points(querier, query, window), window), window)

    return Scored(
        outcomes=counts(metrics.SETTLED_GROUP_SCORED_OUTCOMES) if scoring else {},
        positives=counts(metrics.SETTLED_GROUP_POSITIVES) if scoring else {},
        late=late(),
        sent=sent() if lacking else {},
    )


def _sent(counted: Mapping[Version, Cells], window: Window) -> dict[Version, dict[str, Floats]]:
    """Predictions that have each attribute, by version."""
    found: dict[Version, dict[str, Floats]] = {}
    for version, cells in counted.items():
        by_name: dict[str, Floats] = defaultdict(lambda: np.zeros(window.size))
        for (attribute, *_), row in cells.items():
            by_name[attribute] += row
        found[version] = dict(by_name)
    return found


def _late(lines: Sequence[Line], window: Window) -> dict[Version, float]:
    """Labels that came late within a window, by version, right or wrong."""
    by_version: dict[Version, list[Line]] = defaultdict(list)
    for line in lines:
        by_version[line.labels["model"], line.labels["version"]].append(line)
    axis = Axis(start=window.start, step=window.block, size=window.size)
    counts = {}
    for version, own in by_version.items():
        began = partial(operator.lt, min(line.points[0][0] for line in own))
        found = increments.count(own, {}, axis, split=_LATE_SPLIT, was_scraping=began)
        counts[version] = float(sum(row.sum() for row in found.by_series.values()))
    return counts
