"""Sequential test of the share of requests that something happens to, against a fixed limit.

The likelihood ratio of a Bernoulli share, mixed over a grid of alternatives: an e-process for "the share is, given the
past, never above (or never below) the limit in any interval". It says when events are too rare to matter.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from monitors.canary.arms import Floats, Ints

STEPS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0])
BELOW = np.array([0.6, 0.3, 0.1, 0.02])
"""Alternatives, as multiples of the limit."""


def log_e_above(events: Ints, requests: Ints, limit: float) -> Floats:
    """Log e-process, shape (..., intervals), against "the share is at most `limit`"."""
    return _mixture(events, requests, limit, np.minimum(limit * STEPS, (1 + limit) / 2))


def log_e_below(events: Ints, requests: Ints, limit: float) -> Floats:
    """Log e-process, shape (..., intervals), against "the share is at least `limit`"."""
    return _mixture(events, requests, limit, limit * BELOW)


def _mixture(events: Ints, requests: Ints, limit: float, alternatives: Floats) -> Floats:
    quiet = np.maximum(requests - events, 0)
    parts = np.stack(
        [
            np.cumsum(events * np.log(p / limit) + quiet * (np.log1p(-p) - np.log1p(-limit)), axis=-1)
            for p in alternatives
        ]
    )
    mixed: Floats = logsumexp(parts, axis=0) - np.log(len(alternatives))
    return mixed
