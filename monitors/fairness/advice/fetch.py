"""Histograms of scores by group, and labels that came late, from Prometheus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from midwatch import metrics, promql
from midwatch.spec.model import Model
from monitors.canary.series import Querier
from monitors.fairness import fetch
from monitors.fairness.advice.scores import Scores
from monitors.fairness.fetch import Cell, Version, Window
from monitors.fairness.projection import Floats

Cells = Mapping[Cell, Floats]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Labelled predictions by version and cell (attribute, group, score bin), how many are positive, and late labels.

    `late` has, by version, how many predictions got a label after they were settled without one. `queries` gave it.
    """

    outcomes: Mapping[Version, Cells] = field(default_factory=dict)
    positives: Mapping[Version, Cells] = field(default_factory=dict)
    late: Mapping[Version, float] = field(default_factory=dict)
    queries: tuple[str, ...] = ()

    def scores(self, version: Version, attribute: str, groups: Sequence[str], blocks: int) -> Scores | None:
        """Histograms of some groups by block; None where none were counted."""
        outcomes, positives = self.outcomes.get(version, {}), self.positives.get(version, {})
        bins = sorted({cell[2] for cell in outcomes if cell[0] == attribute}, key=float)
        if not bins:
            return None
        every = bin_labels(bins)
        total, positive = (
            np.array(
                [[_row(of, (attribute, group, name, ""), blocks) for name in every] for group in groups], dtype=float
            )
            for of in (outcomes, positives)
        )
        return Scores(positives=positive, negatives=np.maximum(total - positive, 0.0))


def ask(querier: Querier, models: Sequence[Model], window: Window) -> Scored:
    """Ask for what proposals need; QueryError where Prometheus does not answer."""
    queries: list[str] = []
    scoring = [model for model in models if any(promise.counts_scores for promise in model.fairness)]

    def counts(metric: metrics.Metric) -> Mapping[Version, Cells]:
        query = fetch.selected(metric, scoring)
        queries.append(str(query))
        return fetch.counted(fetch.points(querier, query, window), window)

    def late() -> dict[Version, float]:
        query = promql.select(metrics.LATE_LABELS, model=fetch.any_of(sorted(model.name for model in models)))
        queries.append(str(query))
        return _increases(querier, query, window)

    return Scored(
        outcomes=counts(metrics.SETTLED_GROUP_SCORED_OUTCOMES) if scoring else {},
        positives=counts(metrics.SETTLED_GROUP_POSITIVES) if scoring else {},
        late=late(),
        queries=tuple(queries),
    )
