"""Proposals for each promise of each version, those that fit first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from midwatch.spec.model import Model
from monitors.canary.series import Querier
from monitors.fairness import promises, runs, small_cells, ungrouped
from monitors.fairness.advice import data, fetch, labels, lacking, mix, reweighing, thresholds
from monitors.fairness.advice.fetch import Scored
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Late, Scene, Sent
from monitors.fairness.bounds import Unlabelled
from monitors.fairness.fetch import Cell, at_once
from monitors.fairness.looks import Look
from monitors.fairness.measures import MEASURES, Cells
from monitors.fairness.projection import Floats
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Verdict

_OF_WHAT_IS_SEEN = (lacking.propose, labels.propose, data.propose, mix.propose)
"""Proposals that leave the model as it is."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is proposed for one promise of one version; nothing where it is shown kept."""

    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every rate of the promise is shown within the limit, also lately."""
        return all(one.judgement.verdict is Verdict.FAIR and not one.judgement.became_unfair for one in self.findings)

    def named(self, names: Mapping[str, str]) -> Advice:
        """The same with groups called by their names where these are known."""
        return Advice(
            findings=tuple(promises.named(one, names) for one in self.findings),
            proposals=tuple(_named(one, names) for one in self.proposals),
        )


def advise(querier: Querier, look: Look, version: str | None) -> list[Advice]:
    """Proposals for what was judged in one look; QueryError where Prometheus does not answer."""
    lack = {one.model for one in look.findings if one.ungrouped.matters(one.promise.min_events)}
    scored = fetch.ask(querier, look.models, look.window, lack)
    by_promise: dict[tuple[str, str, tuple[str, ...]], list[Finding]] = defaultdict(list)
    for one in look.findings:
        if version in (None, one.version):
            by_promise[one.model, one.version, one.promise.key].append(one)
    by_name = {model.name: model for model in look.models}
    return [_advice(by_name[own[0].model], tuple(own), look, scored) for own in by_promise.values()]


def _advice(model: Model, findings: tuple[Finding, ...], look: Look, scored: Scored) -> Advice:
    kept = Advice(findings=findings, proposals=())
    if kept.is_kept:
        return kept
    proposals = list(_proposals(_scene(model, findings, look, scored)))
    return Advice(findings=findings, proposals=tuple(sorted(proposals, key=lambda one: not one.fits)))


def _proposals(scene: Scene) -> Iterator[Proposal]:
    """All kinds; what changes the model is for a gap that is shown, and that is not one of who applies."""
    first = [found for of in _OF_WHAT_IS_SEEN if (found := of(scene)) is not None]
    yield from first
    is_mix = any(one.kind is Kind.MIX and one.fits for one in first)
    is_unfair = any(one.judgement.verdict is Verdict.UNFAIR or one.judgement.became_unfair for one in scene.findings)
    if len(scene.groups) < 2:
        return
    if scene.promise.measure not in MEASURES:
        why = f"{scene.promise.measure} is of scores, amounts or places, which no threshold moves, nor a class's weight"
        yield Proposal(kind=Kind.THRESHOLD, fits=False, why=why)
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


def _scene(model: Model, findings: tuple[Finding, ...], look: Look, scored: Scored) -> Scene:
    first = findings[0]
    version, compared = (first.model, first.version), first.promise.compared
    groups = tuple(rate.group for rate in first.judgement.rates)
    count = _Counts(compared, groups, model.positive or "", look.window.size)
    labelled = count.cells(look.asked.labelled.get(version, {}))
    missing = count.missing(look.asked.settled.get(version, {}), labelled)
    came = scored.late.get(version, 0.0)
    return Scene(
        findings=findings,
        positive=model.positive or "",
        groups=groups,
        labelled=labelled,
        missing=missing,
        late=Late(unlabelled=max(float(missing.positive.sum() + missing.negative.sum()), came), came=came),
        scores=scored.scores(version, compared, groups, look.window.size),
        sent=_sent(max(findings, key=lambda one: one.ungrouped.number), look, scored),
    )


def _sent(finding: Finding, look: Look, scored: Scored) -> Sent:
    """What was sent since the counting that a finding is of began."""
    promise, window, asked = finding.promise, look.window, look.asked
    version = finding.model, finding.version
    compared = (mix.is_stratified(finding) and promise.stratified) or promise.compared
    run = runs.run_of(finding.since, window.start, window.block, window.size)
    grouped, total = ungrouped.by_block(promise, compared, version, asked, run.first)
    begun = ungrouped.begun(grouped, total)
    first = run.first + begun
    others = {
        other: ungrouped.count(promise, compared, (finding.model, other), asked, 0)
        for name, other in sorted(asked.versions)
        if name == finding.model and other != finding.version
    }
    every = asked.totals.get(at_once(promise).name, {}).get(version, {}).values()
    return Sent(
        finding=finding,
        grouped=grouped[begun:] if grouped.size else np.zeros(total[begun:].size),
        total=total[begun:],
        start=window.start + window.block * first,
        block=window.block,
        by_name={name: float(row[first:].sum()) for name, row in scored.sent.get(version, {}).items()},
        every=float(sum(row[first:].sum() for row in every)),
        others={
            other: said.share
            for other, said in others.items()
            if said.share is not None and said.total is not None and said.total >= small_cells.LEAST
        },
    )


@dataclass(frozen=True)
class _Counts:
    """How counts become arrays over some groups of an attribute, and blocks."""

    attribute: str
    groups: tuple[str, ...]
    positive: str
    blocks: int

    def cells(self, labelled: Mapping[Cell, Floats]) -> Cells:
        """Right and wrong, by predicted and actual class."""
        return Cells(
            true_positives=self._count(labelled, predicted=True, actual=True),
            false_positives=self._count(labelled, predicted=True, actual=False),
            false_negatives=self._count(labelled, predicted=False, actual=True),
            true_negatives=self._count(labelled, predicted=False, actual=False),
        )

    def missing(self, settled: Mapping[Cell, Floats], labelled: Cells) -> Unlabelled:
        """Settled predictions without a label, all blocks together."""
        positive = labelled.true_positives + labelled.false_positives
        negative = labelled.false_negatives + labelled.true_negatives
        return Unlabelled(
            positive=np.maximum(self._count(settled, predicted=True) - positive, 0.0).sum(axis=-1),
            negative=np.maximum(self._count(settled, predicted=False) - negative, 0.0).sum(axis=-1),
        )

    def _count(self, cells: Mapping[Cell, Floats], *, predicted: bool, actual: bool | None = None) -> Floats:
        found = np.zeros((len(self.groups), self.blocks))
        for (attribute, group, said, true), row in cells.items():
            is_wanted = (said == self.positive) == predicted and actual in (None, true == self.positive)
            if attribute == self.attribute and group in self.groups and is_wanted:
                found[self.groups.index(group)] += row
        return found


def _named(proposal: Proposal, names: Mapping[str, str]) -> Proposal:
    def name(text: str) -> str:
        for group, known in names.items():  # hashes stand in nothing else
            text = text.replace(group, known)
        return text

    return replace(
        proposal,
        why=name(proposal.why),
        steps=tuple(map(name, proposal.steps)),
        notes=tuple(map(name, proposal.notes)),
        effects=tuple(replace(one, what=name(one.what)) for one in proposal.effects),
    )
