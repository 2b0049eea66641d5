"""Mann-Whitney comparison of two samples as Kayenta does it: for gauges, and for everything that has no counts.

Implemented from Kayenta's published judge (NetflixACAJudge: Mann-Whitney with continuity correction and tie-corrected
variance, the interval inverted as R's wilcox.test does; Bauer 1972 for inverting the test, Hodges & Lehmann 1963 for
the estimate). It is a fixed-window test: looked at repeatedly it raises false alarms, so it is judged once, at the end
of its window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from monitors.canary.arms import Floats

FENCE = 3.0
"""Interquartile ranges beyond the quartiles where an outlier begins."""
NOISE = 1e-5
"""Relative deviation of the noise that Kayenta adds when each side is constant, so that they can be ranked."""
_TOLERANCE = 1e-4


class Label(StrEnum):
    """What is said of one metric."""

    PASS = "Pass"  # noqa: S105 - Kayenta's word, no password
    HIGH = "High"
    LOW = "Low"
    NODATA = "Nodata"
    NODATA_FAIL = "NodataFailMetric"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a metric is judged; the defaults are Kayenta's.

    `tolerance` is a fraction of the estimated shift, not of the baseline. `allowed` and `critical` are effects (canary
    to baseline) per direction, such as {"increase": 1.1}. `direction` is increase, decrease or either.
    """

    tolerance: float = 0.25
    confidence: float = 0.98
    direction: str = "either"
    measure: str = "mean_ratio"
    allowed: Mapping[str, float] = field(default_factory=dict)
    critical: Mapping[str, float] = field(default_factory=dict)
    nan: str = "remove"
    outliers: str = "keep"
    must_have_data: bool = False
    is_critical: bool = False


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Estimated shift from baseline to canary with its confidence interval, in the metric's unit."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Label of a metric, with the numbers behind it; `is_critical_failure` fails the whole comparison."""

    label: Label
    reason: str
    baseline_size: int
    canary_size: int
    shift: Shift | None = None
    effect: float | None = None
    is_critical_failure: bool = False


def classify(baseline: Sequence[float], canary: Sequence[float], rule: Rule) -> Classified:
    """Judge one metric by its samples; NaN stands for a sample that is missing."""
    control, experiment = _prepared(baseline, rule), _prepared(canary, rule)
    said = partial(Classified, baseline_size=control.size, canary_size=experiment.size)
    if not control.size or not experiment.size:
        return _without_data(control, experiment, rule, said)
    if np.array_equal(np.sort(control), np.sort(experiment)):
        return said(label=Label.PASS, reason="the samples are equal", effect=1.0)
    effect = _effect(control, experiment, rule.measure)
    shift = estimate_shift(control, experiment, confidence=rule.confidence)
    limit = rule.tolerance * abs(shift.estimate)
    high = rule.direction in ("increase", "either") and shift.low > limit and _matters(effect, rule, +1)
    low = rule.direction in ("decrease", "either") and shift.high < -limit and _matters(effect, rule, -1)
    label = Label.HIGH if high else Label.LOW if low else Label.PASS
    numbers = f"shift {shift.estimate:.6g} [{shift.low:.6g}, {shift.high:.6g}], limit {limit:.6g}, effect {effect:.4g}"
    sign = 1 if high else -1
    is_critical = (high or low) and (rule.is_critical or _reaches(effect, _limit(rule.critical, sign), sign))
    return said(
        label=label,
        reason=numbers,
        shift=shift,
        effect=effect if math.isfinite(effect) else None,
        is_critical_failure=is_critical,
    )


def _prepared(values: Sequence[float], rule: Rule) -> Floats:
    kept = np.asarray(values, dtype=float)
    kept = np.where(np.isnan(kept), 0.0, kept) if rule.nan == "replace" else kept[~np.isnan(kept)]
    if rule.outliers == "remove" and kept.size:
        low, high = np.percentile(kept, [25, 75])
        fence = FENCE * (high - low)
        kept = kept[(kept >= low - fence) & (kept <= high + fence)]
    return kept


def _without_data(control: Floats, experiment: Floats, rule: Rule, said: Callable[..., Classified]) -> Classified:
    side = "both sides" if not control.size and not experiment.size else "baseline" if not control.size else "canary"
    if rule.nan == "replace" and not rule.must_have_data:
        return said(label=Label.PASS, reason=f"no samples on {side}, and missing ones count as 0")
    label = Label.NODATA_FAIL if rule.must_have_data else Label.NODATA
    is_critical = rule.must_have_data and rule.is_critical
    return said(label=label, reason=f"no samples on {side}", is_critical_failure=is_critical)


