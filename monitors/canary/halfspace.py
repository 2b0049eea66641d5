"""The rates nearest to what was seen that keep a linear limit, for many limits at once.

Nearest is least sum of n_g KL(t_g || q_g) over a . q <= c, n_g events of group g and t_g its rate: the likeliest rates
within the limit. With a multiplier l >= 0 each solves a quadratic equation; l is found by halving. The ratio of the
likelihoods of t and of q is an e-value of the limit (arXiv 2203.09785): its expectation is at most 1 whatever rates
within the limit are true, since the logarithm of that expectation is concave and greatest at q.
"""

from __future__ import annotations

import numpy as np

from monitors.canary.arms import Floats

EDGE = 1e-9
"""Rates are kept so far from 0 and 1, where the logarithms end."""
HALVINGS = 34
FARTHEST = 60.0
"""Largest logarithm of a multiplier, in events; beyond it a rate is on the edge."""


def log_e(events: Floats, hits: Floats, rates: Floats, weights: Floats, limit: Floats | float) -> Floats:
    """Log e-value of each case against "the weighted sum of the true rates is at most a limit".

    All but the limit have shape (..., groups); `rates` were learned before these events came. It is 0 where they keep
    the limit, or where a group has no event.
    """
    learned = np.clip(np.broadcast_to(rates, np.shape(events)), EDGE, 1 - EDGE)
    limits = np.broadcast_to(limit, learned.shape[:-1])
    tells = (events > 0).all(axis=-1) & ((learned * weights).sum(axis=-1) > limits)
    logs = np.zeros(learned.shape[:-1])
    t, n, y = learned[tells], np.asarray(events)[tells], np.asarray(hits)[tells]
    q = nearest(n, t, np.broadcast_to(weights, learned.shape)[tells], limits[tells])
    logs[tells] = (y * np.log(t / q) + (n - y) * np.log((1 - t) / (1 - q))).sum(axis=-1)
    return logs


def nearest(events: Floats, rates: Floats, weights: Floats, limit: Floats) -> Floats:
    """Nearest rates on the edge of a limit that these are beyond, shape (..., groups)."""
    scale = np.log(np.maximum(events.sum(axis=-1), 1.0))
    low, high = scale - FARTHEST, scale + FARTHEST / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_beyond = (_at(events, rates, weights, np.exp(middle)) * weights).sum(axis=-1) > limit
        low, high = np.where(is_beyond, middle, low), np.where(is_beyond, high, middle)
    return np.clip(_at(events, rates, weights, np.exp(high)), EDGE, 1 - EDGE)


def _at(events: Floats, rates: Floats, weights: Floats, multiplier: Floats) -> Floats:
    """Rates that a multiplier gives."""
    pull = multiplier[..., None] * weights
    linear, seen = events + pull, events * rates
    root = np.sqrt(np.maximum(linear * linear - 4 * pull * seen, 0.0))
    # Of the two roots this one lies between 0 and 1; written so that nothing cancels, whichever sign the pull has.
    found: Floats = np.where(
        linear > 0, 2 * seen / np.maximum(linear + root, 1e-300), (linear - root) / (2 * _safe(pull))
    )
    return found


def _safe(values: Floats) -> Floats:
    safe: Floats = np.where(values == 0, 1e-300, values)
    return safe
