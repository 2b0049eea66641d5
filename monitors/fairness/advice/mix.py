"""Groups that differ over all and not among their like: who applies differs, and no change of the model mends that."""

from __future__ import annotations

from monitors.fairness.advice.proposal import Kind, Proposal
from monitors.fairness.advice.scene import Scene
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Verdict


def propose(scene: Scene) -> Proposal | None:
    """Whether the gap is one of who applies; None where the promise names nothing to compare within, or no gap is."""
    within = scene.promise.within
    pooled = [one for one in scene.findings if not is_stratified(one)]
    if within is None or not any(one.judgement.verdict is Verdict.UNFAIR for one in pooled):
        return None
    inside = [one.judgement.verdict for one in scene.findings if is_stratified(one)]
    if any(verdict is Verdict.UNFAIR for verdict in inside):
        return Proposal(kind=Kind.MIX, fits=False, why=f"groups differ within {within} as well: it is the model")
    if any(verdict is Verdict.UNKNOWN for verdict in inside):
        why = f"groups differ over all; within {within} it is not known yet"
        return Proposal(kind=Kind.MIX, fits=False, why=why)
    return Proposal(
        kind=Kind.MIX,
        fits=True,
        why=f"groups differ over all and not within {within}: who applies differs, and the model treats like alike",
        steps=(f"look at how the groups are spread over {within}, and at who is reached",),
        notes=("a gap over all may still be one in law", "thresholds and weights would treat like unlike"),
    )


def is_stratified(finding: Finding) -> bool:
    """Whether a finding is of groups among their like."""
    return finding.promise.within is not None and finding.rate.endswith(f" within {finding.promise.within}")
