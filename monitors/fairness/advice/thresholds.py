"""A threshold for all, and one for each group: chosen on half of the blocks, their effect seen on the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from monitors.fairness.advice import effect, search
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene, blocks, choosing, testing
from monitors.fairness.advice.scores import Places, Scores
from monitors.fairness.measures import Cells
from monitors.fairness.verdict import Limit

LEAST_SCORED = 0.95
"""Share of the labelled predictions that needs a score."""

LEGAL = (
    "a threshold per group decides by the attribute: in US employment different cut-offs by race, colour, religion, "
    "sex or national origin are forbidden (42 USC 2000e-2(l)), in credit an attribute in the decision is treatment, "
    "and in the EU special categories need a basis of their own (GDPR 9; AI Act 10(5) allows them to detect and "
    "correct bias): ask counsel; this is a statistic, and no advice in law"
)
CHOSEN = "chosen for most right answers within the limit on half of the blocks; the figures are of the other half"
BEYOND = (
    "the best within the limit on half of the blocks is beyond it on the other half, of which the figures are: "
    "try a stricter limit, which leaves room for chance"
)
NOT_SURE = "the interval reaches beyond the limit: that it is kept is not shown"
AT_PREDICTION = "the attribute has to be known at prediction"

Search = Callable[[Scores, str, Limit], Places | None]


def propose_one(scene: Scene) -> Proposal:
    """One threshold for everybody: no attribute is needed to apply it."""
    return _proposed(scene, Kind.THRESHOLD, search.for_all, ())


def propose_by_group(scene: Scene) -> Proposal:
    """A threshold for each group, where the platform file says why that is allowed."""
    allowed = scene.promise.group_thresholds_because
    if allowed is not None:
        notes = (f"allowed because: {allowed}", LEGAL, AT_PREDICTION)
        return _proposed(scene, Kind.GROUP_THRESHOLDS, search.by_group, notes)
    return Proposal(
        kind=Kind.GROUP_THRESHOLDS,
        fits=False,
        why="not computed: they decide by the attribute, and the platform file does not say why that is allowed",
        steps=("write group_thresholds_because at the promise, with the reason, if it is",),
        notes=(LEGAL,),
    )


def _proposed(scene: Scene, kind: Kind, find: Search, notes: tuple[str, ...]) -> Proposal:
    scores = _usable(scene)
    return (
        Proposal(kind=kind, fits=False, why=scores)
        if isinstance(scores, str)
        else _found(scene, scores, kind, find, notes)
    )


def _usable(scene: Scene) -> Scores | str:
    """The histograms, or why they cannot say what a threshold does."""
    if scene.scores is None:
        return "scores are not counted by group: write scores: true at the promise"
    if (unlabelled := scene.hardly_labelled()) is not None:
        return unlabelled
    if scene.scores.labelled < LEAST_SCORED * scene.labelled.labelled.sum():
        return "fewer than 95% of the labelled predictions have a score"
    return scene.scores


def _found(scene: Scene, scores: Scores, kind: Kind, find: Search, notes: tuple[str, ...]) -> Proposal:
    chosen_on = Scores(
        positives=choosing(scores.positives).sum(axis=-1),
        negatives=choosing(scores.negatives).sum(axis=-1),
    )
    places = find(chosen_on, scene.promise.measure, scene.limit)
    if places is None:
        return Proposal(
            kind=kind, fits=False, why="no threshold on the score keeps the limit, others than for all or nobody"
        )
    tested_on = Scores(positives=testing(scores.positives), negatives=testing(scores.negatives))
    now, then = blocks(scene.labelled, testing), tested_on.at(places)
    expected = effect.of_measure(scene.promise.measure, scene.limit, now, then, scene.alpha)
    keeps = _is_within(scene.limit, expected.expected)
    return Proposal(
        kind=kind,
        fits=keeps,
        why=CHOSEN if keeps else BEYOND,
        steps=_steps(scene, chosen_on, places),
        effects=(expected, effect.of_accuracy(now, then, scene.alpha)),
        notes=notes + _as_now(tested_on, now) + (() if _is_sure(scene.limit, expected) else (NOT_SURE,)),
    )


def _is_within(limit: Limit, measured: float) -> bool:
    """Whether the two groups that are farthest apart keep a limit; not where nothing is measured."""
    return measured >= limit.ratio if limit.ratio is not None else measured <= (limit.difference or 0.0)


def _is_sure(limit: Limit, expected: Effect) -> bool:
    """Whether the whole interval of a measure is within a limit."""
    return _is_within(limit, expected.interval[0] if limit.ratio is not None else expected.interval[1])


def _steps(scene: Scene, scores: Scores, places: Places) -> tuple[str, ...]:
    edges = scores.edges
    if (places == places[0]).all():
        return (f"{scene.positive} from a score of {edges[places[0]]:g} on",)
    return tuple(
        f"{group}: {scene.positive} from a score of {edges[place]:g} on"
        for group, place in zip(scene.groups, places, strict=True)
    )


def _as_now(scores: Scores, now: Cells) -> tuple[str, ...]:
    """Which threshold the present decisions are nearest to, and how many are not by one."""
    selected = scores.cells.true_positives + scores.cells.false_positives
    present = now.true_positives + now.false_positives
    off = np.abs(selected.sum(axis=-1) - present.sum(axis=-1)[:, None]).sum(axis=0)
    nearest = int(off.argmin())
    share = off[nearest] / max(now.labelled.sum(), 1.0)
    return (f"present decisions are nearest to a threshold of {scores.edges[nearest]:g}: {share:.1%} differ",)
