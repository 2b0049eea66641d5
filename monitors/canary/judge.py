"""The verdict: a pure function of counts and settings.

Fail: the weighted mean of the criteria's e-processes, an e-process for "no criterion has regressed beyond what is
tolerated", has reached 1 / false_alarm at some look. Pass: every criterion's own e-process for "unacceptable" has
reached 1 / false_pass at some look, and nothing is in doubt. Neither: inconclusive, with what would decide it. A fail
outranks a pass. Gauges are judged once, at the end of their window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midwatch.spec import canary as spec
from midwatch.spec.values import format_duration
from monitors.canary import criteria, dispersion, enough, fairness_gap, gauges, mannwhitney, warmup
from monitors.canary.arms import Floats
from monitors.canary.counts import Counted, Counts, Doubt
from monitors.canary.criteria import Evidence
from monitors.canary.findings import Finding, Verdict
from monitors.canary.finished import NOTHING, Finished
from monitors.canary.forecast import Forecast
from monitors.canary.times import moment


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict on a canary. `log_fail` is the log e-process of the fail by interval; `decided` when it was, in seconds
    since the epoch; `needs` the canary's requests that would decide it."""

    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]
    log_fail: Floats
    fail_level: float
    pass_level: float
    decided: float | None = None
    needs: Forecast | None = None
    score: mannwhitney.Score | None = None
    two_sided: bool = False

    def word(self, verdict: Verdict) -> str:
        """A verdict in words: of two versions compared both ways, none fails."""
        if not self.two_sided:
            return verdict.value
        return {Verdict.FAIL: "different", Verdict.PASS: "equivalent"}.get(verdict, verdict.value)


def judge(counts: Counts, settings: spec.Canary, *, two_sided: bool = False, finished: Finished = NOTHING) -> Judgement:
    """Judge a canary by its counts; `two_sided` compares two versions without a regression in mind.

    `finished` keeps what was computed of the intervals that are over, for the next look at the same analysis.

    A `warm_up` of the settings is set aside. Without one a version that is bad from the start fails at once, but not
    for good: when only its first two minutes were worse, what came since is judged.
    """
    if settings.warm_up:
        until = warmup.end(counts, settings.warm_up)
        warm = _judge(counts.since(until), settings, two_sided=two_sided, finished=finished)
        aside = f"the first {format_duration(settings.warm_up)} of the canary's traffic are set aside as its warm-up"
        return replace(warm, reason=f"{warm.reason}; {aside}")
    said = _judge(counts, settings, two_sided=two_sided, finished=finished)
    usual = warmup.usual_end(counts) if said.verdict is Verdict.FAIL and settings.warm_up is None else None
    if usual is None:
        return said
    later = _judge(counts.since(usual), settings, two_sided=two_sided, finished=finished.of("later"))
    if later.verdict is Verdict.FAIL or later.log_fail[-1] >= 0:
        # What came since speaks against the canary too, if not loudly enough by itself.
        return said
    only = f"only the canary's first {format_duration(warmup.USUAL_SECONDS)} of traffic were worse"
    return replace(later, reason=f"{later.reason}; {only}")


def _judge(counts: Counts, settings: spec.Canary, *, two_sided: bool, finished: Finished) -> Judgement:
    alpha, beta = float(settings.false_alarm), float(settings.false_pass)
    fail_level, pass_level = math.log(1 / alpha), math.log(1 / beta)
    counted = [one for one in settings.criteria if not isinstance(one, spec.Gauge)]
    weighed = {
        spec.name_of(one): _weigh(
            one,
            data,
            false_alarm=alpha,
            false_pass=beta,
            two_sided=two_sided,
            finished=finished.of(spec.name_of(one)),
        )
        for one in counted
        if (data := counts.counted.get(spec.name_of(one))) is not None and data.baseline_requests.size
    }
    log_fail = _combined(counted, weighed, counts.baseline_requests.size)
    reached = bool(log_fail.max(initial=-math.inf) >= fail_level)
    blamed = _blamed(counted, weighed, log_fail, fail_level) if reached else set()
    findings = [_counted(one, weighed, blamed, pass_level, counts) for one in counted]
    of_gauges, score = gauges.judge(
        [one for one in settings.criteria if isinstance(one, spec.Gauge)], counts, settings.score
    )
    findings += of_gauges
    doubts = (
        *counts.doubts,
        *(enough.check_traffic(counts, settings) if counted else ()),
        *enough.check_criteria(counts, counted),
    )
    verdict, reason = _decide(findings, doubts, two_sided=two_sided)
    decided = _decided(verdict, counts, log_fail, fail_level, [*weighed.values()], pass_level)
    return Judgement(
        verdict=verdict,
        reason=reason,
        findings=tuple(findings),
        log_fail=log_fail,
        fail_level=fail_level,
        pass_level=pass_level,
        decided=decided,
        needs=None if verdict is not Verdict.INCONCLUSIVE else _needs(findings),
        score=score,
        two_sided=two_sided,
    )


