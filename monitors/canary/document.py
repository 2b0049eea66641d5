"""A verdict as JSON: the document that holds everything it came from, and the small answer of the gate."""

from __future__ import annotations

import math
from typing import Any

from midwatch.spec.canary import Canary
from monitors.canary import counts_file
from monitors.canary.counts import Counts
from monitors.canary.criteria import Gap
from monitors.canary.findings import Finding
from monitors.canary.forecast import Forecast
from monitors.canary.judge import Judgement
from monitors.canary.mannwhitney import Score
from monitors.canary.times import LATEST, moment

MAX_REASON = 400
"""Letters of the reason that a caller who stores it is given."""


def document(counts: Counts, settings: Canary, judgement: Judgement) -> dict[str, Any]:
    """Everything: the verdict, its evidence, and the counts that give it again."""
    inputs = counts_file.document(counts, settings)
    return {
        "verdict": judgement.word(judgement.verdict),
        "reason": judgement.reason,
        "two_sided": judgement.two_sided,
        "model": counts.model,
        "baseline": counts.baseline,
        "canary": counts.canary,
        "start": moment(counts.start),
        "end": moment(counts.end),
        "decided": None if judgement.decided is None else moment(judgement.decided),
        "to_decide": to_decide(judgement.needs, counts),
        "e_value": {"fail": _last(judgement), "fail_needed": math.exp(judgement.fail_level)},
        "criteria": [_finding(one, counts, judgement) for one in judgement.findings],
        "score": None
        if judgement.score is None
        else {"total": judgement.score.total, "groups": dict(judgement.score.groups)},
        "doubts": [doubt.text for doubt in counts.doubts],
        "notes": list(counts.notes),
        "queries": list(counts.queries),
        "digest": counts_file.digest(inputs),
        "counts": inputs,
    }


def _score(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else {"total": score.total, "groups": dict(score.groups)}


def answer(counts: Counts, settings: Canary, judgement: Judgement) -> dict[str, Any]:
    """The small answer for a caller that stores every one, such as an AnalysisRun."""
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason if len(judgement.reason) <= MAX_REASON else judgement.reason[: MAX_REASON - 1] + "…",
        "evidence": {
            "start": moment(counts.start),
            "end": moment(counts.end),
            "requests": {"baseline": int(counts.baseline_requests.sum()), "canary": int(counts.canary_requests.sum())},
            "to_decide": to_decide(judgement.needs, counts),
            "criteria": {one.name: _small(one) for one in judgement.findings},
            "digest": counts_file.digest(counts_file.document(counts, settings)),
        },
    }


def _small(finding: Finding) -> dict[str, Any]:
    entry: dict[str, Any] = {"verdict": finding.verdict.value}
    if finding.evidence is not None:
        entry |= {
            "ratio": _rounded(finding.evidence.interval.ratio),
            "e_fail": _rounded(e_value(finding.evidence.reached_fail)),
            "e_pass": _rounded(e_value(finding.evidence.reached_pass)),
        }
        if finding.evidence.gap is not None:
            entry["farther_apart"] = _rounded(finding.evidence.gap.change)
    return entry


def _finding(finding: Finding, counts: Counts, judgement: Judgement) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": finding.name,
        "metric": finding.metric,
        "verdict": judgement.word(finding.verdict),
        "reason": finding.reason,
        "to_decide": to_decide(finding.needs, counts),
    }
    if (told := finding.evidence) is not None:
        entry |= {
            "channel": told.channel,
            "dispersion": told.dispersion,
            "since": moment(counts.start + counts.interval * told.since),
            "effect_ratio": told.interval.ratio,
            "interval": [told.interval.low, told.interval.high],
            "e_fail": e_value(told.reached_fail),
            "e_pass": e_value(told.reached_pass),
            "e_pass_needed": math.exp(judgement.pass_level),
            "events": {"baseline": told.baseline_events, "canary": told.canary_events},
            "requests": {"baseline": told.baseline_requests, "canary": told.canary_requests},
            "to_fail": to_decide(told.towards_fail, counts),
        }
        if told.gap is not None:
            entry["gap"] = _gap(told.gap)
        if told.distance is not None:
            entry["distance"] = {"largest": told.distance.distance, "bound": told.distance.bound}
    if (classified := finding.classified) is not None:
        entry |= {
            "label": classified.label.value,
            "effect": classified.effect,
            "shift": None if classified.shift is None else vars(classified.shift),
            "samples": {"baseline": classified.baseline_size, "canary": classified.canary_size},
        }
    return entry


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "above": gap.above,
        "below": gap.below,
        "baseline": gap.baseline,
        "canary": gap.canary,
        "farther_apart": gap.change,
        "interval": list(gap.interval),
        "possible": [gap.least, gap.most],
        "too_few_events": list(gap.few),
    }


def to_decide(forecast: Forecast | None, counts: Counts) -> dict[str, Any] | None:
    """The canary's requests that would decide, and when they will have come."""
    if forecast is None:
        return None
    at = math.inf if forecast.intervals is None else counts.end + forecast.intervals * counts.interval
    return {"canary_requests": forecast.requests, "at": moment(round(at)) if at < LATEST else None}


def _last(judgement: Judgement) -> float:
    return e_value(float(judgement.log_fail.max(initial=-math.inf)))


def e_value(log: float) -> float:
    """An e-value that JSON can hold."""
    return math.exp(min(log, 700.0))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
