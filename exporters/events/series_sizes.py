"""How many series counts are published as, which is what caps bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporters.events.group_sums import NOTHING, SERIES_OF_ERRORS, SERIES_OF_EXPOSURE, SERIES_OF_SCORES, Promised
from exporters.events.series import ModelSeries, Series
from midwatch import metrics
from midwatch.spec import model as spec

SERIES_OF_FEATURE = 3 + len(metrics.PLACE_BUCKETS) + 3
"""Series of a feature's attributions: three sums, and the buckets of its places with their sum and count."""

ATTRIBUTIONS = "attributions"
"""What is summed of a group, beside scores, exposure and errors."""

VERSION_SERIES = 2 + 3
"""Series of any version: requests by outcome, predictions that are not settled, labels that came late by result."""


class Sizes:
    """How many series what is counted is published as: by what the platform file declares and promises of a model."""

    def __init__(self, declared: Mapping[str, spec.Model], promised: Mapping[str, Promised]) -> None:
        self._declared = declared
        self._promised = promised

    def of_version(self, series: Series) -> int:
        """Series that a version is published as."""
        pairs = [
            (predicted, actual)
            for predicted, actuals in series.outcomes.items()
            for actual in actuals
            if predicted not in series.predicted or actual not in (predicted, metrics.OTHER)
        ]
        grouped = [
            len(actuals)
            for groups in series.groups.values()
            for group, outcomes in groups.items()
            if group != metrics.OTHER
            for actuals in outcomes.values()
        ]
        predicted_grouped = [
            len(classes)
            for groups in series.grouped.values()
            for group, classes in groups.items()
            if group != metrics.OTHER
        ]
        makings = [counts for counts in (series.first_token, series.output_token) if any(counts)]
        return (
            VERSION_SERIES
            + of_histogram(series.latency)
            + len(series.predicted) * self.of_class(series.model)
            + len(pairs) * self.of_pair(series.model)
            + 2 * sum(grouped)
            + 2 * sum(predicted_grouped)
            + 6 * sum(cell[0] > 0 for cell in series.bins)
            + (3 if series.observed else 0)
            + sum(map(len, series.bounded.values()))
            + (2 if series.scored else 0)
            + len(series.tokens)
            + len(series.finish_reasons)
            + sum(map(of_histogram, makings))
            + (1 if series.explained.count else 0)
            + len(series.explained.features) * SERIES_OF_FEATURE
            + self._promised.get(series.model, NOTHING).series  # of the groups `other`
            + sum(
                self.of_sums(series.model, kind) * sum(map(len, groups.values()))
                for kind, groups in series.summed.items()
            )
        )

    def of_pair(self, model: str) -> int:
        """Series of a pair of classes: outcomes and settled ones, of all and of each attribute's group `other`."""
        declared = self._declared.get(model)
        return 2 * (1 + (len(declared.attributes) if declared else 0))

    def of_class(self, model: str) -> int:
        """Series of a predicted class: its count, what is settled of it, its outcomes as right and as `other`.

        And its count, and what is settled, in the group `other` of each attribute.
        """
        declared = self._declared.get(model)
        return 4 + 2 * self.of_pair(model) + 2 * (len(declared.attributes) if declared else 0)

    def of_sums(self, model: str, kind: str) -> int:
        """Series of a group's scores, of its exposure, of its attributions, or of its errors by a bound."""
        if kind == ATTRIBUTIONS:
            return self._promised.get(model, NOTHING).of_explained
        return {"scores": SERIES_OF_SCORES, "exposure": SERIES_OF_EXPOSURE}.get(kind, SERIES_OF_ERRORS)


def of_model(model: ModelSeries) -> int:
    """Series that a model is published as, over its versions: five counts, the delays of its labels, its maturity."""
    return 6 + of_histogram(model.delay) + len(model.unread)


def of_histogram(counts: Sequence[int]) -> int:
    """One a bucket, with the sum and the count."""
    return len(counts) + 2