def _weigh(criterion: spec.FromCounts, counted: Counted, *, finished: Finished, **more: Any) -> Evidence:
    """Evidence of one criterion."""
    if isinstance(criterion, spec.Fairness):
        return fairness_gap.weigh(criterion, counted, **more)
    return criteria.weigh(criterion, counted, finished=finished, **more)


def _combined(counted: Sequence[spec.FromCounts], weighed: dict[str, Evidence], intervals: int) -> Floats:
    """Weighted mean of the criteria's e-processes; one without data stays at 1, as it bet nothing."""
    total = math.log(sum(one.weight for one in counted) or 1.0)
    paths = [
        math.log(one.weight)
        - total
        + (weighed[spec.name_of(one)].log_fail if spec.name_of(one) in weighed else np.zeros(intervals))
        for one in counted
    ]
    combined: Floats = np.logaddexp.reduce(paths, axis=0) if paths else np.full(intervals, -math.inf)
    return combined


# One criterion -------------------------------------------------------------------------------------------------------


def _counted(
    criterion: spec.FromCounts, weighed: dict[str, Evidence], blamed: set[str], pass_level: float, counts: Counts
) -> Finding:
    name = spec.name_of(criterion)
    evidence = weighed.get(name)
    if evidence is None:
        return Finding(name=name, metric=criterion.metric, verdict=Verdict.INCONCLUSIVE, reason="no counters")
    about, words = _about(evidence, name, counts), _words(criterion)
    if name in blamed and evidence.is_excluded:
        verdict, reason = Verdict.FAIL, f"{about}: {words.beyond}"
    elif name in blamed:
        at = moment(counts.start + counts.interval * (int(evidence.log_fail.argmax()) + 1))
        verdict, reason = Verdict.INCONCLUSIVE, f"{about}: worse until {at}, but {words.tolerated} is not excluded now"
    elif evidence.reached_pass >= pass_level:
        verdict, reason = Verdict.PASS, f"{about}: {words.unacceptable} is excluded"
        if isinstance(criterion, spec.Latency) and (unseen := criteria.unseen(counts.counted[name])):
            reason += f"; {unseen}"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"{about}: {words.unacceptable} is not excluded"
    if isinstance(criterion, spec.Fairness) and (open_for := _unlabelled(criterion, evidence, verdict)):
        verdict, reason = Verdict.INCONCLUSIVE, f"{about}: {open_for}"
    if verdict is Verdict.INCONCLUSIVE and (waiting := counts.counted[name].waiting):
        reason = f"{reason}; {waiting}" if evidence.canary_requests else f"{name}: {waiting}"
    return Finding(
        name=name,
        metric=criterion.metric,
        verdict=verdict,
        reason=reason,
        evidence=evidence,
        needs=evidence.towards_pass if verdict is Verdict.INCONCLUSIVE else None,
    )


@dataclass(frozen=True)
class _Words:
    """How a criterion's limits are said."""

    beyond: str
    tolerated: str
    unacceptable: str


def _words(criterion: spec.FromCounts) -> _Words:
    if isinstance(criterion, spec.Fairness):
        tolerated, unacceptable = (
            f"{float(limit) * 100:g} points more" for limit in (criterion.tolerated, criterion.unacceptable)
        )
        return _Words(f"more than {tolerated} than the baseline's", tolerated, unacceptable)
    tolerated, unacceptable = (
        f"{limit:g} times" for limit in (criterion.tolerated_ratio, criterion.unacceptable_ratio)
    )
    return _Words(f"more than {tolerated} the baseline's share", tolerated, unacceptable)


def _unlabelled(criterion: spec.Fairness, evidence: Evidence, verdict: Verdict) -> str:
    """Why missing labels leave open how far groups are apart; empty where they do not."""
    gap = evidence.gap
    if gap is None or verdict is Verdict.INCONCLUSIVE or not criterion.counts_labels:
        return ""
    if verdict is Verdict.FAIL and gap.least <= 0:
        return "farther apart among the labelled, but with the labels that are missing they may be as on the baseline"
    if verdict is Verdict.PASS and gap.most >= float(criterion.unacceptable):
        most = f"{gap.most * 100:.1f} points more"
        return f"alike among the labelled, but with the labels that are missing {most} are possible"
    return ""


