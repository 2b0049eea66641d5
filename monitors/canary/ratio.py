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
from scipy.optimize import brentq

from monitors.canary import alignment, starts
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.running import ALONE, Running

STEPS = np.array([1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.65, 1.8, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0])
WEIGHTS = np.array([0.2, 0.3, 0.6, 1.0, 1.2, 1.2, 0.8, 0.8, 1.0, 1.0, 1.5, 4.0, 6.0, 4.0, 1.0, 0.4, 0.2])
"""Alternatives, as multiples of the null's ratio, and their weights. Any choice is valid; this one gives large
regressions the larger part, because with little traffic they are what can be found at all, and mild ones need traffic
anyway, in which a smaller weight costs less (log 1/weight, paid once)."""

WIDEST = 12.0
"""Log ratios beyond this are reported as unbounded."""


def log_e_above(arms: Arms, ratio: float, dispersion: Floats | float = 1.0, running: Running = ALONE) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at most `ratio` times as frequent on the canary".

    It begins anew at later starts, and holds at any phase of the arms' scrapes.
    """
    paths = _since_each_start(alignment.joined(arms), ratio, running)
    since_start = _mean_over_alternatives(next(paths)[1], dispersion)
    later = (
        np.where(path[0] == 0, 0.0, _best_alternative(path, starts.from_start(dispersion, place)))
        for place, path in paths
    )
    return starts.mixed(chain([since_start], later), running.offset)


def log_e_below(arms: Arms, ratio: float, dispersion: Floats | float = 1.0, running: Running = ALONE) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at least `ratio` times as frequent on the canary".

    It is that of the swapped arms against the inverse ratio, since the start only: what is well now was not always.
    """
    seen = _seen(alignment.joined(arms.swapped()), -math.log(ratio), np.log(STEPS / ratio), running)
    return _mean_over_alternatives(np.sum([one.since_start() for one in seen], axis=0), dispersion)


def _seen(joined: Arms, null: float, alternatives: Floats, running: Running) -> list[_Seen]:
    """Sums of each part of the arms."""
    parts = enumerate(joined.parts())
    return [_Seen.of(part, null, alternatives, running.of("part", place)) for place, part in parts]


def _since_each_start(
    joined: Arms, ratio: float, running: Running = ALONE, since: int = 0
) -> Iterator[tuple[int, Floats]]:
    """Log likelihood ratios above a ratio since each start, from a place of the arms on, `since` or a later one.

    Those of strata add up.
    """
    seen = _seen(joined, math.log(ratio), np.log(ratio * STEPS), running)
    for parts in zip(*(one.since_each_start(since) for one in seen), strict=True):
        place = parts[0][0]
        yield place, np.sum([path for _, path in parts], axis=0)


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
    running: Running

    @classmethod
    def of(cls, arms: Arms, null: float, alternatives: Floats, running: Running = ALONE) -> _Seen:
        """For a null and alternatives above it, as log ratios."""
        share, present = arms.share(), arms.both()
        canary = np.where(present, arms.canary_events, 0)
        baseline = np.where(present, arms.baseline_events, 0)
        last = alignment.last_present(present)
        believed = alignment.believed(canary, np.where(present, arms.canary_requests, 0), last, running)
        at_null = np.log1p(share * np.expm1(null))
        gains, known, losses = [], [], []
        for place, d in enumerate(alternatives):
            loss = at_null - np.log1p(share * np.expm1(d))
            gain = d - null + loss
            gains.append(running.sum(("gains", place), canary * gain))
            newest = believed * np.take_along_axis(gain, np.maximum(last, 0), axis=-1)
            known.append(alignment.before(gains[-1], last) + newest)
            losses.append(running.sum(("losses", place), baseline * loss))
        return cls(
            gains=np.stack(gains), known=np.stack(known), losses=np.stack(losses), present=present, running=running
        )

    def since_start(self) -> Floats:
        """Log likelihood ratios at each look."""
        path: Floats = self.known + self.losses
        return path

    def since_each_start(self, since: int = 0) -> Iterator[tuple[int, Floats]]:
        """The same since each start, with the place from which on it is told: at least `since`.

        It is 0 until the start's first interval is over, where the baseline counts.
        """
        whole, offset = self.since_start(), self.running.offset
        yield since, whole[..., since:]
        places = np.arange(whole.shape[-1])
        for start in starts.starts(offset + places.size)[1:]:
            first, before = self._before(start)
            place = max(since, start - offset)
            path = whole[..., place:] - before
            yield place, np.where(places[place:] > first[..., None], path, 0.0)

    def _before(self, start: int) -> tuple[Ints, Floats]:
        """Where the first interval with both arms from a start on is, and the sums that do not count since then.

        That interval gives its losses, but not yet its gains.
        """
        known, place = self.running.value(("start", start)), start - self.running.offset
        if known is not None:
            first: Ints = np.full(self.present.shape[:-1], -1)
            before: Floats = known
        else:
            first = place + np.argmax(self.present[..., place:], axis=-1)
            index = np.broadcast_to(first, self.gains.shape[:-1])[..., None]
            before = np.take_along_axis(self.gains, index, axis=-1) + self.losses[..., place - 1 : place]
        if self.running.is_over(start):
            self.running.keep(("start", start), before)
        return first, before


def components(arms: Arms, null: float, alternatives: Floats, running: Running = ALONE) -> Floats:
    """Log likelihood ratios so far, shape (alternatives, ..., intervals); null and alternatives are log ratios."""
    parts = enumerate(arms.parts())
    return np.asarray(
        np.sum([_components(part, null, alternatives, running.of(place)) for place, part in parts], axis=0)
    )


def _components(arms: Arms, null: float, alternatives: Floats, running: Running) -> Floats:
    share = arms.share()
    canary, both = arms.told()
    at_null = np.log1p(share * np.expm1(null))
    return np.stack(
        [
            running.sum(place, canary * (d - null) - both * (np.log1p(share * np.expm1(d)) - at_null))
            for place, d in enumerate(alternatives)
        ]
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
    peak = _crossing(lambda d: float(canary.sum() - both @ (share * math.exp(d) / (1 + share * math.expm1(d)))))
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

    return -WIDEST if above_level(-WIDEST) <= 0 else _crossing(above_level)


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


def _crossing(falling: Callable[[float], float]) -> float:
    """What `_bisect` finds, for half of the work: the last of its halves is guessed, and looked at."""
    cell = math.ldexp(2 * WIDEST, -HALVINGS)
    if falling(-WIDEST) > 0 >= falling(WIDEST):
        guess = float(brentq(falling, -WIDEST, WIDEST, xtol=cell / 100, maxiter=HALVINGS, disp=False))
        low = -WIDEST + cell * math.floor((guess + WIDEST) / cell)
        if falling(low) > 0 >= falling(low + cell):
            return low + cell / 2
    return _bisect(falling)


HALVINGS = 28
"""Of the log ratios up to `WIDEST`, until what is left is less than 1e-7."""


def _bisect(falling: Callable[[float], float]) -> float:
    """Where a falling function crosses 0, to 1e-7."""
    low, high = -WIDEST, WIDEST
    for _ in range(HALVINGS):
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
        for start, (_, path) in zip(begins, _since_each_start(joined, ratio, since=newest), strict=True)
    ]
    return begins[int(np.argmax(now))]