def _effect(control: Floats, experiment: Floats, measure: str) -> float:
    """Ratio of the means, or the probability that a value of the canary is the larger (CLES); NaN when undefined."""
    if measure == "cles":
        ranks = rankdata(np.concatenate([experiment, control]))[: experiment.size].sum()
        return float((ranks - experiment.size * (experiment.size + 1) / 2) / (experiment.size * control.size))
    if control.mean():
        return float(experiment.mean() / control.mean())
    # As Kayenta's division: something where there was nothing is infinitely more, nothing against nothing is unknown.
    return math.copysign(math.inf, experiment.mean()) if experiment.mean() else math.nan


def _limit(limits: Mapping[str, float], sign: int) -> float | None:
    return limits.get("increase" if sign > 0 else "decrease")


def _reaches(effect: float, limit: float | None, sign: int) -> bool:
    return limit is not None and (effect >= limit if sign > 0 else effect <= limit)


def _matters(effect: float, rule: Rule, sign: int) -> bool:
    """Whether the effect is as large as what is allowed; without a limit or an effect nothing is checked."""
    limit = _limit(rule.allowed, sign)
    return limit is None or math.isnan(effect) or _reaches(effect, limit, sign)


def estimate_shift(baseline: Floats, canary: Floats, *, confidence: float) -> Shift:
    """Hodges-Lehmann estimate of the shift, and the interval of shifts that a Mann-Whitney test does not reject."""
    if np.ptp(baseline) == 0 and np.ptp(canary) == 0:
        baseline, canary = _with_noise(baseline), _with_noise(canary)
    span = float(canary.min() - baseline.max()), float(canary.max() - baseline.min())

    def root(quantile: float) -> float:
        def excess(shift: float) -> float:
            return _statistic(baseline, canary, shift) - quantile

        if excess(span[0]) <= 0:
            return span[0]
        if excess(span[1]) >= 0:
            return span[1]
        return float(brentq(excess, *span, xtol=min(_TOLERANCE, (span[1] - span[0]) * 1e-6)))

    z = float(norm.ppf((1 + confidence) / 2))
    return Shift(estimate=root(0.0), low=root(z), high=root(-z))


def _with_noise(values: Floats) -> Floats:
    """A constant with Kayenta's tiny noise, drawn from a fixed seed so that the verdict is repeatable."""
    scale = abs(float(values[0])) * NOISE or NOISE
    noisy: Floats = values + np.random.default_rng(values.size).normal(0.0, scale, values.size)
    return noisy


def _statistic(baseline: Floats, canary: Floats, shift: float) -> float:
    """Standardised Mann-Whitney statistic of the canary less the shift, with continuity and tie correction."""
    m, n = canary.size, baseline.size
    ranks = rankdata(np.concatenate([canary - shift, baseline]))
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    d = ranks[:m].sum() - m * (m + 1) / 2 - m * n / 2
    variance = m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1)))
    return float((d - np.sign(d) * 0.5) / math.sqrt(variance)) if variance > 0 else 0.0


def can_reach(baseline: int, canary: int, confidence: float) -> bool:
    """Whether a test of samples of these sizes can reject at all: their most extreme order has to be rare enough.

    >>> can_reach(4, 4, 0.98), can_reach(5, 5, 0.98)
    (False, True)
    """
    return math.comb(baseline + canary, canary) >= 2 / (1 - confidence)


# Score of several metrics ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score from 0 to 100 of all metrics, and by group."""

    total: float
    groups: Mapping[str, float]
    reason: str


def score(
    classified_by_name: Mapping[str, Classified], groups: Mapping[str, str], weights: Mapping[str, float]
) -> Score:
    """Kayenta's weighted sum of the groups' shares of passes.

    `groups` gives each metric's group, `weights` the percent of some groups; the rest is shared by the others.
    """
    members: dict[str, list[Label]] = {}
    for name, classified in classified_by_name.items():
        members.setdefault(groups[name], []).append(classified.label)
    scores = {group: value for group, labels in sorted(members.items()) if (value := _group(labels)) is not None}
    critical = [name for name, classified in classified_by_name.items() if classified.is_critical_failure]
    nodata = sum(classified.label is Label.NODATA for classified in classified_by_name.values())
    if critical:
        return Score(total=0.0, groups=scores, reason=f"critical: {', '.join(critical)}")
    if 2 * nodata >= len(classified_by_name):
        return Score(total=0.0, groups=scores, reason=f"{nodata} of {len(classified_by_name)} metrics have no data")
    unweighted = [group for group in members if group not in weights]
    share = (100 - sum(weights.get(group, 0) for group in members)) / len(unweighted) if unweighted else 0.0
    given = {group: weights.get(group, share) for group in scores}
    total = sum(scores[group] * given[group] for group in scores) / 100
    return Score(total=total, groups=scores, reason="")


def _group(labels: Sequence[Label]) -> float | None:
    told = [label for label in labels if label is not Label.NODATA]
    return 100.0 * sum(label is Label.PASS for label in told) / len(told) if told else None
