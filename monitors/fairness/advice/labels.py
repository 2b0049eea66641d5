"""Labels that are missing: whether waiting longer brings them, or they never come because of the decision itself."""

from __future__ import annotations

import numpy as np

from monitors.fairness import intervals
from monitors.fairness.advice import effect
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene
from monitors.fairness.bounds import Bounds, Unlabelled
from monitors.fairness.measures import MEASURES
from monitors.fairness.promises import BOUNDS, RATES, certain

SELECTED = 0.05
"""Labelled share of the predicted negatives up to which labels are taken to come for the others only."""
LARGEST_SAMPLE = 2**20


def propose(scene: Scene) -> Proposal | None:
    """What to do about predictions without a label; None where the measure needs none or none is missing."""
    if scene.promise.measure not in MEASURES:
        return _of_sums(scene)
    unlabelled = float(scene.missing.positive.sum() + scene.missing.negative.sum())
    if scene.promise.measure == "demographic_parity" or not unlabelled:
        return None
    if not _is_open(scene):
        return Proposal(
            kind=Kind.LABELS,
            fits=False,
            why=f"{unlabelled:,.0f} predictions have no label, and the verdict is the same whatever they are",
        )
    if _is_selected(scene):
        return _label_at_random(scene)
    return _wait(scene, unlabelled)


def _of_sums(scene: Scene) -> Proposal | None:
    """What to do about labels of scores and amounts, that their own bounds leave a verdict open for."""
    open_ones = [one for one in scene.findings if one.awaits_labels]
    if not open_ones:
        return None
    return Proposal(
        kind=Kind.LABELS,
        fits=True,
        why=open_ones[0].reason,
        steps=(
            f"raise label_maturity of {open_ones[0].model}, if labels come later; without it, 5% of them are left out",
            "find out why labels are lost for these groups, if they never come",
        ),
    )


def _wait(scene: Scene, unlabelled: float) -> Proposal:
    came = min(scene.late.came, scene.late.unlabelled)
    if not came:
        why = f"{unlabelled:,.0f} predictions have no label, and no label came later: waiting longer brings none"
        return Proposal(kind=Kind.LABELS, fits=True, why=why, steps=("find out why labels are lost for these groups",))
    share = came / scene.late.unlabelled
    ends = intervals.rate(np.asarray(scene.late.unlabelled), np.asarray(came), scene.alpha)
    widest, least = (_widest(scene, 1 - end) for end in ends)
    return Proposal(
        kind=Kind.LABELS,
        fits=True,
        why=f"{unlabelled:,.0f} predictions have no label; to {share:.0%} of such one came later",
        steps=(f"raise label_maturity of {scene.findings[0].model}, so that they are waited for",),
        effects=(
            Effect(
                what=f"{scene.promise.measure} difference can be up to",
                now=_widest(scene, 1.0),
                expected=_widest(scene, 1 - share),
                interval=(least, widest),
                events=int(scene.late.unlabelled),
            ),
        ),
        notes=("the verdict comes later by as much", "labels that come late are taken to be spread evenly over groups"),
    )


def _label_at_random(scene: Scene) -> Proposal:
    limit = scene.limit
    half = (1 - limit.ratio if limit.ratio is not None else limit.difference or 0.0) / 2
    many = sample_size(half, scene.alpha)
    return Proposal(
        kind=Kind.LABELS,
        fits=True,
        why="labels come for those predicted positive only, so a wrong refusal is never seen: "
        f"{scene.promise.measure} cannot be measured",
        steps=(
            f"draw up to {many:,} of those predicted negative of each group at random, and find out their label",
            "estimate from these alone, each weighted by one over its chance to be drawn",
        ),
        notes=(
            "predictive_parity needs no label of the refused",
            "midwatch does not know which labels were drawn: its bounds stay as wide as the others are many",
        ),
    )


def sample_size(half_width: float, alpha: float) -> int:
    """Fewest rows whose rate is known to plus or minus a half width, at the least favourable rate of a half."""
    many = 16
    while many < LARGEST_SAMPLE:
        low, high = intervals.rate(np.asarray(float(many)), np.asarray(many / 2), alpha)
        if high - low <= 2 * half_width:
            break
        many = int(many * 1.25)
    return many


def _is_selected(scene: Scene) -> bool:
    cells = effect.total(scene.labelled)
    refused = (cells.false_negatives + cells.true_negatives).sum()
    approved = (cells.true_positives + cells.false_positives).sum()
    return bool(
        refused < SELECTED * (refused + scene.missing.negative.sum())
        and approved > SELECTED * (approved + scene.missing.positive.sum())
    )


def _bounds(scene: Scene, left: float) -> list[Bounds]:
    cells = effect.total(scene.labelled)
    missing = Unlabelled(positive=scene.missing.positive * left, negative=scene.missing.negative * left)
    return [BOUNDS[rate](cells, missing) for rate in RATES[scene.promise.measure]]


def _is_open(scene: Scene) -> bool:
    """Whether the missing labels could turn the verdict over."""
    found = _bounds(scene, 1.0)
    apart = [pair for finding in scene.findings for pair in finding.judgement.apart]
    is_apart = bool(certain(tuple(apart), found, scene.groups))
    return not is_apart and not all(one.keeps(scene.limit.kept()) for one in found)


def _widest(scene: Scene, left: float) -> float:
    """Greatest difference of two groups that the missing labels allow, when this share of them is still missing."""
    found = _bounds(scene, left)
    return float(max(np.nanmax(one.high) - np.nanmin(one.low) for one in found))
