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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from monitors.canary import alignment, starts
from monitors.canary.arms import Arms, Floats
from monitors.canary.finished import NOTHING, Finished

STEPS = np.array([1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.65, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0])
WEIGHTS = np.array([0.2, 0.3, 0.6, 1.0, 1.2, 1.2, 0.8, 0.8, 1.0, 1.0, 1.5, 4.0, 6.0, 4.0, 1.0, 0.4, 0.2])
"""Alternatives, as multiples of the null's ratio, and their weights. Any choice is valid; this one gives large
regressions the larger part, because with little traffic they are what can be found at all, and mild ones need traffic
anyway, in which a smaller weight costs less (log 1/weight, paid once)."""

WIDEST = 12.0
"""Log ratios beyond this are reported as unbounded."""


def log_e_above(arms: Arms, ratio: float, dispersion: Floats | float = 1.0, finished: Finished = NOTHING) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at most `ratio` times as frequent on the canary".

    It begins anew at later starts, and holds at any phase of the arms' scrapes.
    """
    joined = alignment.joined(arms)

    def since(interval: int) -> Floats:
        paths = _since_each_start(joined, ratio, interval)
        since_start = _mean_over_alternatives(next(paths), starts.from_start(dispersion, interval))
        begins = starts.starts(joined.canary_events.shape[-1])[1:]
        later = (
            np.where(path[0] == 0, 0.0, _best_alternative(path, starts.from_start(dispersion, max(start, interval))))
            for start, path in zip(begins, paths, strict=True)
        )
        return starts.mixed(chain([since_start], later), interval)

    return finished.of(ratio).extended(joined, since)


def log_e_below(arms: Arms, ratio: float, dispersion: Floats | float = 1.0, finished: Finished = NOTHING) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at least `ratio` times as frequent on the canary".

    It is that of the swapped arms against the inverse ratio, since the start only: what is well now was not always.
    """
    joined = alignment.joined(arms.swapped())

    def since(interval: int) -> Floats:
        seen = [_Seen.of(part, -math.log(ratio), np.log(STEPS / ratio)) for part in joined.parts()]
        paths = np.sum([one.since_start(interval) for one in seen], axis=0)
        return _mean_over_alternatives(paths, starts.from_start(dispersion, interval))

    return finished.of(ratio).extended(joined, since)


def _since_each_start(joined: Arms, ratio: float, interval: int = 0) -> Iterator[Floats]:
    """Log likelihood ratios above a ratio since each start, from an interval on; those of strata add up."""
    seen = [_Seen.of(part, math.log(ratio), np.log(ratio * STEPS)) for part in joined.parts()]
    parts = [one.since_each_start(interval) for one in seen]
    for paths in zip(*parts, strict=True):
        yield np.sum(paths, axis=0)


def _mean_over_alternatives(paths: Floats, dispersion: Floats | float) -> Floats:
    return starts.log_sum(paths / dispersion + _log_weights(paths))


def _best_alternative(paths: Floats, dispersion: Floats | float) -> Floats:
    """Largest part of the mean over alternatives: nearly all of it where it matters, and much quicker."""
    best: Floats = (paths / dispersion + _log_weights(paths)).max(axis=0)
    return best


def _log_weights(paths: Floats) -> Floats:
    """Of the alternatives, along the first axis."""
    weights: Floats = np.log(WEIGHTS / WEIGHTS.sum()).reshape(-1, *[1] * (paths.ndim - 1))
    return weights


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Sums of log likelihood ratios by alternative, shape (alternatives, ..., intervals).

    `gains` come from the canary's events, and `known` is how much of them each look may count; `losses` come from the
    baseline's. `present` says which intervals have both arms.
    """

    gains: Floats
    known: Floats
    losses: Floats
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, arms: Arms, null: float, alternatives: Floats) -> _Seen:
        """For a null and alternatives above it, as log ratios."""
        share, present = arms.share(), arms.both()
        canary = np.where(present, arms.canary_events, 0)
        baseline = np.where(present, arms.baseline_events, 0)
        last = alignment.last_present(present)
        believed = alignment.believed(canary, np.where(present, arms.canary_requests, 0), last)
        at_null = np.log1p(share * np.expm1(null))
        gains, known, losses = [], [], []
        for d in alternatives:
            loss = at_null - np.log1p(share * np.expm1(d))
            gain = d - null + loss
            gains.append(np.cumsum(canary * gain, axis=-1))
            newest = believed * np.take_along_axis(gain, np.maximum(last, 0), axis=-1)
            known.append(alignment.before(gains[-1], last) + newest)
            losses.append(np.cumsum(baseline * loss, axis=-1))
        return cls(gains=np.stack(gains), known=np.stack(known), losses=np.stack(losses), present=present)

    def since_start(self, interval: int = 0) -> Floats:
        """Log likelihood ratios at each look, from an interval on."""
        return self.known[..., interval:] + self.losses[..., interval:]

    def since_each_start(self, interval: int = 0) -> Iterator[Floats]:
        """The same since each start, from there on; 0 until its first interval is over, where the baseline counts.

        What is before an interval is left out.
        """
        yield self.since_start(interval)
        intervals = self.present.shape[-1]
        for start in starts.starts(intervals)[1:]:
            # The first interval with both arms from the start on gives its losses, but not yet its gains.
            first = start + np.argmax(self.present[..., start:], axis=-1)
            index = np.broadcast_to(first, self.gains.shape[:-1])[..., None]
            before = np.take_along_axis(self.gains, index, axis=-1) + self.losses[..., start - 1 : start]
            low = max(start, interval)
            path = self.known[..., low:] + self.losses[..., low:] - before
            yield np.where(np.arange(low, intervals) > first[..., None], path, 0.0)


def components(arms: Arms, null: float, alternatives: Floats) -> Floats:
    """Log likelihood ratios so far, shape (alternatives, ..., intervals); null and alternatives are log ratios."""
    return np.asarray(np.sum([_components(part, null, alternatives) for part in arms.parts()], axis=0))


def _components(arms: Arms, null: float, alternatives: Floats) -> Floats:
    share = arms.share()
    canary, both = arms.told()
    at_null = np.log1p(share * np.expm1(null))
    return np.stack(
        [np.cumsum(canary * (d - null) - both * (np.log1p(share * np.expm1(d)) - at_null), -1) for d in alternatives]
    )


# Estimates ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Ratio of event shares, canary to baseline, with its always-valid interval; None is unknown or unbounded."""

    ratio: float | None
    low: float | None
    high: float | None

    def inverse(self) -> Interval:
        """The interval of the inverse ratio."""

        def inverted(value: float | None, of_none: float | None) -> float | None:
            return of_none if value is None else 1 / value if value else None

        if self.ratio is None and self.low is None and self.high is None:
            return self
        return Interval(ratio=inverted(self.ratio, 0.0), low=inverted(self.high, 0.0), high=inverted(self.low, None))


