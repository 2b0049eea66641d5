"""One vote per method, one verdict per window.

A method votes when, for some feature, its p-value is below the share of the false-alarm budget that falls to one method
and feature of one window (Bonferroni: valid under any dependence), and its effect is above the feature's floor: with
many samples everything is significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from midwatch.spec.values import parse_duration
from monitors.drift.counts import Counts
from monitors.drift.reference import FITS, Reference
from monitors.drift.result import Result


class Verdict(StrEnum):
    """What is said of a window."""

    DRIFT = "drift"
    STABLE = "stable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A method's result for a feature, the effect a vote needs, and whether it votes."""

    feature: str
    method: str
    result: Result
    floor: float
    votes: bool


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict of a window of `samples` rows; `alpha` is the significance level of one finding."""

    verdict: Verdict
    reason: str
    samples: int
    quorum: int
    alpha: float
    findings: tuple[Finding, ...]

    @property
    def votes(self) -> int:
        """Methods that vote for drift."""
        return len({finding.method for finding in self.findings if finding.votes})


def window_alpha(false_alarms: str, window_seconds: float) -> float:
    """Probability of a false alarm that one window may have under a budget such as `1 per 90d`.

    >>> window_alpha("1 per 100h", 3600.0)
    0.01
    """
    count, _, period = false_alarms.partition(" per ")
    return min(0.5, int(count) * window_seconds / parse_duration(period))


def judge(
    reference: Reference,
    window: Mapping[str, Counts],
    *,
    samples: int,
    methods: Sequence[str],
    quorum: int,
    alpha: float,
    min_samples: int,
) -> Judgement:
    """Judge a window from its counts by feature; `alpha` is the window's, divided here over methods and features."""
    pairs = [
        (method, name) for method in methods for name in sorted(window) if reference.features[name].kind in FITS[method]
    ]
    level = alpha / max(1, len(pairs))
    findings = tuple(
        _find(reference, method, name, window[name], level)
        for method, name in pairs
        if window[name].total and reference.features[name].counts.total
    )
    said = Judgement(
        verdict=Verdict.INCONCLUSIVE, reason="", samples=samples, quorum=quorum, alpha=level, findings=findings
    )
    verdict, reason = _decide(said, min_samples)
    return Judgement(verdict=verdict, reason=reason, samples=samples, quorum=quorum, alpha=level, findings=findings)


def _find(reference: Reference, method: str, name: str, counts: Counts, level: float) -> Finding:
    feature = reference.features[name]
    result, floor = feature.compare(method, counts), feature.floor(method)
    return Finding(
        feature=name, method=method, result=result, floor=floor, votes=result.p_value < level and result.effect > floor
    )


def _decide(said: Judgement, min_samples: int) -> tuple[Verdict, str]:
    if said.samples < min_samples:
        return Verdict.INCONCLUSIVE, f"{said.samples} samples; {min_samples} are needed"
    if not said.findings:
        return Verdict.INCONCLUSIVE, "no feature has a value on both sides"
    if said.votes >= said.quorum:
        names = sorted({finding.feature for finding in said.findings if finding.votes})
        return Verdict.DRIFT, f"{said.votes} of {said.quorum} needed votes; drifted: {', '.join(names)}"
    return Verdict.STABLE, f"{said.votes} of {said.quorum} needed votes"
