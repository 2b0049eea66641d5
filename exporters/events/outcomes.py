"""What labels say of predictions, as counts that add up: by class, by group and by score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from midwatch import metrics

Pairs = dict[str, dict[str, int]]
"""Counts by predicted and actual class."""

Grouped = dict[str, dict[str, dict[str, int]]]
"""Counts by attribute, group and predicted class."""


class Outcome(msgspec.Struct, gc=False):
    """A labelled prediction under the names that are published; `groups` by attribute.

    `scored` are the groups, by attribute, that its score is counted in.
    """

    predicted: str
    actual: str
    is_positive: bool
    score: float | None
    groups: dict[str, str]
    scored: dict[str, str] = {}

    @property
    def is_right(self) -> bool:
        """Whether the label says what was predicted."""
        return self.predicted == self.actual


class Outcomes(msgspec.Struct):
    """Counts of labelled predictions; `bins` by score bin: [labelled, positive, sum of scores]."""

    pairs: Pairs = {}
    groups: dict[str, dict[str, Pairs]] = {}
    bins: dict[int, list[float]] = {}

    def count(self, outcome: Outcome, count: int = 1) -> None:
        """Count one, or as many that are alike; those with a score are counted one by one."""
        count_pair(self.pairs, outcome.predicted, outcome.actual, count)
        for attribute, group in outcome.groups.items():
            named = self.groups.setdefault(attribute, {}).setdefault(group, {})
            count_pair(named, outcome.predicted, outcome.actual, count)
        if outcome.score is not None:
            score_into(self.cell(bin_of(outcome.score)), outcome)

    def cell(self, place: int) -> list[float]:
        """The cell of a score bin."""
        if place not in self.bins:
            self.bins[place] = [0.0, 0.0, 0.0]
        return self.bins[place]

    def add(self, more: Outcomes) -> None:
        """Add the counts of others."""
        self.pairs = sums(self.pairs, more.pairs)
        self.groups = sums(self.groups, more.groups)
        for place, cell in more.bins.items():
            mine = self.bins.get(place, [0.0, 0.0, 0.0])
            self.bins[place] = [one + other for one, other in zip(mine, cell, strict=True)]

    def by_predicted(self) -> dict[str, int]:
        """How many of each predicted class are labelled."""
        return {predicted: sum(actuals.values()) for predicted, actuals in self.pairs.items()}


ROUNDING = 1e-12
"""Of a score times a number of bins: 0.58 times 50 is a little below 29."""


def bin_of(score: float, bins: int = metrics.CALIBRATION_BINS) -> int:
    """Score bin, from 0; a score that is written as an edge is in the bin that begins there, however it is rounded."""
    return min(int(score * bins + ROUNDING), bins - 1)


def score_into(cell: list[float], outcome: Outcome) -> None:
    """Count a scored outcome in the cell of its bin."""
    cell[0] += 1
    cell[1] += outcome.is_positive
    cell[2] += outcome.score or 0.0


def count_pair(counts: Pairs, predicted: str, actual: str, count: int = 1) -> None:
    """Count a predicted and actual class."""
    actuals = counts.get(predicted)
    if actuals is None:
        actuals = counts[predicted] = {}
    actuals[actual] = actuals.get(actual, 0) + count


def count_groups(counts: Grouped, groups: Mapping[str, str], predicted: str, count: int = 1) -> None:
    """Count a predicted class in each of its groups, which are by attribute."""
    for attribute, group in groups.items():
        classes = counts.setdefault(attribute, {}).setdefault(group, {})
        classes[predicted] = classes.get(predicted, 0) + count


def sums(one: Any, other: Any) -> Any:
    """Sum of counts, of rows of them, or of such counts by name."""
    if isinstance(one, list):
        return [mine + more for mine, more in zip(one, other, strict=True)]
    if not isinstance(one, dict):
        return one + other
    return one | {name: sums(one[name], count) if name in one else count for name, count in other.items()}
