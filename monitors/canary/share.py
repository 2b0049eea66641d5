"""Sequential test of the share of requests that something happens to, against a fixed limit.

The likelihood ratio of a Bernoulli share, mixed over a grid of alternatives: an e-process for "the share is, given the
past, never above (or never below) the limit in any interval". It says when events are too rare to matter.
"""

from __future__ import annotations

import math

import numpy as np

from monitors.canary import starts
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.finished import NOTHING, Finished

STEPS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
BELOW = np.array([0.6, 0.3, 0.1, 0.02])
"""Alternatives, as multiples of the limit."""


def log_e_above(arms: Arms, limit: float, dispersion: Floats | float = 1.0, finished: Finished = NOTHING) -> Floats:
    """Log e-process, shape (..., intervals), against "the canary's share is at most `limit`".

    It begins anew at later starts.
    """
    paths = _paths(arms.canary_events, arms.canary_requests, limit, np.minimum(limit * STEPS, (1 + limit) / 2))

    def since(interval: int) -> Floats:
        by_start = [_mean(paths[..., interval:], starts.from_start(dispersion, interval))]
        for start in starts.starts(paths.shape[-1])[1:]:
            low = max(start, interval)
            path = paths[..., low:] - paths[..., start - 1 : start]
            by_start.append((path / starts.from_start(dispersion, low)).max(axis=0) - np.log(len(paths)))
        return starts.mixed(by_start, interval)

    return finished.of(limit).extended(arms, since)


def log_e_below(events: Ints, requests: Ints, limit: float, dispersion: Floats | float = 1.0) -> Floats:
    """Log e-process, shape (..., intervals), against "the share is at least `limit`"."""
    return _mean(_paths(events, requests, limit, limit * BELOW), dispersion)


def _paths(events: Ints, requests: Ints, limit: float, alternatives: Floats) -> Floats:
    """Log likelihood ratios so far by alternative."""
    quiet = np.maximum(requests - events, 0)
    return np.stack(
        [
            np.cumsum(events * np.log(p / limit) + quiet * (np.log1p(-p) - np.log1p(-limit)), axis=-1)
            for p in alternatives
        ]
    )


def _mean(paths: Floats, dispersion: Floats | float) -> Floats:
    return starts.log_sum(paths / dispersion) - math.log(len(paths))
