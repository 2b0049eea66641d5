"""Sequential test for bursty events, against a baseline of the canary's size.

Where events come in bursts they are not independent, and the test of `ratio` takes a burst for a regression. With a
baseline of equal size another argument holds: if the canary is no worse, the difference D of the arms' events in an
interval is as likely to be +x as -x, whatever bursts do to each arm. Then 2 / (1 + exp(-g D)) has expectation 1,
because its values at +x and -x add up to 2 (derived; a bet on symmetry, see Ramdas, Ruf, Larsson & Koolen,
"Admissible anytime-valid sequential inference must rely on nonnegative martingales", 2020). Products over intervals are
mixed over g, which says how large a difference is worth betting on.

A ratio other than 1, and arms whose requests differ a little, are met by thinning: of the arm that would have more
events under the null each event is kept with the probability that evens them out, which leaves a burst a burst. The
factor is averaged over that chance, so that the result is a number and not a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import binom

from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.ratio import Interval
from monitors.canary.running import ALONE, Running

LARGEST = 100.0
"""Ratios beyond this, or below its inverse, are reported as unbounded."""
BISECTED = 1e-3
"""Precision of an interval's bounds, as log ratios."""
BETS = np.geomspace(0.01, 2.0, 9)
SIZES = (1 / 1.5, 1.5)
"""How far the arms' requests may differ, canary to baseline: a fleet and one pod have bursts of other sizes."""
_REACH = 8.0
"""Standard deviations of the thinned count that are looked at; what lies beyond has a probability below 1e-14."""


def log_e_above(arms: Arms, ratio: float, running: Running = ALONE) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at most `ratio` times as frequent on the canary"."""
    return _mixture(arms, arms.canary_requests.astype(float) * ratio, +1, running)


def log_e_below(arms: Arms, ratio: float, running: Running = ALONE) -> Floats:
    """Log e-process, shape (..., intervals), against "events are at least `ratio` times as frequent on the canary"."""
    return _mixture(arms, arms.canary_requests.astype(float) * ratio, -1, running)


def always_valid(arms: Arms, alpha: float) -> Interval:
    """Estimate of the ratio and its interval at the newest look, for one channel: the nulls that are not refuted."""
    both = arms.both()
    if not both.any():
        return Interval(ratio=None, low=None, high=None)
    level, reach = math.log(2 / alpha), math.log(LARGEST)
    low = _bisect(lambda d: float(log_e_above(arms, math.exp(d))[-1]) - level, reach)
    high = _bisect(lambda d: level - float(log_e_below(arms, math.exp(d))[-1]), reach)
    canary, baseline = int(arms.canary_events[both].sum()), int(arms.baseline_events[both].sum())
    requests = arms.baseline_requests[both].sum() / arms.canary_requests[both].sum()
    return Interval(
        ratio=canary / baseline * requests if baseline else None,
        low=0.0 if low <= -reach + BISECTED else math.exp(low),
        high=None if high >= reach - BISECTED else math.exp(high),
    )


def _bisect(falling: Callable[[float], float], reach: float) -> float:
    """Where a falling function crosses 0 between -`reach` and `reach`."""
    low, high = -reach, reach
    while high - low > BISECTED:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low


def are_equal(arms: Arms) -> bool:
    """Whether the arms are of about the same size over the whole analysis."""
    baseline, canary = int(arms.baseline_requests.sum()), int(arms.canary_requests.sum())
    return baseline > 0 and SIZES[0] <= canary / baseline <= SIZES[1]


def _mixture(arms: Arms, expected: Floats, sign: int, running: Running) -> Floats:
    """`expected` is how many events the canary has under the null where the baseline has as many as requests."""
    both = (arms.baseline_requests > 0) & (arms.canary_requests > 0)
    ones = np.ones(expected.shape)
    keep_canary = np.divide(arms.baseline_requests, expected, out=ones.copy(), where=both).clip(max=1.0)
    keep_baseline = np.divide(expected, arms.baseline_requests, out=ones.copy(), where=both).clip(max=1.0)
    canary_thinned = keep_canary < 1
    thinned = np.where(canary_thinned, arms.canary_events, arms.baseline_events)
    other = np.where(canary_thinned, arms.baseline_events, arms.canary_events)
    keep = np.where(canary_thinned, keep_canary, keep_baseline)
    kept, probability = _thinned(thinned, keep)
    difference = np.where(canary_thinned, sign, -sign) * (kept - other)
    paths = []
    for place, bet in enumerate(BETS):
        factor = (probability * 2 * expit(bet * difference)).sum(axis=0)
        with np.errstate(divide="ignore"):  # a bet may lose all that it has
            paths.append(running.sum(place, np.where(both, np.log(factor), 0.0)))
    mixed: Floats = logsumexp(np.stack(paths), axis=0) - np.log(len(BETS))
    return mixed


def _thinned(events: Ints, keep: Floats) -> tuple[Ints, Floats]:
    """Counts that may be left of the events along the first axis, and their probabilities, which sum to 1.

    How far other intervals reach does not matter to one: there, the probability is 0.
    """
    spread = _REACH * np.sqrt(events * keep * (1 - keep)) + 1
    first = np.maximum(0, np.floor(events * keep - spread)).astype(np.int64)
    last = np.minimum(events, np.ceil(events * keep + spread).astype(np.int64))
    reach = np.arange(int((last - first).max(initial=0)) + 1)
    kept = first + reach.reshape(-1, *[1] * first.ndim)
    probability = np.where(kept <= last, binom.pmf(kept, events, keep), 0.0)
    return kept, probability / probability.sum(axis=0)
