"""Votes of methods for each kind of change, one verdict per window.

A method votes for a feature when its p-value is below the share of the false-alarm budget that falls to one method and
feature of one window (Bonferroni: valid under any dependence), and its effect is above the feature's floor: with many
samples everything is significant. So a single vote is within the budget, and the quorum is a second opinion where there
is one to be had:

- of one feature, from the methods that compare its kind and would see a large change of it in this window;
- of the window, from methods that see something wherever they look.

A method is a quorum by itself where its p-value is as rare as that of so many methods at the level together, and its
effect twice its floor. What no feature shows has no second opinion: each method of whole rows looks at another thing
(the largest difference, what a line separates, how lonely rows are), so one vote is drift where rows are independent.
Where they come in runs, what a classifier has learnt of a window holds for the rows beside those it learnt from, and a
second opinion is asked for. The checks of quality (missing values, new categories, values out of range or of another
type) have none either.

A feature that no method would see a large change of is named as not judged; a window of nothing else is inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from midwatch.spec.values import parse_duration
from monitors.drift import joint, quality, widespread
from monitors.drift import methods as drift_methods
from monitors.drift.comparison import Result
from monitors.drift.counts import CategoryGrid, Counts
from monitors.drift.embedding import Rows
from monitors.drift.reference import COMPARISONS, FeatureReference

CERTAIN = 2.0
"""Effect, as a multiple of its floor, of a method that needs no second opinion."""

MOST_NAMED = 5
"""Features that are not judged and are named in a reason; all of them are in the document."""


MOST_EFFECT = {"ks": 1.0, "chi2": 1.0, "isolation_forest": 1.0, "classifier": 0.5}
"""Largest effect that a method can find, of those that have one."""


class Verdict(StrEnum):
    """What is said of a window."""

    DRIFT = "drift"
    STABLE = "stable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of a method (or check) for a feature, the effect it needs, whether it says drift, and which way.

    `smallest` is the least effect that it would have seen in this window; `is_blind` says that it is more than a large
    one. `is_certain`: it is a quorum by itself.
    """

    feature: str
    method: str
    result: Result
    floor: float
    votes: bool
    direction: str = ""
    smallest: float = 0.0
    is_blind: bool = False
    is_certain: bool = False


