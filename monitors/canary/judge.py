"""The verdict: a pure function of counts and settings.

Fail: the weighted mean of the criteria's e-processes, an e-process for "no criterion has regressed beyond what is
tolerated", has reached 1 / false_alarm at some look. Pass: every criterion's own e-process for "unacceptable" has
reached 1 / false_pass at some look, and nothing is in doubt. Neither: inconclusive, with what would decide it. A fail
outranks a pass. Gauges are judged once, at the end of their window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from midwatch.spec import canary as spec
from monitors.canary import criteria, mannwhitney
from monitors.canary.bursts import are_equal
from monitors.canary.counts import Counted, Counts, Doubt
from monitors.canary.criteria import Evidence
from monitors.canary.forecast import Forecast
from monitors.canary.ratio import Floats
from monitors.canary.times import moment


class Verdict(StrEnum):
    """What is said of a canary; of two versions compared both ways, that they differ (fail) or do not (pass)."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Verdict on one criterion; `evidence` of a counted one, `classified` of a gauge, neither without data."""

    name: str
    metric: str
    verdict: Verdict
    reason: str
    evidence: Evidence | None = None
    classified: mannwhitney.Classified | None = None
    needs: Forecast | None = None


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


def judge(counts: Counts, settings: spec.Canary, *, two_sided: bool = False) -> Judgement:
    """Judge a canary by its counts; `two_sided` compares two versions without a regression in mind."""
    alpha, beta = float(settings.false_alarm), float(settings.false_pass)
    fail_level, pass_level = math.log(1 / alpha), math.log(1 / beta)
    counted = [one for one in settings.criteria if not isinstance(one, spec.Gauge)]
    gauges = [one for one in settings.criteria if isinstance(one, spec.Gauge)]
    weighed = {
        spec.name_of(one): criteria.weigh(one, data, false_alarm=alpha, false_pass=beta, two_sided=two_sided)
        for one in counted
        if (data := counts.counted.get(spec.name_of(one))) is not None and data.baseline_requests.size
    }
    log_fail = _combined(counted, weighed, counts.baseline_requests.size)
    failed = bool(log_fail.max(initial=-math.inf) >= fail_level)
    blamed = _blamed(counted, weighed, log_fail, fail_level) if failed else set()
    findings = [_counted(one, weighed, blamed, pass_level) for one in counted]
    classified = {one.name: _classified(one, counts) for one in gauges}
    score = _score(classified, gauges, settings.score)
    findings += [_gauge(one, counts, classified[one.name], score, settings.score) for one in gauges]
    doubts = (*counts.doubts, *(_traffic(counts, settings) if counted else ()), *_criteria_doubts(counts, counted))
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


def _combined(counted: Sequence[spec.Counted], weighed: dict[str, Evidence], intervals: int) -> Floats:
    """Weighted mean of the criteria's e-processes; one without data stays at 1, as it bet nothing."""
    total = math.log(sum(one.weight for one in counted) or 1.0)
    paths = [
        math.log(one.weight)
        - total
        + (weighed[spec.name_of(one)].log_fail if spec.name_of(one) in weighed else np.zeros(intervals))
        for one in counted
    ]
    found: Floats = np.logaddexp.reduce(paths, axis=0) if paths else np.full(intervals, -math.inf)
    return found


# One criterion -------------------------------------------------------------------------------------------------------


def _counted(criterion: spec.Counted, weighed: dict[str, Evidence], blamed: set[str], pass_level: float) -> Finding:
    name = spec.name_of(criterion)
    evidence = weighed.get(name)
    if evidence is None:
        return Finding(name=name, metric=criterion.metric, verdict=Verdict.INCONCLUSIVE, reason="no counters")
    about = _about(evidence, name)
    if name in blamed:
        limit = criterion.tolerated_ratio
        verdict, reason = Verdict.FAIL, f"{about}: more than {limit:g} times the baseline's share"
    elif evidence.reached_pass >= pass_level:
        verdict, reason = Verdict.PASS, f"{about}: {criterion.unacceptable_ratio:g} times is excluded"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, f"{about}: {criterion.unacceptable_ratio:g} times is not excluded"
    return Finding(
        name=name,
        metric=criterion.metric,
        verdict=verdict,
        reason=reason,
        evidence=evidence,
        needs=evidence.towards_pass if verdict is Verdict.INCONCLUSIVE else None,
    )


