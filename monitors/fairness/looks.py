"""One look at the fairness promises of some models: questions to Prometheus, and findings by window of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midwatch.spec.model import Model
from monitors.canary.series import Querier
from monitors.fairness import fetch, promises
from monitors.fairness.fetch import Asked, Window
from monitors.fairness.promises import Finding


@dataclass(frozen=True, kw_only=True)
class Look:
    """Findings of the promises of some models that look equally far back, and the counts that they are of."""

    models: tuple[Model, ...]
    window: Window
    findings: tuple[Finding, ...]
    asked: Asked

    @property
    def queries(self) -> tuple[str, ...]:
        """What Prometheus was asked."""
        return self.asked.queries


def look(querier: Querier, models: Sequence[Model], until: float, *, with_labels: bool = True) -> list[Look]:
    """Judge every promise of some models up to a time; QueryError where Prometheus does not answer.

    Promises that look equally far back are asked for together. Counts of labelled predictions are asked for where a
    promise needs them, and else `with_labels`.
    """
    by_reach: dict[tuple[float, float], list[Model]] = {}
    for model in models:
        for reach in dict.fromkeys((promise.over, promise.block_seconds) for promise in model.fairness):
            kept = [promise for promise in model.fairness if (promise.over, promise.block_seconds) == reach]
            by_reach.setdefault(reach, []).append(model.model_copy(update={"fairness": kept}))
    looks = []
    for together in by_reach.values():
        window = Window.until(until, together[0].fairness[0])
        asked = fetch.ask(querier, together, window, labels=with_labels or fetch.needs_labels(together))
        findings = tuple(promises.judge(together, asked, window))
        looks.append(Look(models=tuple(together), window=window, findings=findings, asked=asked))
    return looks
