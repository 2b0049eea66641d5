"""Sequential test of how often something happens on the canary, as a ratio to how often it does on the baseline.

Given the requests of an interval, canary's share of them r, and m events on both arms together, of which y on the
canary: if events happen theta times as often on the canary, y is binomial with p(theta) = r theta / (1 - r + r theta).
The product over intervals of likelihood ratios against the null's theta, mixed over a grid of alternatives, is an
e-process: its expectation under the null is at most 1 at every stopping time, so the chance that it ever reaches
1/alpha is at most alpha (Ville 1939; Ramdas et al., "Game-theoretic statistics", Statistical Science 38(4), 2023).
The fixed-share form is Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022; per-interval
shares, the one-sided null and the practical margin are derived here.

Why it holds for frequent events too: with independent requests, event shares q on the baseline and theta q on the
canary, a = log p1/p0 and b = log (1-p1)/(1-p0), the expectation of one interval's factor is
(1 + theta q (e^a - 1))^nC (1 + q (e^b - 1))^nB <= exp(nC theta q (e^a - 1) + nB q (e^b - 1)), and the exponent is
(p1 - p0) n q (1 - r + r theta0) (theta / theta0 - 1), which is not positive when theta lies on the null's side of
theta0. So it is exact for rare events, and conservative for frequent ones by about 1/(1 - q) in time.
It needs independence within an interval: bursts break it, see `bursts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = np.array([1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.65, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0])
WEIGHTS = np.array([0.2, 0.3, 0.6, 1.0, 1.2, 1.2, 0.8, 0.8, 1.0, 1.0, 1.5, 4.0, 6.0, 4.0, 1.0, 0.4, 0.2])
"""Alternatives, as multiples of the null's ratio, and their weights. Any choice is valid; this one gives large
regressions the larger part, because with little traffic they are what can be found at all, and mild ones need traffic
anyway, in which a smaller weight costs less (log 1/weight, paid once)."""

WIDEST = 12.0
"""Log ratios beyond this are reported as unbounded."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Events and requests of both arms: four arrays of the same shape (..., intervals)."""

    baseline_events: Ints
    baseline_requests: Ints
    canary_events: Ints
    canary_requests: Ints

    def swapped(self) -> Arms:
        """The arms with their roles exchanged: a fall on the canary is a rise on the baseline."""
        return Arms(
            baseline_events=self.canary_events,
            baseline_requests=self.canary_requests,
            canary_events=self.baseline_events,
            canary_requests=self.baseline_requests,
        )

    def share(self) -> Floats:
        """Canary's share of the requests by interval; 0 where there were none."""
        total = self.baseline_requests + self.canary_requests
        share: Floats = np.divide(self.canary_requests, total, out=np.zeros(total.shape), where=total > 0)
        return share

    def told(self) -> tuple[Ints, Ints]:
        """Events of the canary, and of both, in intervals where both arms had requests: others compare nothing."""
        both = (self.baseline_requests > 0) & (self.canary_requests > 0)
        canary = np.where(both, self.canary_events, 0)
        return canary, canary + np.where(both, self.baseline_events, 0)


def log_e_above(arms: Arms, ratio: float) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at most `ratio` times as frequent on the canary"."""
    return _mixture(arms, np.log(ratio), np.log(ratio * STEPS))


def log_e_below(arms: Arms, ratio: float) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at least `ratio` times as frequent on the canary"."""
    return _mixture(arms, np.log(ratio), np.log(ratio / STEPS))


def components(arms: Arms, null: float, alternatives: Floats) -> Floats:
    """Log likelihood ratios so far, shape (alternatives, ..., intervals); null and alternatives are log ratios."""
    share = arms.share()
    canary, both = arms.told()
    at_null = np.log1p(share * np.expm1(null))
    return np.stack(
        [np.cumsum(canary * (d - null) - both * (np.log1p(share * np.expm1(d)) - at_null), -1) for d in alternatives]
    )


def _mixture(arms: Arms, null: float, alternatives: Floats) -> Floats:
    weights = np.log(WEIGHTS / WEIGHTS.sum())
    mixed: Floats = logsumexp(components(arms, null, alternatives).T + weights, axis=-1).T
    return mixed


# Estimates ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Ratio of event shares, canary to baseline, with its always-valid interval; None is unknown or unbounded."""

    ratio: float | None
    low: float | None
    high: float | None


def always_valid(arms: Arms, alpha: float) -> Interval:
    """Estimate and confidence interval of the ratio that holds at every look with probability 1 - `alpha`.

    For one channel, shape (intervals,). The interval is every ratio whose two-sided mixture e-process is below
    1/`alpha`; the log likelihood is concave, so it is an interval indeed (derived; checked by simulation).
    """
    canary, both = (counts.astype(float) for counts in arms.told())
    share = arms.share()
    if not both.sum():
        return Interval(ratio=None, low=None, high=None)

    def likelihood(d: Floats) -> Floats:
        inner = np.log1p(share[:, None] * np.expm1(d)) if d.ndim else np.log1p(share * np.expm1(d))
        log_likelihood: Floats = canary.sum() * d - both @ inner
        return log_likelihood

    around = np.concatenate([-_FINE[::-1], [0.0], _FINE])
    evidence = float(logsumexp(likelihood(around)) - np.log(around.size))
    peak = _bisect(lambda d: float(canary.sum() - both @ (share * math.exp(d) / (1 + share * math.expm1(d)))))
    level = evidence - math.log(1 / alpha)

    def inside(d: float) -> float:
        return likelihood(np.asarray(d)).item() - level

    low = -WIDEST if inside(-WIDEST) > 0 else _bisect(lambda d: -inside(d), high=peak)
    high = WIDEST if inside(WIDEST) > 0 else _bisect(inside, low=peak)
    return Interval(ratio=_bounded(peak), low=_bounded(low), high=_bounded(high))


_FINE = np.concatenate([np.arange(0.005, 0.5, 0.005), np.geomspace(0.5, 4.0, 40)])
"""Log ratios of the alternatives that the interval is made from: close to 0 as narrow as large counts can tell."""


def _bounded(d: float) -> float | None:
    if d >= WIDEST - 1e-6:
        return None
    return 0.0 if d <= -WIDEST + 1e-6 else math.exp(d)


def _bisect(falling: Callable[[float], float], *, low: float = -WIDEST, high: float = WIDEST) -> float:
    """Where a falling function crosses 0, to 1e-9."""
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
