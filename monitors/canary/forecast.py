"""What would decide: how many more requests the canary needs, if things go on as they are.

Each alternative's log likelihood ratio grows, in expectation, by a known amount per request; the one that is at its
boundary first tells the requests. It is a forecast, not a promise: half of the time it takes longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from midwatch.spec import canary as spec
from monitors.canary import ratio, share
from monitors.canary.arms import Arms, Floats
from monitors.canary.running import ALONE, Running

RECENT = 20
"""Intervals that tell the present traffic."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Canary's requests that are still needed, and the intervals they take at the recent traffic (None without any)."""

    requests: int
    intervals: float | None


def pass_so_far(arms: Arms, criterion: spec.Counted, running: Running = ALONE) -> Floats:
    """Log likelihood ratios of a pass at the newest look, shape (alternatives, channels)."""
    if criterion.equal_baseline:
        return np.zeros((len(ratio.STEPS), *arms.canary_events.shape[:-1]))
    null, alternatives = _of_pass(criterion)
    return ratio.components(arms, null, alternatives, running)[..., -1]


def _of_pass(criterion: spec.Counted) -> tuple[float, Floats]:
    return math.log(criterion.unacceptable_ratio), np.log(criterion.unacceptable_ratio / ratio.STEPS)


def forecast_pass(
    arms: Arms, criterion: spec.Counted, alpha: float, dispersion: Floats, so_far: Floats
) -> Forecast | None:
    """Until a pass of every channel, should the canary be just as good as the baseline; None when it cannot be told.

    `so_far` is what the newest look says of it.
    """
    if criterion.equal_baseline or not arms.canary_requests.any() or not arms.baseline_requests.any():
        return None
    total = (arms.baseline_requests + arms.canary_requests).sum(axis=-1)
    often = (arms.baseline_events + arms.canary_events).sum(axis=-1) / total
    target = math.log(2 / alpha)
    needed = _until(arms, *_of_pass(criterion), (often, often), target, dispersion, so_far)
    if criterion.negligible:
        needed = np.minimum(needed, _until_rare(arms, float(criterion.negligible), often, target, dispersion))
    return _forecast(arms, float(needed.max()))


def forecast_fail(arms: Arms, criterion: spec.Counted, alpha: float, dispersion: Floats) -> Forecast | None:
    """Until one channel fails, should its events stay as frequent as they are; None when they would not fail it."""
    if criterion.equal_baseline or not arms.canary_requests.any() or not arms.baseline_requests.any():
        return None
    baseline = arms.baseline_events.sum() / arms.baseline_requests.sum()
    canary = arms.canary_events.sum() / arms.canary_requests.sum()
    null = math.log(criterion.tolerated_ratio)
    alternatives = null + np.log(ratio.STEPS)
    so_far = ratio.components(arms, null, alternatives)[..., -1]
    shares = np.asarray(baseline), np.asarray(canary)
    return _forecast(arms, float(_until(arms, null, alternatives, shares, -math.log(alpha), dispersion, so_far)))


def _until(
    arms: Arms,
    null: float,
    alternatives: Floats,
    shares: tuple[Floats, Floats],
    target: float,
    dispersion: Floats,
    so_far: Floats,
) -> Floats:
    """Canary's requests until a mixture over alternatives reaches a target; infinite if it does not grow.

    `shares` are those of events, on the baseline and on the canary, that are to come.
    """
    weights = np.log(ratio.WEIGHTS / ratio.WEIGHTS.sum())
    now, part, (baseline, canary) = so_far / dispersion, _recent(arms), shares
    growths = []
    for d in alternatives:
        both = canary + baseline * (1 - part) / part
        growths.append(
            canary * (d - null) - both * (math.log1p(part * math.expm1(d)) - math.log1p(part * math.expm1(null)))
        )
    return _first(now + weights.reshape(-1, *[1] * (now.ndim - 1)), np.stack(growths) / dispersion, target)


def _until_rare(arms: Arms, limit: float, often: Floats, target: float, dispersion: Floats) -> Floats:
    events, quiet = arms.canary_events.sum(axis=-1), (arms.canary_requests - arms.canary_events).sum(axis=-1)
    now, growths = [], []
    for p in limit * share.BELOW:
        rise, fall = math.log(p / limit), math.log1p(-p) - math.log1p(-limit)
        now.append((events * rise + quiet * fall) / dispersion - math.log(len(share.BELOW)))
        growths.append((often * rise + (1 - often) * fall) / dispersion)
    return _first(np.stack(now), np.stack(growths), target)


def _first(now: Floats, growth: Floats, target: float) -> Floats:
    missing = np.maximum(0.0, target - now)
    needed = np.divide(missing, growth, out=np.full(now.shape, math.inf), where=growth > 0)
    soonest: Floats = np.where(missing == 0, 0.0, needed).min(axis=0)
    return soonest


def _recent(arms: Arms) -> float:
    """Canary's share of the recent traffic, or of all of it when there is none of late."""
    for since in (-RECENT, 0):
        canary = arms.canary_requests[..., since:].sum()
        total = canary + arms.baseline_requests[..., since:].sum()
        if 0 < canary < total:
            return float(canary / total)
    return 0.5


def _forecast(arms: Arms, needed: float) -> Forecast | None:
    if not math.isfinite(needed):
        return None
    requests = arms.canary_requests.reshape(-1, arms.canary_requests.shape[-1])[0][-RECENT:]
    per_interval = float(requests.mean())
    return Forecast(requests=math.ceil(needed), intervals=needed / per_interval if per_interval else None)