@dataclass(frozen=True, kw_only=True)
class NotJudged:
    """A feature that no method would see a large change of, and why.

    `smallest` is the least effect of `method` that would have been seen, `rows` a window's in which it would do; both
    None when no method can compare the feature, and `rows` when no number is enough.
    """

    feature: str
    why: str
    method: str | None = None
    smallest: float | None = None
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Votes for a kind of change, and how many make drift."""

    about: str
    votes: int
    asked: int
    needed: int

    @property
    def is_reached(self) -> bool:
        """Whether it is drift."""
        return self.votes >= self.needed


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict of a window of `samples` rows; `alpha` is the significance level of one finding.

    `findings` are the methods', `quality` those of the checks; `not_judged` the features that nothing is said of.
    """

    verdict: Verdict
    reason: str
    samples: int
    quorum: int
    alpha: float
    findings: tuple[Finding, ...]
    quality: tuple[Finding, ...] = ()
    not_judged: tuple[NotJudged, ...] = ()

    @property
    def votes(self) -> int:
        """Votes for the kind of change that is nearest to its quorum, or furthest beyond it."""
        return self.nearest.votes

    @property
    def needed(self) -> int:
        """Votes that make drift of that kind of change."""
        return self.nearest.needed

    @property
    def nearest(self) -> Tally:
        """The kind of change that is nearest to its quorum, or furthest beyond it."""
        return max(self.tallies, key=lambda tally: (tally.is_reached, tally.votes / tally.needed, tally.votes))

    @property
    def tallies(self) -> list[Tally]:
        """Votes for each kind of change: of the window, of each feature, of all features together."""
        everywhere = {finding.method for finding in self.findings}
        voting = {finding.method for finding in self.findings if finding.votes}
        whole = Tally(
            about="", votes=len(voting), asked=len(everywhere), needed=max(1, min(self.quorum, len(everywhere)))
        )
        return [whole, *(self._tally(name, found) for name, found in self._by_feature().items())]

    def _by_feature(self) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.feature, []).append(finding)
        return found

    def _tally(self, feature: str, found: list[Finding]) -> Tally:
        able = [finding for finding in found if finding.votes or not finding.is_blind]
        quorum = max(1, min(self.quorum, len(able)))
        votes = sum(finding.votes for finding in found)
        certain = any(finding.is_certain for finding in found)
        return Tally(about=feature, votes=votes, asked=len(found), needed=min(quorum, votes) if certain else quorum)

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
    phase: int | None = None,
) -> Judgement:
    """Judge a window from its counts by feature, and its vectors where a method looks at all features together.

    `alpha` is the window's, divided here over everything looked at. With a `phase` (see `Reference.phase`) it is
    compared with the reference's windows of that phase.
    """
    waiting = {name for name in window if reference[name].waits(window[name])}
    not_yet = [_waits(name, reference[name], window[name]) for name in sorted(waiting)]
    window = {name: counts for name, counts in window.items() if name not in waiting}
    voting = _applicable([method for method in methods if method in COMPARISONS], reference, window)
    whole = [method for method in methods if method in drift_methods.ROW and together]
    checked = _applicable(quality.CHECKS, reference, window)
    everywhere = [method for method in methods if method in COMPARISONS]
    level = alpha / max(1, len(voting) + len(whole) + len(checked) + len(everywhere))
    compared = {name: _at_phase(reference[name], window[name], phase) for name in window}
    findings = [
        _voting(feature, _find(feature, name, method, counts, level), counts, level, quorum)
        for method, name in voting
        for feature, counts in [compared[name]]
        if counts.total and feature.counts.total
    ]
    told = {finding.feature for finding in findings if finding.votes}
    rest = {name: counts for name, counts in window.items() if name not in told}
    findings += [
        _find_widespread(method, change, level, quorum)
        for method in everywhere
        if (change := widespread.compare(method, reference, rest, phase, level)) is not None
    ]
    if together and samples:
        findings += [_find_joint(*together, method, samples, level) for method in whole]
    judgement = Judgement(
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        samples=samples,
        quorum=quorum,
        alpha=level,
        findings=tuple(findings),
        quality=tuple(_find(reference[name], name, check, window[name], level) for check, name in checked if samples),
        not_judged=(*not_yet, *_not_judged(compared, findings, methods, level)) if samples else (),
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


def _at_phase(feature: FeatureReference, window: Counts, phase: int | None) -> tuple[FeatureReference, Counts]:
    """What a feature is compared with, and its counts on the same cells."""
    found = feature.at_phase(phase)
    return (feature, window) if found is None else (found, feature.on_bins(window))


def _find_widespread(method: str, change: widespread.Change, level: float, quorum: int) -> Finding:
    result = change.result
    votes = result.p_value < level and result.effect > change.floor
    return Finding(
        feature=widespread.FEATURE,
        method=method,
        result=result,
        floor=change.floor,
        votes=votes,
        direction=f"most: {', '.join(change.most)}" if votes else "",
        smallest=change.smallest,
        is_blind=change.smallest > COMPARISONS[method].large,
        is_certain=votes and result.p_value < level**quorum and result.effect > CERTAIN * change.floor,
    )


def _find(feature: FeatureReference, name: str, method: str, counts: Counts, level: float) -> Finding:
    result, floor = feature.compare(method, counts), feature.floor(method)
    votes = result.p_value < level and result.effect > floor
    way = _way(feature, method, counts, result) if votes else ""
    return Finding(feature=name, method=method, result=result, floor=floor, votes=votes, direction=way)


def _voting(feature: FeatureReference, finding: Finding, counts: Counts, level: float, quorum: int) -> Finding:
    """With what a method would have seen, and whether its vote is a quorum."""
    method, result = finding.method, finding.result
    beyond = result.effect > CERTAIN * finding.floor
    return replace(
        finding,
        smallest=feature.smallest(method, counts.total, level),
        is_blind=feature.is_blind(method, counts.total, level),
        is_certain=finding.votes and beyond and result.p_value < level**quorum,
    )


def _way(feature: FeatureReference, method: str, counts: Counts, result: Result) -> str:
    if method not in quality.CHECKS:
        return feature.direction(counts)
    rows = f"{result.statistic:.1%} of the rows"
    if method == "new_category" and isinstance(feature.grid, CategoryGrid) and not feature.grid.whole:
        before = feature.counts.cells[-1] / feature.counts.rows
        return f"{rows} are none of the {len(feature.grid.categories):,} most frequent, {before:.1%} before"
    return rows


def _find_joint(reference: joint.Joint, rows: Rows, method: str, samples: int, level: float) -> Finding:
    result, floor = reference.compare(method, rows, samples), reference.floor(method)
    votes = result.p_value < level and result.effect > floor
    # Not every method can say beforehand what it would see; a large effect without a vote says that it did not.
    unseen = 0.0 if votes else result.effect
    smallest = max(unseen, reference.smallest(method, len(rows), samples, level))
    return Finding(
        feature=joint.FEATURE,
        method=method,
        result=result,
        floor=floor,
        votes=votes,
        direction=_together(reference, method, result) if votes else "",
        smallest=smallest,
        is_blind=smallest > drift_methods.ROW[method].large,
        is_certain=votes and (result.by_calm_windows or reference.inflation.of(samples) == 1),
    )


def _together(reference: joint.Joint, method: str, result: Result) -> str:
    """Which features changed together, where the method knows."""
    about = reference.about(method, result)
    return f"{' and '.join(about)} together" if about else "together"


def _not_judged(
    compared: Mapping[str, tuple[FeatureReference, Counts]],
    findings: Sequence[Finding],
    methods: Sequence[str],
    level: float,
) -> Iterator[NotJudged]:
    """Features that no method votes for, nor would see a large change of; whole rows are one of them."""
    of_rows = [finding for finding in findings if finding.feature == joint.FEATURE]
    if of_rows and not any(finding.votes or not finding.is_blind for finding in of_rows):
        best = min(of_rows, key=lambda finding: finding.smallest / drift_methods.ROW[finding.method].large)
        yield NotJudged(feature=joint.FEATURE, why=_seen(best), method=best.method, smallest=best.smallest)
    feature_methods = [method for method in methods if method in COMPARISONS]
    for name, (feature, window) in sorted(compared.items()):
        found = [finding for finding in findings if finding.feature == name]
        if not feature_methods or any(finding.votes or not finding.is_blind for finding in found):
            continue
        if found:
            yield _blind(feature, name, found, window.total, level)
        elif not any(feature.kind in COMPARISONS[method].features for method in feature_methods):
            yield NotJudged(
                feature=name, why=f"{', '.join(feature_methods)} cannot compare a {feature.kind.value} feature"
            )
        else:
            side = "window" if feature.counts.total else "reference"
            yield NotJudged(feature=name, why=f"the {side} has no value")


def _blind(feature: FeatureReference, name: str, found: Sequence[Finding], rows: int, level: float) -> NotJudged:
    """Of the method that is nearest to seeing something."""
    best = min(found, key=lambda finding: finding.smallest / COMPARISONS[finding.method].large)
    needed = [feature.rows_needed(finding.method, rows, level) for finding in found]
    enough = min((count for count in needed if count is not None), default=None)
    seen = _seen(best)
    if enough is not None:
        why = f"{seen}; it takes about {enough:,} rows"
    elif feature.floor(best.method) >= best.smallest:
        why = f"{seen}: windows of the reference differ as much"
    else:
        why = f"{seen}, however many rows"
    return NotJudged(feature=name, why=why, method=best.method, smallest=best.smallest, rows=enough)


def _waits(name: str, label: FeatureReference, window: Counts) -> NotJudged:
    shares = [counts.missing / counts.rows for counts in (window, label.counts)]
    why = (
        f"{shares[0]:.1%} of the rows have no label yet, {shares[1]:.1%} in the reference: compare when they have come"
    )
    return NotJudged(feature=name, why=why)


def _seen(best: Finding) -> str:
    """The smallest change that would have been seen; some effects cannot be as large."""
    if best.smallest > MOST_EFFECT.get(best.method, math.inf):
        return f"no {best.method}, however large, would be seen"
    return f"only {best.method} above {best.smallest:.2g} would be seen"


def _decide(judgement: Judgement, min_samples: int) -> tuple[Verdict, str]:
    failed = [finding for finding in judgement.quality if finding.votes]
    if judgement.samples < min_samples:
        return Verdict.INCONCLUSIVE, f"{judgement.samples} samples; {min_samples} are needed"
    if not judgement.findings and not failed:
        return Verdict.INCONCLUSIVE, "no feature has a value on both sides" + _and_not_judged(judgement)
    nearest = judgement.nearest
    about = f" on {nearest.about}" if nearest.about else ""
    counted = f"{nearest.votes} of {nearest.asked} methods vote{about}, {nearest.needed} make drift"
    if nearest.is_reached or failed:
        worst: dict[str, str] = {}
        for finding in judgement.drifted:
            worst.setdefault(finding.feature, _named(finding))
        return Verdict.DRIFT, f"{counted}; drifted: {', '.join(worst.values())}" + _and_not_judged(judgement)
    if all(finding.is_blind for finding in judgement.findings):
        return Verdict.INCONCLUSIVE, "nothing could be judged" + _and_not_judged(judgement)
    return Verdict.STABLE, counted + _and_not_judged(judgement)


def _and_not_judged(judgement: Judgement) -> str:
    named = [f"{one.feature} ({one.why})" for one in judgement.not_judged[:MOST_NAMED]]
    more = len(judgement.not_judged) - len(named)
    named += [f"{more} more"] if more else []
    return f"; not judged: {', '.join(named)}" if named else ""


def _named(finding: Finding) -> str:
    what = finding.method.replace("_", " ") + ": " if finding.method in quality.CHECKS else ""
    return f"{finding.feature} ({what}{finding.direction})"
