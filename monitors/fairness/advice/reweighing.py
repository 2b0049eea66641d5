"""Weights of training rows that make group and class independent in what the next model learns from.

w(group, class) = n(group) n(class) / (n n(group, class)): Kamiran, Calders 2012, section 3.2. It needs counts only, and
no attribute at prediction. What a model makes of it is not sure: its canary says.
"""

from __future__ import annotations

import numpy as np

from monitors.fairness import intervals, measures
from monitors.fairness.advice import effect
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene, blocks, choosing, testing
from monitors.fairness.measures import Cells, Share
from monitors.fairness.projection import Floats

GREATEST = 10.0
"""Weight from which few rows would rule what a model learns: those beyond are cut, and it is said."""


def weights(positives: Floats, negatives: Floats) -> Floats:
    """Weight of each group and class, negative first: (groups, 2); NaN for a cell without rows."""
    counts = np.stack([negatives, positives], axis=1)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(counts > 0, expected / counts, np.nan)
    return found


def propose(scene: Scene) -> Proposal:
    """Weights for the labelled rows, where the share of positives differs between groups among them."""
    if (unlabelled := scene.hardly_labelled()) is not None:
        return Proposal(kind=Kind.REWEIGHING, fits=False, why=unlabelled)
    chosen_on, tested_on = (_actual(blocks(scene.labelled, kept)) for kept in (choosing, testing))
    hits = chosen_on.hits.sum(axis=-1)
    found = weights(hits, chosen_on.events.sum(axis=-1) - hits)
    if np.isnan(found).any():
        place = int(np.isnan(found).any(axis=1).argmax())
        return Proposal(kind=Kind.REWEIGHING, fits=False, why=f"{scene.groups[place]} has rows of one class only")
    cut = np.minimum(found, GREATEST)
    now = effect.independent(tested_on)
    rates, ends = _weighted_rates(now, cut, scene.alpha)
    differs = are_apart(now, scene.alpha)
    return Proposal(
        kind=Kind.REWEIGHING,
        fits=differs,
        why="the share of positives among the rows differs between groups, and a model learns it"
        if differs
        else "the share of positives among the rows is not shown to differ between groups",
        steps=tuple(_step(scene, place, cut[place]) for place in range(len(cut))),
        effects=(
            Effect(
                what="difference of the share of positives among training rows",
                now=measures.difference(now.rates),
                expected=measures.difference(rates),
                interval=(0.0, max(0.0, float(ends[:, 1].max() - ends[:, 0].min()))),
                events=int(tested_on.events.sum()),
            ),
        ),
        notes=_notes(found),
    )


def _actual(cells: Cells) -> Share:
    """Those labelled positive, of all."""
    return Share(events=cells.labelled, hits=cells.true_positives + cells.false_negatives)


def _weighted_rates(share: Share, applied: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Share of positives by group with weights, and its interval: weighing keeps the order, so ends go over to ends."""
    ends = intervals.rate(share.events, share.hits, alpha / len(applied))
    return _weighted(share.rates, applied), np.stack([_weighted(ends[:, side], applied) for side in (0, 1)], axis=-1)


def _weighted(rates: Floats, applied: Floats) -> Floats:
    weighted: Floats = rates * applied[:, 1]
    return weighted / (weighted + (1 - rates) * applied[:, 0])


def are_apart(share: Share, alpha: float) -> bool:
    """Whether any two groups are shown to differ: the highest and the lowest may be small ones, which show nothing."""
    ends = intervals.rate(share.events, share.hits, alpha / len(share.events))
    return bool(ends[:, 0].max() > ends[:, 1].min())


def _step(scene: Scene, place: int, applied: Floats) -> str:
    return f"{scene.groups[place]}: weight {applied[1]:.3f} if {scene.positive}, {applied[0]:.3f} if not"


def _notes(found: Floats) -> tuple[str, ...]:
    said = "what a model makes of the weights is not sure: let its canary ask for the same promise"
    cut = f"weights above {GREATEST:g} are cut: cells of few rows would rule"
    return (said, cut) if (found > GREATEST).any() else (said,)
