"""Promises of fairness as they stand, by what the evaluator says: kept, broken, or not decided yet.

Judged against the platform file's inventory: a promise of which there is no verdict is not known, never kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from midwatch import metrics
from midwatch.app.status.ask import Answers, Question
from midwatch.app.status.records import Objective, Standing
from midwatch.prometheus import Sample
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model, Platform
from midwatch.spec.values import format_duration

Key = tuple[str, str, str, str]
"""Model, attribute, measure and limit."""


@dataclass(kw_only=True)
class _Said:
    """The least verdict of a version's rates, and whether any of them became unfair lately."""

    verdict: float = 1.0
    became_unfair: bool = False

    @property
    def standing(self) -> Standing:
        if self.verdict < 0 or self.became_unfair:
            return Standing.BROKEN
        return Standing.KEPT if self.verdict > 0 else Standing.UNDECIDED


def of_promises(answers: Answers, platform: Platform) -> list[Objective]:
    """Every promise of the platform file, once for each version that is judged."""
    said = _by_promise(answers[Question.FAIRNESS])
    return [
        one
        for model in platform.models
        for promise in model.fairness
        for one in _of_promise(model, promise, said.get((model.name, *promise.key), {}))
    ]


def _by_promise(samples: Iterable[Sample]) -> dict[Key, dict[str, _Said]]:
    found: dict[Key, dict[str, _Said]] = {}
    for one in samples:
        model, version, attribute, measure, limit = (
            one.labels.get(name, "") for name in ("model", "version", "attribute", "measure", "limit")
        )
        said = found.setdefault((model, attribute, measure, limit), {}).setdefault(version, _Said())
        if one.labels["__name__"] == metrics.FAIRNESS_VERDICT.name:
            said.verdict = min(said.verdict, one.value)
        else:
            said.became_unfair |= one.value > 0
    return found


def _of_promise(model: Model, promise: Fairness, by_version: Mapping[str, _Said]) -> list[Objective]:
    judged = [({"version": version}, said.standing) for version, said in sorted(by_version.items())]
    return [
        Objective(
            subject=model.name,
            name=promise.title,
            owner=model.owner,
            group=group,
            standing=standing,
            period=format_duration(promise.over),
        )
        for group, standing in judged or [({}, Standing.UNKNOWN)]
    ]
