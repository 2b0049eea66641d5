"""Attributions of every model with explanations: whether its inputs moved, or it uses them otherwise than before.

A verdict is of whole windows, so counters are asked for once a window, and again when another version is explained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from midwatch import metrics, promql
from midwatch.exposition import Sample
from midwatch.prometheus import Client
from midwatch.spec.model import Model, Platform
from monitors.attribution import fetch, judge, published, serving
from monitors.attribution.fetch import Span, Version
from monitors.attribution.serving import Judged
from monitors.evaluator.evaluation import Evaluate, Evaluation

Reach = tuple[float, int]
"""Length of a window, and how many are compared: models of the same are asked for together."""


def prepare(platform: Platform) -> Evaluate:
    """The evaluation of a platform's models with explanations."""
    by_reach: dict[Reach, list[Model]] = {}
    for model in platform.models:
        if model.explanations is not None:
            by_reach.setdefault((model.explanations.window, model.explanations.windows), []).append(model)
    return _Attributions([_Together(reach=reach, models=models) for reach, models in by_reach.items()]).evaluate


class _Attributions:
    """What was judged last of models that are asked for together."""

    def __init__(self, groups: Sequence[_Together]) -> None:
        self._groups = groups

    def evaluate(self, client: Client, now: float) -> Evaluation:
        """Judge what has a new window; the rest is as it was."""
        explained = _explained(client)
        samples: list[Sample] = []
        blind: list[Sample] = []
        for group in self._groups:
            group.look(client, now, explained)
            samples += group.samples()
            blind += group.when_blind()
        return Evaluation(samples=tuple(samples), when_blind=tuple(blind))


def _explained(client: Client) -> frozenset[Version]:
    """Versions of which explanations are counted."""
    counted = client.query(promql.count_by(promql.select(metrics.EXPLAINED), "model", "version"))
    return frozenset((one.labels.get("model", ""), one.labels.get("version", "")) for one in counted)


@dataclass
class _Together:
    """Models whose windows are as long and as many, and what was said of them at the end of the last window."""

    reach: Reach
    models: Sequence[Model]
    _of: tuple[float, frozenset[Version]] | None = None
    _judged: list[Judged] = field(default_factory=list)
    _explained: dict[Version, float] = field(default_factory=dict)

    def look(self, client: Client, now: float, explained: frozenset[Version]) -> None:
        """Ask and judge where a window ended since, or a version is new."""
        names = [model.name for model in self.models]
        window, windows = self.reach
        span = Span.until(now, window, windows + judge.NEWEST)
        of = span.end, frozenset(version for version in explained if version[0] in names)
        if of == self._of:
            return
        asked = fetch.ask_all(client, names, span)
        twins = {model.name: model.explanations.twins for model in self.models if model.explanations}
        self._judged = list(serving.judged(asked, twins))
        self._explained = {version: float(own.windows.rows[-1]) for version, own in asked.items()}
        self._of = of

    def samples(self) -> Iterator[Sample]:
        """Of every judgement, and what it is of."""
        said = {(one.model, one.version) for one in self._judged}
        for one in self._judged:
            yield from published.samples(one.model, one.version, one.question, one.said)
        for (model, version), rows in self._explained.items():
            if (model, version) in said:
                yield metrics.ATTRIBUTION_EXPLAINED, {"model": model, "version": version}, rows
        if self._of is not None:
            for described in self.models:
                yield metrics.ATTRIBUTION_WINDOW_END, {"model": described.name}, self._of[0]

    def when_blind(self) -> Iterator[Sample]:
        """What stays said of each."""
        for one in self._judged:
            yield from published.blind(one.model, one.version, one.question, one.said)
