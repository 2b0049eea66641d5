"""Gauges, which have no counts: judged once, when their window is over, as Kayenta does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from midwatch.spec import canary as spec
from monitors.canary import mannwhitney
from monitors.canary.counts import Counts, Samples
from monitors.canary.findings import Finding, Verdict
from monitors.canary.mannwhitney import Classified
from monitors.canary.times import moment

IMMENSE = 1e150
"""Magnitude beyond which squares of samples are no numbers any more; infinite ones, such as of a division by 0, too."""


def judge(
    gauges: Sequence[spec.Gauge], counts: Counts, settings: spec.Score
) -> tuple[list[Finding], mannwhitney.Score | None]:
    """Findings of the gauges, and the score of all of them, None until every window is over."""
    classified = {one.name: _classified(one, counts) for one in gauges}
    able = [one for one in gauges if (samples := counts.gauges.get(one.name)) is None or not _immense(samples)]
    score = _score(classified, able, settings)
    return [_finding(one, counts, classified[one.name], score, settings) for one in gauges], score


def _classified(criterion: spec.Gauge, counts: Counts) -> Classified | None:
    samples = counts.gauges.get(criterion.name)
    if samples is None or not samples.complete or _immense(samples):
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


def _immense(samples: Samples) -> str:
    """What is said of samples that cannot be subtracted from each other; empty when all can."""
    found = {
        arm: sum(abs(value) > IMMENSE for value in side)
        for arm, side in (("baseline", samples.baseline), ("canary", samples.canary))
    }
    told = [f"{count} of the {arm}'s samples" for arm, count in found.items() if count]
    if not told:
        return ""
    return f"{' and '.join(told)} are infinite, or beyond {IMMENSE:g}, and cannot be compared; see why the gauge is so"


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
    elif samples is not None and (immense := _immense(samples)):
        reason = f"{criterion.name}: {immense}"
    elif classified is not None and samples is not None:
        reason = f"{classified.label.value}: {classified.reason}"
        few = _too_few(criterion, samples)
        is_new = classified.label is mannwhitney.Label.HIGH and criterion.nan == "replace" and not few.canary
        if few.either and not is_new:
            reason = f"{classified.label.value} by the rule, but {few.either}"
        elif score is None:
            reason += "; other gauges are not over"
        elif samples.doubts:
            reason += f"; {samples.doubts[0].text}"
        elif _is_between(criterion, classified):
            reason += "; there is a shift for the worse, and its size is not known well enough to fail it or pass it"
        elif wide := _too_wide(criterion, classified, samples):
            reason += f"; {wide}"
        else:
            verdict = _by_score(score, settings, classified)
            reason += f"; score {score.total:.3g}{': ' + score.reason if score.reason else ''}"
    return Finding(name=criterion.name, metric="gauge", verdict=verdict, reason=reason, classified=classified)


def _is_between(criterion: spec.Gauge, classified: Classified) -> bool:
    """Whether a shift for the worse is certain, but not its size: Kayenta passes it, and nobody would call it equal."""
    if classified.label is not mannwhitney.Label.PASS or classified.shift is None:
        return False
    shift = classified.shift
    limit = criterion.tolerance * abs(shift.estimate)
    rises = criterion.direction in ("increase", "either") and 0 < shift.low <= limit
    falls = criterion.direction in ("decrease", "either") and -limit <= shift.high < 0
    return rises or falls


def _too_wide(criterion: spec.Gauge, classified: Classified, samples: Samples) -> str:
    """Why no shift that was found is no sign of none; empty when a shift that matters is excluded.

    Kayenta passes whatever is not shown. A shift for the worse that is beyond all that the baseline varies by itself,
    and beyond `tolerance` of its mean, is one that somebody would mind: not excluded, it leaves the gauge undecided.
    """
    if classified.label is not mannwhitney.Label.PASS or classified.shift is None:
        return ""
    values = [value for value in samples.baseline if not math.isnan(value)]
    varies = max(values) - min(values)
    minded = max(varies, criterion.tolerance * abs(math.fsum(values) / len(values)))
    worst = {"increase": classified.shift.high, "decrease": -classified.shift.low}
    possible = max(shift for name, shift in worst.items() if criterion.direction in (name, "either"))
    if possible <= minded:
        return ""
    return f"a shift by {possible:.6g} for the worse is not excluded, and the baseline varies by {varies:.6g} by itself"


@dataclass(frozen=True, kw_only=True)
class _TooFew:
    """What is missing, of either arm and of the canary alone; empty when nothing is."""

    either: str
    canary: str


def _too_few(criterion: spec.Gauge, samples: Samples) -> _TooFew:
    """Whether there are samples enough to be compared: of those expected, and for the test to reach its level.

    Missing ones that count as 0 are samples of the test, yet a canary that is not seen is not known to be well.
    """
    said = {}
    expected = max(len(samples.baseline), len(samples.canary))
    for arm, side in (("baseline", samples.baseline), ("canary", samples.canary)):
        present = sum(not math.isnan(value) for value in side)
        if not present:
            said[arm] = "without samples nothing is known"
        elif present < float(criterion.min_samples) * expected:
            said[arm] = f"the {arm} has {present} of {expected} samples, {criterion.min_samples:.0%} are needed"
    sizes = [
        len(side) if criterion.nan == "replace" else sum(not math.isnan(value) for value in side)
        for side in (samples.baseline, samples.canary)
    ]
    if "canary" not in said and not mannwhitney.can_reach(sizes[0], sizes[1], criterion.confidence):
        level = f"{criterion.confidence:.4g} confidence"
        said["canary"] = f"{sizes[0]} samples against {sizes[1]} are too few for {level}, whatever they are"
    return _TooFew(either=said.get("baseline", "") or said.get("canary", ""), canary=said.get("canary", ""))


def _by_score(score: mannwhitney.Score, settings: spec.Score, classified: Classified) -> Verdict:
    if score.total >= settings.pass_:
        return Verdict.PASS
    failed = score.total < settings.marginal and classified.label in (
        mannwhitney.Label.HIGH,
        mannwhitney.Label.LOW,
        mannwhitney.Label.NODATA_FAIL,
    )
    return Verdict.FAIL if failed else Verdict.INCONCLUSIVE
