"""One vote per method, one verdict per window.

A method votes when, for some feature, its p-value is below the share of the false-alarm budget that falls to one method
and feature of one window (Bonferroni: valid under any dependence), and its effect is above the feature's floor: with
many samples everything is significant. Missing values, new categories, values out of range and other types are drift of
their own kind: one such finding is a verdict, because no vote of the methods would show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from midwatch.spec.values import parse_duration
from monitors.drift import joint, kinds
from monitors.drift.counts import Counts
from monitors.drift.embedding import Rows
from monitors.drift.reference import FITS, FeatureReference
from monitors.drift.result import Result


class Verdict(StrEnum):
    """What is said of a window."""

    DRIFT = "drift"
    STABLE = "stable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A method's (or kind's) result for a feature, the effect it needs, whether it says drift, and which way."""

    feature: str
    method: str
    result: Result
    floor: float
    votes: bool
    direction: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict of a window of `samples` rows; `alpha` is the significance level of one finding.

    `findings` are the methods', `kinds` those of drift of its own kind.
    """

    verdict: Verdict
    reason: str
    samples: int
    quorum: int
    alpha: float
    findings: tuple[Finding, ...]
    kinds: tuple[Finding, ...] = ()

    @property
    def votes(self) -> int:
        """Methods that vote for drift."""
        return len({finding.method for finding in self.findings if finding.votes})

    @property
    def needed(self) -> int:
        """Votes that make drift: the quorum, or every method that can compare a feature where those are fewer."""
        return max(1, min(self.quorum, len({finding.method for finding in self.findings})))

    @property
    def drifted(self) -> list[Finding]:
        """Findings that say drift: kinds of their own, then methods, the one furthest beyond its floor first."""

        def rank(finding: Finding) -> tuple[bool, float, str]:
            return finding.method not in kinds.ODD, -finding.result.effect / finding.floor, finding.feature

        return sorted((finding for finding in (*self.kinds, *self.findings) if finding.votes), key=rank)


def window_alpha(false_alarms: str, window_seconds: float) -> float:
    """Probability of a false alarm that one window may have under a budget such as `1 per 90d`.

    >>> window_alpha("1 per 100h", 3600.0)
    0.01
    """
    count, _, period = false_alarms.partition(" per ")
    return min(0.5, int(count) * window_seconds / parse_duration(period))


def judge(
    reference: Mapping[str, FeatureReference],
    window: Mapping[str, Counts],
    *,
    samples: int,
    methods: Sequence[str],
    quorum: int,
    alpha: float,
    min_samples: int,
    together: tuple[joint.Joint, Rows] | None = None,
) -> Judgement:
    """Judge a window from its counts by feature, and its vectors where a method looks at all features together.

    `alpha` is the window's, divided here over everything looked at.
    """
    pairs = [
        (method, name)
        for method in methods
        for name in sorted(window)
        if method in FITS and reference[name].kind in FITS[method]
    ]
    whole = [method for method in methods if method in joint.METHODS and together]
    odd = [(kind, name) for kind in kinds.ODD for name in sorted(window) if reference[name].kind in kinds.ODD[kind][0]]
    level = alpha / max(1, len(pairs) + len(whole) + len(odd))
    said = Judgement(
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        samples=samples,
        quorum=quorum,
        alpha=level,
        findings=tuple(
            _find(reference[name], name, method, window[name], level)
            for method, name in pairs
            if window[name].total and reference[name].counts.total
        )
        + tuple(_find_joint(*together, method, level) for method in whole if together and samples),
        kinds=tuple(_find_kind(reference[name], name, kind, window[name], level) for kind, name in odd if samples),
    )
    verdict, reason = _decide(said, min_samples)
    return replace(said, verdict=verdict, reason=reason)


def _find(feature: FeatureReference, name: str, method: str, counts: Counts, level: float) -> Finding:
    result, floor = feature.compare(method, counts), feature.floor(method)
    votes = result.p_value < level and result.effect > floor
    way = feature.direction(counts) if votes else ""
    return Finding(feature=name, method=method, result=result, floor=floor, votes=votes, direction=way)


def _find_joint(reference: joint.Joint, rows: Rows, method: str, level: float) -> Finding:
    result, floor = reference.compare(method, rows), reference.floor(method)
    votes = result.p_value < level and result.effect > floor
    way = "together" if votes else ""
    return Finding(feature=joint.FEATURE, method=method, result=result, floor=floor, votes=votes, direction=way)


def _find_kind(feature: FeatureReference, name: str, kind: str, counts: Counts, level: float) -> Finding:
    result, floor = feature.compare_kind(kind, counts), feature.floor(kind)
    votes = result.p_value < level and result.effect > floor
    way = f"{result.statistic:.1%} of the rows" if votes else ""
    return Finding(feature=name, method=kind, result=result, floor=floor, votes=votes, direction=way)


def _decide(said: Judgement, min_samples: int) -> tuple[Verdict, str]:
    odd = [finding for finding in said.kinds if finding.votes]
    if said.samples < min_samples:
        return Verdict.INCONCLUSIVE, f"{said.samples} samples; {min_samples} are needed"
    if not said.findings and not odd:
        return Verdict.INCONCLUSIVE, "no feature has a value on both sides"
    methods = {finding.method for finding in said.findings}
    counted = f"{said.votes} of {len(methods)} methods vote, {said.needed} make drift"
    if said.votes < said.needed and not odd:
        return Verdict.STABLE, counted
    worst: dict[str, str] = {}
    for finding in said.drifted:
        worst.setdefault(finding.feature, _named(finding))
    return Verdict.DRIFT, f"{counted}; drifted: {', '.join(worst.values())}"


def _named(finding: Finding) -> str:
    what = finding.method.replace("_", " ") + ": " if finding.method in kinds.ODD else ""
    return f"{finding.feature} ({what}{finding.direction})"