def _blamed(
    counted: Sequence[spec.Counted], weighed: dict[str, Evidence], log_fail: Floats, fail_level: float
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


def _about(evidence: Evidence, name: str) -> str:
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
    return f"{name}{channel}: {shares}, {times(interval.ratio, '∞')} times [{low}, {high}]"


def _classified(criterion: spec.Gauge, counts: Counts) -> mannwhitney.Classified | None:
    samples = counts.gauges.get(criterion.name)
    if samples is None or not samples.complete:
        return None
    rule = mannwhitney.Rule(
        tolerance=criterion.tolerance,
        confidence=criterion.confidence,
        direction=criterion.direction,
        measure=criterion.effect,
        allowed={str(key): value for key, value in criterion.allowed.items()},
        critical={str(key): value for key, value in criterion.critical_effect.items()},
        nan=criterion.nan,
        outliers=criterion.outliers,
        must_have_data=criterion.must_have_data,
        is_critical=criterion.critical,
    )
    return mannwhitney.classify(samples.baseline, samples.canary, rule)


def _score(
    classified: dict[str, mannwhitney.Classified | None], gauges: Sequence[spec.Gauge], settings: spec.Score
) -> mannwhitney.Score | None:
    told = {name: one for name, one in classified.items() if one is not None}
    if not told or len(told) < len(gauges):
        return None
    weights = {str(group): value for group, value in settings.weights.items()}
    return mannwhitney.score(told, {one.name: one.group for one in gauges}, weights)


def _gauge(
    criterion: spec.Gauge,
    counts: Counts,
    classified: mannwhitney.Classified | None,
    score: mannwhitney.Score | None,
    settings: spec.Score,
) -> Finding:
    samples = counts.gauges.get(criterion.name)
    verdict, reason = Verdict.INCONCLUSIVE, "no samples"
    if samples is not None and not samples.complete:
        reason = f"judged once, when its window is over at {moment(counts.start + criterion.window)}"
    elif classified is not None and samples is not None:
        reason = f"{classified.label.value}: {classified.reason}"
        if not any(not math.isnan(value) for value in samples.baseline) or not any(
            not math.isnan(value) for value in samples.canary
        ):
            reason = f"{classified.label.value} by the rule, but without samples nothing is known"
        elif score is None:
            reason += "; other gauges are not over"
        elif samples.doubts:
            reason += f"; {samples.doubts[0].text}"
        else:
            verdict = _by_score(score, settings, classified)
            reason += f"; score {score.total:.3g}{': ' + score.reason if score.reason else ''}"
    return Finding(name=criterion.name, metric="gauge", verdict=verdict, reason=reason, classified=classified)


def _by_score(score: mannwhitney.Score, settings: spec.Score, classified: mannwhitney.Classified) -> Verdict:
    if score.total >= settings.pass_:
        return Verdict.PASS
    failed = score.total < settings.marginal and classified.label in (
        mannwhitney.Label.HIGH,
        mannwhitney.Label.LOW,
        mannwhitney.Label.NODATA_FAIL,
    )
    return Verdict.FAIL if failed else Verdict.INCONCLUSIVE


# The whole -----------------------------------------------------------------------------------------------------------


def _traffic(counts: Counts, settings: spec.Canary) -> list[Doubt]:
    """Whether there is enough to judge."""
    baseline, canary = int(counts.baseline_requests.sum()), int(counts.canary_requests.sum())
    if not counts.baseline_requests.size:
        # An answer without an interval says itself why.
        why = "" if counts.doubts else "the first interval is not over"
    elif not canary and not baseline:
        why = "no traffic on either arm"
    elif not canary:
        why = f"{counts.canary} has not received traffic"
    elif not baseline:
        why = f"the baseline {counts.baseline} receives no traffic"
    elif (few := min(canary, baseline)) < settings.min_requests:
        arm = counts.canary if canary <= baseline else counts.baseline
        why = f"too little traffic: {few} requests of {arm}, {settings.min_requests} are needed"
    else:
        why = ""
    return [Doubt(text=why, fatal=True)] if why else []


def _criteria_doubts(counts: Counts, counted: Sequence[spec.Counted]) -> list[Doubt]:
    found: list[Doubt] = []
    for criterion in counted:
        name = spec.name_of(criterion)
        data = counts.counted.get(name)
        if data is None:
            continue
        found += [Doubt(text=f"{name}: {doubt.text}", fatal=doubt.fatal) for doubt in data.doubts]
        found += _health(criterion, name, data)
        if criterion.equal_baseline and not are_equal(data.arms(0)):
            sizes = f"{int(data.canary_requests.sum())} requests of the canary, {int(data.baseline_requests.sum())}"
            text = f"{name}: equal_baseline needs a baseline of the canary's size; there are {sizes} of the baseline"
            found.append(Doubt(text=text, fatal=True))
    return found


def _health(criterion: spec.Counted, name: str, data: Counted) -> list[Doubt]:
    """A baseline that is ill says nothing about a canary."""
    requests = int(data.baseline_requests.sum())
    if criterion.baseline_limit >= 1 or not requests:
        return []
    worst = float(data.baseline_events.sum(axis=-1).max()) / requests
    if worst <= float(criterion.baseline_limit):
        return []
    limit = float(criterion.baseline_limit)
    return [Doubt(text=f"the baseline is unhealthy: {name} {worst:.2%}, its limit is {limit:.2%}", fatal=True)]


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
