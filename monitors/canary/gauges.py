"""Gauges, which have no counts: judged once, when their window is over, as Kayenta does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from midwatch.spec import canary as spec
from monitors.canary import mannwhitney
from monitors.canary.counts import Counts
from monitors.canary.findings import Finding, Verdict
from monitors.canary.mannwhitney import Classified
from monitors.canary.times import moment


def judge(
    gauges: Sequence[spec.Gauge], counts: Counts, settings: spec.Score
) -> tuple[list[Finding], mannwhitney.Score | None]:
    """Findings of the gauges, and the score of all of them, None until every window is over."""
    classified = {one.name: _classified(one, counts) for one in gauges}
    score = _score(classified, gauges, settings)
    return [_finding(one, counts, classified[one.name], score, settings) for one in gauges], score


def _classified(criterion: spec.Gauge, counts: Counts) -> Classified | None:
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
    classified: dict[str, Classified | None], gauges: Sequence[spec.Gauge], settings: spec.Score
) -> mannwhitney.Score | None:
    told = {name: one for name, one in classified.items() if one is not None}
    if not told or len(told) < len(gauges):
        return None
    weights = {str(group): value for group, value in settings.weights.items()}
    return mannwhitney.score(told, {one.name: one.group for one in gauges}, weights)


def _finding(
    criterion: spec.Gauge,
    counts: Counts,
    classified: Classified | None,
    score: mannwhitney.Score | None,
    settings: spec.Score,
) -> Finding:
    samples = counts.gauges.get(criterion.name)
    verdict, reason = Verdict.INCONCLUSIVE, "no samples"
    if samples is not None and not samples.complete:
        reason = f"judged once, when its window is over at {moment(counts.start + criterion.window)}"
    elif classified is not None and samples is not None:
        reason = f"{classified.label.value}: {classified.reason}"
        if all(map(math.isnan, samples.baseline)) or all(map(math.isnan, samples.canary)):
            reason = f"{classified.label.value} by the rule, but without samples nothing is known"
        elif score is None:
            reason += "; other gauges are not over"
        elif samples.doubts:
            reason += f"; {samples.doubts[0].text}"
        else:
            verdict = _by_score(score, settings, classified)
            reason += f"; score {score.total:.3g}{': ' + score.reason if score.reason else ''}"
    return Finding(name=criterion.name, metric="gauge", verdict=verdict, reason=reason, classified=classified)


def _by_score(score: mannwhitney.Score, settings: spec.Score, classified: Classified) -> Verdict:
    if score.total >= settings.pass_:
        return Verdict.PASS
    failed = score.total < settings.marginal and classified.label in (
        mannwhitney.Label.HIGH,
        mannwhitney.Label.LOW,
        mannwhitney.Label.NODATA_FAIL,
    )
    return Verdict.FAIL if failed else Verdict.INCONCLUSIVE