def always_valid(arms: Arms, alpha: float, dispersion: float = 1.0) -> Interval:
    """Estimate of the ratio, and a confidence interval that holds at every look with probability 1 - `alpha`.

    For one channel, shape (intervals,). Each bound is the null at which the one-sided test reaches 2/`alpha` now, so a
    test at `alpha` / 2 fails a canary only if the interval excludes what is tolerated.
    """
    canary, both = (
        np.concatenate(one).astype(float) for one in zip(*(part.told() for part in arms.parts()), strict=True)
    )
    share = np.concatenate([part.share() for part in arms.parts()])
    if not both.sum():
        return Interval(ratio=None, low=None, high=None)
    peak = _bisect(lambda d: float(canary.sum() - both @ (share * math.exp(d) / (1 + share * math.expm1(d)))))
    low = _lower_bound(arms, alpha / 2, dispersion)
    high = -_lower_bound(arms.swapped(), alpha / 2, dispersion)
    return Interval(ratio=_bounded(peak), low=_bounded(min(low, peak)), high=_bounded(max(high, peak)))


def _lower_bound(arms: Arms, alpha: float, dispersion: float) -> float:
    """Largest log ratio that the newest look refutes at a level, -`WIDEST` if there is none."""
    known = [one for part in alignment.joined(arms).parts() if (one := _known(part)) is not None]
    if not known:
        return -WIDEST
    canary, both, share = (np.concatenate(one) for one in zip(*known, strict=True))
    steps, weights = np.log(STEPS), np.log(WEIGHTS / WEIGHTS.sum())

    def above_level(null: float) -> float:
        losses = (np.log1p(share * np.expm1(null)) - np.log1p(share * np.expm1(null + steps)[:, None])) @ both
        return float(starts.log_sum((canary.sum() * steps + losses) / dispersion + weights)) + math.log(alpha)

    return -WIDEST if above_level(-WIDEST) <= 0 else _bisect(above_level)


def _known(joined: Arms) -> tuple[Floats, Floats, Floats] | None:
    """The canary's events, both arms' and the canary's share by interval, as the newest look believes them."""
    arms = joined.at(joined.both())
    if arms.canary_events.size < 2:
        return None
    last = alignment.last_present(np.ones(arms.canary_events.shape, dtype=np.bool_))
    canary = arms.canary_events.astype(float)
    canary[-1] = alignment.believed(arms.canary_events, arms.canary_requests, last)[-1]
    return canary, canary + arms.baseline_events, arms.share()


def _bounded(d: float) -> float | None:
    if d >= WIDEST - 1e-6:
        return None
    return 0.0 if d <= -WIDEST + 1e-6 else math.exp(d)


def _bisect(falling: Callable[[float], float], *, low: float = -WIDEST, high: float = WIDEST) -> float:
    """Where a falling function crosses 0, to 1e-7."""
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def deciding_start(arms: Arms, ratio: float, dispersion: Floats | float) -> int:
    """The start since which the newest look has most evidence; for one channel."""
    joined = alignment.joined(arms)
    newest = joined.canary_events.shape[-1] - 1
    begins = starts.starts(newest + 1)
    now = [
        _best_alternative(path, starts.from_start(dispersion, newest))[-1] + starts.log_weight(start)
        for start, path in zip(begins, _since_each_start(joined, ratio, newest), strict=True)
    ]
    return begins[int(np.argmax(now))]
