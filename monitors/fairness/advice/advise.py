"""Proposals for each promise of each version, those that fit first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model
from monitors.fairness.advice import data, labels, mix, reweighing, thresholds
from monitors.fairness.advice.fetch import Histograms, Scored
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Late, Scene
from monitors.fairness.advice.scores import Scores
from monitors.fairness.bounds import Unlabelled
from monitors.fairness.fetch import Asked, Cell, Version, Window
from monitors.fairness.measures import MEASURES, Cells
from monitors.fairness.promises import Finding
from monitors.fairness.projection import Floats
from monitors.fairness.verdict import Verdict

FROM_MODEL = frozenset({Kind.THRESHOLD, Kind.GROUP_THRESHOLDS, Kind.REWEIGHING})
"""Proposals that change what the model decides or learns."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is proposed for one promise of one version; nothing where it is shown kept."""

    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every rate of the promise is shown within the limit, also lately."""
        return all(
            one.judgement.verdict is Verdict.FAIR and not one.judgement.became_unfair for one in self.findings
        )


def advise(models: Sequence[Model], findings: Sequence[Finding], asked: Asked, scored: Scored, window: Window) -> list[Advice]:
    """Proposals for what was judged of the same counts."""
    by_name = {model.name: model for model in models}
    by_promise: dict[tuple[Version, int], list[Finding]] = defaultdict(list)
    for one in findings:
        by_promise[(one.model, one.version), id(one.promise)].append(one)
    return [_advice(by_name[own[0].model], tuple(own), asked, scored, window) for own in by_promise.values()]


def _advice(model: Model, findings: tuple[Finding, ...], asked: Asked, scored: Scored, window: Window) -> Advice:
    found = Advice(findings=findings, proposals=())
    if found.is_kept or findings[0].promise.measure not in MEASURES:
        return found
    proposals = list(_proposals(_scene(model, findings, asked, scored, window)))
    return Advice(findings=findings, proposals=tuple(sorted(proposals, key=lambda one: not one.fits)))


def _proposals(scene: Scene) -> Iterator[Proposal]:
    """All kinds; what changes the model is for a gap that is shown, and that is not one of who applies."""
    first = [found for of in (labels.propose, data.propose, mix.propose) if (found := of(scene)) is not None]
    yield from first
    is_mix = any(one.kind is Kind.MIX and one.fits for one in first)
    is_unfair = any(one.judgement.verdict is Verdict.UNFAIR or one.judgement.became_unfair for one in scene.findings)
    if len(scene.groups) < 2:
        return
    for kind, propose in (
        (Kind.THRESHOLD, thresholds.propose_one),
        (Kind.GROUP_THRESHOLDS, thresholds.propose_by_group),
        (Kind.REWEIGHING, reweighing.propose),
    ):
        if is_mix:
            yield Proposal(kind=kind, fits=False, why="who applies differs: it would treat like unlike")
        elif not is_unfair:
            yield Proposal(kind=kind, fits=False, why="no gap beyond the limit is shown")
        else:
            yield propose(scene)


def _scene(model: Model, findings: tuple[Finding, ...], asked: Asked, scored: Scored, window: Window) -> Scene:
    version, promise = (findings[0].model, findings[0].version), findings[0].promise
    groups = tuple(rate.group for rate in findings[0].judgement.rates)
    positive = model.positive or ""
    labelled = _cells(asked.labelled.get(version, {}), promise, groups, positive, window)
    settled = asked.settled.get(version, {})
    predicted = [
        _sum(settled, promise, groups, window, lambda cell, wanted=wanted: (cell[2] == positive) == wanted)
        for wanted in (True, False)
    ]
    known = [
        labelled.true_positives + labelled.false_positives,
        labelled.false_negatives + labelled.true_negatives,
    ]
    missing = [np.maximum(all_ - own, 0.0).sum(axis=-1) for all_, own in zip(predicted, known, strict=True)]
    unlabelled = Unlabelled(positive=missing[0], negative=missing[1])
    came = scored.late.get(version, 0.0)
    return Scene(
        findings=findings,
        positive=positive,
        groups=groups,
        labelled=labelled,
        missing=unlabelled,
        late=Late(unlabelled=max(float(missing[0].sum() + missing[1].sum()), came), came=came),
        scores=_scores(scored.histograms.get(version), promise, groups),
    )


def _cells(
    cells: Mapping[Cell, Floats], promise: Fairness, groups: Sequence[str], positive: str, window: Window
) -> Cells:
    def count(predicted: bool, actual: bool) -> Floats:
        return _sum(
            cells,
            promise,
            groups,
            window,
            lambda cell: (cell[2] == positive) == predicted and (cell[3] == positive) == actual,
        )

    return Cells(
        true_positives=count(True, True),
        false_positives=count(True, False),
        false_negatives=count(False, True),
        true_negatives=count(False, False),
    )
