"""What promises of fairness need beside classes: scores, errors and exposure by group, as sums that add up.

Only what is promised is counted: a model without such a promise has none of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from exporters.events.outcomes import Outcome, bin_of, sums
from midwatch import metrics
from midwatch.spec.fairness import BY_ERROR, BY_RANK
from midwatch.spec.model import Model

SERIES_OF_SCORES = 4 * metrics.GROUP_SCORE_BINS
"""Series of a group whose scores are counted: predictions, outcomes, positives and sum of the scores of each bin."""
SERIES_OF_ERRORS = 4
"""Series of a group and error bound: errors within and beyond, their sum, and that of their squares."""
SERIES_OF_AMOUNTS = 2
"""Series of a group of a regression: its predictions, and those that are settled."""
SERIES_OF_GROUP_FEATURE = 3
"""Series of a group and a feature: what it added, what it took away, and the squares of both."""
FOLDED_FEATURES = 2
"""Names of features that stand for others: those beyond their number, and texts."""
SERIES_OF_EXPOSURE = 3
"""Series of a group in rankings: predictions with a rank, their exposure, and its squares."""

Rows = dict[str, dict[str, dict[str, list[float]]]]
"""Sums by attribute, group, and score bin or error bound."""
Exposed = dict[str, dict[str, list[float]]]
"""Predictions with a rank, sum of their exposure, and of its squares, by attribute and group."""


Explained = dict[str, dict[str, dict[str, list[float]]]]
"""Sums of attributions by attribute, group and feature: what it added, what it took away, and squares."""


class Deviation(msgspec.Struct, gc=False):
    """How far off a labelled prediction of a regression was, with its groups by bound and attribute."""

    error: float
    groups: dict[str, dict[str, str]]


class Promised(msgspec.Struct, frozen=True):
    """What a model's promises have counted: attributes whose groups' scores and exposure are, and those by bound.

    `amounts` are the attributes by whose groups a regression's predictions are counted, `explained` those by whose
    groups attributions of `features` features are summed.
    """

    scored: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    bounds: dict[str, tuple[str, ...]] = {}
    amounts: tuple[str, ...] = ()
    explained: tuple[str, ...] = ()
    features: int = 0

    @classmethod
    def of(cls, model: Model) -> Promised:
        """Of a model of the platform file."""
        of_errors = [promise for promise in model.fairness if promise.measure in BY_ERROR]
        by_group = bool(model.explanations and model.explanations.by_group)
        return cls(
            scored=_distinct(one.counted_attributes for one in model.fairness if one.counts_scores),
            exposed=_distinct(one.counted_attributes for one in model.fairness if one.measure in BY_RANK),
            bounds={
                bound: _distinct(one.counted_attributes for one in of_errors if one.bound == bound)
                for bound in dict.fromkeys(one.bound for one in of_errors)
            },
            amounts=model.attributes if of_errors else (),
            explained=_distinct(one.counted_attributes for one in model.fairness) if by_group else (),
            features=model.explanations.features + FOLDED_FEATURES if model.explanations and by_group else 0,
        )

    @property
    def series(self) -> int:
        """Series that one group of each attribute has."""
        of_errors = sum(map(len, self.bounds.values())) * SERIES_OF_ERRORS + len(self.amounts) * SERIES_OF_AMOUNTS
        of_scores = len(self.scored) * SERIES_OF_SCORES + len(self.exposed) * SERIES_OF_EXPOSURE
        return of_scores + of_errors + len(self.explained) * self.of_explained

    @property
    def of_explained(self) -> int:
        """Series of a group whose predictions are explained."""
        return 1 + self.features * SERIES_OF_GROUP_FEATURE


NOTHING = Promised()


def explain(explained: Explained, groups: Mapping[str, str], attributions: Iterable[tuple[str, float]]) -> None:
    """Sum attributions, by the names that they are counted under, in the groups of a prediction."""
    for attribute, group in groups.items():
        features = explained.setdefault(attribute, {}).setdefault(group, {})
        for name, amount in attributions:
            row = features.setdefault(name, [0.0, 0.0, 0.0])
            row[0 if amount > 0 else 1] += abs(amount)
            row[2] += amount * amount


class GroupSums(msgspec.Struct):
    """Sums of settled predictions by group.

    `scores` has, by bin, predictions with a score, those of them with a label, positive ones, and the sum of the scores
    of the labelled. `errors` has, by bound, errors within and beyond it, their sum and that of their squares, each
    error being at most the bound.
    """

    scores: Rows = {}
    errors: Rows = {}

    def predict(self, groups: Mapping[str, str], score: float) -> None:
        """Count a prediction with a score in its groups, which are by attribute."""
        for row in _rows(self.scores, groups, _bin(score)):
            row[0] += 1

    def label(self, outcome: Outcome) -> None:
        """Count a label of a prediction with a score."""
        if outcome.score is None:
            return
        for row in _rows(self.scores, outcome.scored, _bin(outcome.score)):
            row[1] += 1
            row[2] += outcome.is_positive
            row[3] += outcome.score

    def deviate(self, deviation: Deviation) -> None:
        """Count an error."""
        for bound, groups in deviation.groups.items():
            most = float(bound)
            counted = min(deviation.error, most)
            for row in _rows(self.errors, groups, bound):
                row[0 if deviation.error <= most else 1] += 1
                row[2] += counted
                row[3] += counted * counted

    def add(self, more: GroupSums) -> None:
        """Add the sums of others."""
        self.scores = sums(self.scores, more.scores)
        self.errors = sums(self.errors, more.errors)


def expose(exposed: Exposed, groups: Mapping[str, str], rank: int) -> None:
    """Count the place of a ranking in its groups: attention falls as 1 / log2(1 + rank) (Singh, Joachims 2018)."""
    exposure = 1 / math.log2(1 + rank)
    for attribute, group in groups.items():
        row = exposed.setdefault(attribute, {}).setdefault(group, [0.0, 0.0, 0.0])
        row[0] += 1
        row[1] += exposure
        row[2] += exposure * exposure


def column(rows: Mapping[str, Any], place: int, depth: int) -> dict[str, Any]:
    """One of the sums by the same names; `depth` levels of names lead to the rows."""
    if depth == 1:
        return {name: row[place] for name, row in rows.items()}
    return {name: column(inner, place, depth - 1) for name, inner in rows.items()}


def _bin(score: float) -> str:
    return str(bin_of(score, metrics.GROUP_SCORE_BINS))


def _rows(table: Rows, groups: Mapping[str, str], key: str) -> Iterable[list[float]]:
    """Row of a bin or bound in each of some groups."""
    for attribute, group in groups.items():
        by_key = table.setdefault(attribute, {}).setdefault(group, {})
        row = by_key.get(key)
        if row is None:
            row = by_key[key] = [0.0, 0.0, 0.0, 0.0]
        yield row


def _distinct(attributes: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for some in attributes for name in some))
