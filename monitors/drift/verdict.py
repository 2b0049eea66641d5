"""One vote per method, one verdict per window.

A method votes when, for some feature, its p-value is below the share of the false-alarm budget that falls to one method
and feature of one window (Bonferroni: valid under any dependence), and its effect is above the feature's floor: with
many samples everything is significant. The checks of quality (missing values, new categories, values out of range or of
another type) have no quorum: one such finding is a verdict, because no vote of the methods would show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from midwatch.spec.values import parse_duration
from monitors.drift import joint, quality
from monitors.drift import methods as drift_methods
from monitors.drift.comparison import Result
from monitors.drift.counts import Counts
from monitors.drift.embedding import Rows
from monitors.drift.reference import COMPARISONS, FeatureReference


class Verdict(StrEnum):
    """What is said of a window."""

    DRIFT = "drift"
    STABLE = "stable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a method (or check) for a feature, the effect it needs, whether it says drift, and which way."""

    feature: str
    method: str
    result: Result
    floor: float
    votes: bool
    direction: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict of a window of `samples` rows; `alpha` is the significance level of one finding.

    `findings` are the methods', `quality` those of the checks.
    """

    verdict: Verdict
    reason: str
    samples: int
    quorum: int
    alpha: float
    findings: tuple[Finding, ...]
    quality: tuple[Finding, ...] = ()

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
        """Findings that say drift: checks, then methods, the one furthest beyond its floor first."""

        def rank(finding: Finding) -> tuple[bool, float, str]:
            return finding.method not in quality.CHECKS, -finding.result.effect / finding.floor, finding.feature

        return sorted((finding for finding in (*self.quality, *self.findings) if finding.votes), key=rank)

    @property
    def ranked(self) -> list[Finding]:
        """Findings of the methods, and of the checks that say drift, the one furthest beyond its floor first."""
        failed = (finding for finding in self.quality if finding.votes)
        return sorted((*failed, *self.findings), key=lambda finding: -finding.result.effect / finding.floor)


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
    voting = _applicable([method for method in methods if method in COMPARISONS], reference, window)
    whole = [method for method in methods if method in drift_methods.ROW and together]
    checked = _applicable(quality.CHECKS, reference, window)
    level = alpha / max(1, len(voting) + len(whole) + len(checked))
    findings = [
        _find(reference[name], name, method, window[name], level)
        for method, name in voting
        if window[name].total and reference[name].counts.total
    ]
    if together and samples:
        findings += [_find_joint(*together, method, level) for method in whole]
    judgement = Judgement(
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        samples=samples,
        quorum=quorum,
        alpha=level,
        findings=tuple(findings),
        quality=tuple(_find(reference[name], name, check, window[name], level) for check, name in checked if samples),
    )
    verdict, reason = _decide(judgement, min_samples)
    return replace(judgement, verdict=verdict, reason=reason)


def _applicable(
    names: Iterable[str], reference: Mapping[str, FeatureReference], window: Mapping[str, Counts]
) -> list[tuple[str, str]]:
    """Each method or check with each feature that it can compare."""
    return [
        (name, feature)
        for name in names
        for feature in sorted(window)
        if reference[feature].kind in COMPARISONS[name].features
    ]


def _find(feature: FeatureReference, name: str, method: str, counts: Counts, level: float) -> Finding:
    result, floor = feature.compare(method, counts), feature.floor(method)
    votes = result.p_value < level and result.effect > floor
    way = _way(feature, method, counts, result) if votes else ""
    return Finding(feature=name, method=method, result=result, floor=floor, votes=votes, direction=way)


def _way(feature: FeatureReference, method: str, counts: Counts, result: Result) -> str:
    return f"{result.statistic:.1%} of the rows" if method in quality.CHECKS else feature.direction(counts)


def _find_joint(reference: joint.Joint, rows: Rows, method: str, level: float) -> Finding:
    result, floor = reference.compare(method, rows), reference.floor(method)
    votes = result.p_value < level and result.effect > floor
    way = "together" if votes else ""
    return Finding(feature=joint.FEATURE, method=method, result=result, floor=floor, votes=votes, direction=way)


def _decide(judgement: Judgement, min_samples: int) -> tuple[Verdict, str]:
    failed = [finding for finding in judgement.quality if finding.votes]
    if judgement.samples < min_samples:
        return Verdict.INCONCLUSIVE, f"{judgement.samples} samples; {min_samples} are needed"
    if not judgement.findings and not failed:
        return Verdict.INCONCLUSIVE, "no feature has a value on both sides"
    methods = {finding.method for finding in judgement.findings}
    counted = f"{judgement.votes} of {len(methods)} methods vote, {judgement.needed} make drift"
    if judgement.votes < judgement.needed and not failed:
        return Verdict.STABLE, counted
    worst: dict[str, str] = {}
    for finding in judgement.drifted:
        worst.setdefault(finding.feature, _named(finding))
    return Verdict.DRIFT, f"{counted}; drifted: {', '.join(worst.values())}"


def _named(finding: Finding) -> str:
    what = finding.method.replace("_", " ") + ": " if finding.method in quality.CHECKS else ""
    return f"{finding.feature} ({what}{finding.direction})"
