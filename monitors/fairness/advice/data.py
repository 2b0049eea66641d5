"""Groups of which too little was seen, and what more of them would show."""

from __future__ import annotations

import numpy as np

from monitors.fairness import intervals
from monitors.fairness.advice.effect import Effect
from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Verdict


def propose(scene: Scene) -> Proposal | None:
    """How many more events to wait for, and of which groups; None where the verdict needs none."""
    open_ones = [one for one in scene.findings if one.judgement.verdict is Verdict.UNKNOWN]
    few = sorted({group for one in scene.findings for group in one.judgement.left_out if group in one.judgement.events})
    needed = [one for one in open_ones if one.judgement.rows_needed]
    if not needed and not few:
        return None
    steps = [_step(one) for one in needed]
    steps += [
        f"{group} has fewer than {scene.promise.min_events} events: collect more, or promise it of fewer groups"
        for group in few
    ]
    return Proposal(
        kind=Kind.DATA,
        fits=bool(open_ones),
        why="too little was seen to decide" if open_ones else "it is decided without these groups",
        steps=tuple(steps),
        effects=tuple(found for one in needed if (found := _effect(scene, one)) is not None),
    )


def _step(finding: Finding) -> str:
    return f"wait for about {finding.judgement.rows_needed:,} more events ({finding.rate}), if the rates stay"


def _effect(scene: Scene, finding: Finding) -> Effect | None:
    """The worst pair's difference, and its interval once the events have come."""
    said = finding.judgement
    if said.worst is None or said.worst.stratum or not said.rows_needed:
        return None
    by_group = {rate.group: rate for rate in said.rates}
    pair = [by_group[said.worst.above], by_group[said.worst.below]]
    grown = 1 + said.rows_needed / sum(rate.events for rate in said.rates)
    events = np.array([rate.events for rate in pair]) * grown
    hits = events * np.array([rate.rate for rate in pair])
    pairs = len(said.rates) * (len(said.rates) - 1) / 2
    low, high = intervals.difference(events, hits, scene.alpha / pairs)
    return Effect(
        what=f"difference of {finding.rate}",
        now=said.worst.difference,
        expected=said.worst.difference,
        interval=(float(low), float(high)),
        events=int(events.sum()),
    )
