"""Sequential test of the share of requests that something happens to, against a fixed limit.

The likelihood ratio of a Bernoulli share, mixed over a grid of alternatives: an e-process for "the share is, given the
past, never above (or never below) the limit in any interval". It says when events are too rare to matter.
"""

from __future__ import annotations

import math

import numpy as np

from monitors.canary import starts
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.running import ALONE, Running

STEPS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
BELOW = np.array([0.6, 0.3, 0.1, 0.02])
"""Alternatives, as multiples of the limit."""


def log_e_above(arms: Arms, limit: float, dispersion: Floats | float = 1.0, running: Running = ALONE) -> Floats:
    """Log e-process, shape (..., intervals), against "the canary's share is at most `limit`".

    It begins anew at later starts.
    """
    alternatives = np.minimum(limit * STEPS, (1 + limit) / 2)
    paths = _paths(arms.canary_events, arms.canary_requests, limit, alternatives, running)
    by_start = [_mean(paths, dispersion)]
    for start in starts.starts(running.offset + paths.shape[-1])[1:]:
        place = max(0, start - running.offset)
        path = paths[..., place:] - _before(paths, start, running)
        by_start.append((path / starts.from_start(dispersion, place)).max(axis=0) - np.log(len(paths)))
    return starts.mixed(by_start, running.offset)


def _before(paths: Floats, start: int, running: Running) -> Floats:
    """What the paths were before a start."""
    place = start - running.offset
    known = running.value(("start", start))
    before: Floats = paths[..., place - 1 : place] if known is None else known
    if running.is_over(start):
        running.keep(("start", start), before.copy())
    return before


def log_e_below(
    events: Ints, requests: Ints, limit: float, dispersion: Floats | float = 1.0, running: Running = ALONE
) -> Floats:
    """Log e-process, shape (..., intervals), against "the share is at least `limit`"."""
    return _mean(_paths(events, requests, limit, limit * BELOW, running), dispersion)


def _paths(events: Ints, requests: Ints, limit: float, alternatives: Floats, running: Running) -> Floats:
    """Log likelihood ratios so far by alternative."""
    quiet = np.maximum(requests - events, 0)
    return np.stack(
        [
            running.sum(place, events * np.log(p / limit) + quiet * (np.log1p(-p) - np.log1p(-limit)))
            for place, p in enumerate(alternatives)
        ]
    )


def _mean(paths: Floats, dispersion: Floats | float) -> Floats:
    return starts.log_sum(paths / dispersion) - math.log(len(paths))