def _blamed(
    counted: Sequence[spec.FromCounts], weighed: dict[str, Evidence], log_fail: Floats, fail_level: float
) -> set[str]:
    """Criteria that would have failed the canary alone, or that carried most at the look with most evidence."""
    total = math.log(sum(one.weight for one in counted))
    at = int(log_fail.argmax())
    parts = {
        spec.name_of(one): weighed[spec.name_of(one)].log_fail + math.log(one.weight) - total
        for one in counted
        if spec.name_of(one) in weighed
    }
    alone = {name for name, part in parts.items() if part.max() >= fail_level}
    return alone | {max(parts, key=lambda name: float(parts[name][at]))}


def _apart(evidence: Evidence, gap: criteria.Gap, name: str, counts: Counts) -> str:
    """How far two groups are apart on both arms, in points."""
    low, high = (f"{end * 100:+.1f}" for end in gap.interval)
    few = f"; fewer events than are needed are of {', '.join(gap.few)}" if gap.few else ""
    within = f" within {len(strata)} strata" if (strata := counts.counted[name].strata) else ""
    clustered = _clustered(evidence)
    return (
        f"{name}: {gap.above} {gap.canary * 100:+.1f} points to {gap.below} on {counts.canary}, "
        f"{gap.baseline * 100:+.1f} on {counts.baseline}: {gap.change * 100:+.1f} farther apart [{low}, {high}]"
        f"{within}{clustered}{few}"
    )


def _clustered(evidence: Evidence) -> str:
    if evidence.dispersion < dispersion.STATED:
        return ""
    return f" (events come in clusters, as retries do: evidence divided by {evidence.dispersion:.2g})"


def _about(evidence: Evidence, name: str, counts: Counts) -> str:
    if evidence.gap is not None:
        return _apart(evidence, evidence.gap, name, counts)

    def times(value: float | None, unknown: str) -> str:
        return unknown if value is None else f"{value:.3g}"

    channel = "" if evidence.channel == name else f" {evidence.channel}"
    interval = evidence.interval
    if not evidence.baseline_events and not evidence.canary_events:
        return f"{name}{channel}: no such event in {evidence.canary_requests} canary requests"
    shares = " against ".join(
        f"{events / requests:.3%}" if requests else "no requests"
        for events, requests in (
            (evidence.canary_events, evidence.canary_requests),
            (evidence.baseline_events, evidence.baseline_requests),
        )
    )
    low, high = times(interval.low, "0"), times(interval.high, "∞")
    since = f" since {moment(counts.start + counts.interval * evidence.since)}" if evidence.since else ""
    clustered = _clustered(evidence)
    strata = counts.counted[name].strata
    within = f" within {len(strata)} strata" if strata else ""
    return f"{name}{channel}: {shares}{since}, {times(interval.ratio, '∞')} times [{low}, {high}]{within}{clustered}"


# The whole -----------------------------------------------------------------------------------------------------------


def _decide(findings: Sequence[Finding], doubts: Sequence[Doubt], *, two_sided: bool) -> tuple[Verdict, str]:
    fatal = [doubt.text for doubt in doubts if doubt.fatal]
    if fatal:
        return Verdict.INCONCLUSIVE, "; ".join(fatal)
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    if failed:
        said = "; ".join(_difference(finding) if two_sided else finding.reason for finding in failed)
        return Verdict.FAIL, said
    if doubts:
        return Verdict.INCONCLUSIVE, "; ".join(doubt.text for doubt in doubts)
    waiting = [finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE]
    if waiting or not findings:
        return Verdict.INCONCLUSIVE, "; ".join(finding.reason for finding in waiting) or "nothing is compared"
    return Verdict.PASS, "; ".join(finding.reason for finding in findings)


def _difference(finding: Finding) -> str:
    ratio = finding.evidence.interval.ratio if finding.evidence else None
    way = "differs" if ratio is None else "is higher on the canary" if ratio > 1 else "is lower on the canary"
    return f"{finding.reason.rpartition(': ')[0]}: {way}"


def _decided(
    verdict: Verdict,
    counts: Counts,
    log_fail: Floats,
    fail_level: float,
    weighed: Sequence[Evidence],
    pass_level: float,
) -> float | None:
    """End of the interval whose look first gave the verdict."""
    looks: NDArray[np.bool_] | None = None
    if verdict is Verdict.FAIL and log_fail.max(initial=-math.inf) >= fail_level:
        looks = log_fail >= fail_level
    elif verdict is Verdict.PASS and weighed:
        looks = np.minimum.reduce([np.maximum.accumulate(one.log_pass) for one in weighed]) >= pass_level
    return None if looks is None else counts.start + counts.interval * (int(np.argmax(looks)) + 1)


def _needs(findings: Sequence[Finding]) -> Forecast | None:
    """What the slowest criterion needs, if each of those that wait can tell."""
    waiting = [finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE]
    told = [finding.needs for finding in waiting if finding.needs is not None]
    return max(told, key=lambda one: one.requests) if told and len(told) == len(waiting) else None
