"""Evidence that two groups' rates are over a limit, from counts by block of time; it may be looked at after each block.

An e-value of a block compares rates that were learned from *earlier* blocks with the nearest ones that keep the limit:
its expectation is at most 1 whatever rates within the limit are true (Turner, Ly, Grünwald 2024, JSPI 230, for equal
rates; any convex set of rates: arXiv 2203.09785). Products of them pass 1 / alpha with probability at most alpha, ever
(Ville). "Since the beginning" is that product; "lately" is the e-detector of Shin, Ramdas and Rinaldo (2022),
(M + 1) e, whose mean time to a false alarm is at least its threshold, in blocks: a product since the beginning is
nearly deaf to a change that comes late.

A block has to be whole: how many events it has may depend on what was before, not on how its own events came out.
"""

from __future__ import annotations

import numpy as np

from monitors.fairness import projection
from monitors.fairness.projection import Floats, Limit

PRIOR = 0.18
"""Of each side, added to a group's counts when its rate is learned: Turner, Ly and Grünwald's choice."""
FEWEST_STEPS = 10
"""Steps from block to block from which it can be told whether events are alike."""
RECENT_BLOCKS = 40
"""Blocks from which the detector learns the rates."""


def nats(events: Floats, hits: Floats, limit: Limit, recent: int | None = None) -> Floats:
    """Logarithm of each block's e-value against a limit, shape (pairs, blocks), from counts of (pairs, 2, blocks).

    Rates are learned from all blocks before, or from `recent` many. A block in which a group has no event says nothing.

    Hits may be sums of values between 0 and 1 instead of counts, and the events' means may differ within a block: t^x
    (1 - t)^(1 - x) is at most what it is on a straight line in x, and the logarithm of a block's expectation is concave
    in the means, so what is said of equal rates of 0 or 1 holds for their mean.
    """
    known = np.moveaxis(_learned(events, hits, recent), -2, -1)
    seen, right = np.moveaxis(events, -2, -1), np.moveaxis(hits, -2, -1)
    says = (seen > 0).all(axis=-1) & (limit.excess(known) > 0)
    weight = np.zeros(says.shape)
    t, n, y = known[says], seen[says], right[says]
    q = projection.project(n, t, limit.at(says))
    weight[says] = (y * np.log(t / q) + (n - y) * np.log((1 - t) / (1 - q))).sum(axis=-1)
    return weight


def detector(weight: Floats) -> Floats:
    """M = (M + 1) e after the last block, as a logarithm, of blocks' e-values of shape (..., blocks)."""
    level = np.full(weight.shape[:-1], -np.inf)
    for block in range(weight.shape[-1]):
        level = np.logaddexp(level, 0.0) + weight[..., block]
    return level


def dispersion(events: Floats, hits: Floats) -> Floats:
    """How many times as much rates vary from block to block as those of independent events do; at least 1.

    Counts have shape (..., blocks). Blocks are compared with the next one that has events (von Neumann), so that a slow
    change of the rate is not taken for it. A logarithm of an e-value divided by it is that of one: where events are
    independent the chance of an alarm only falls; where one user's or one batch's come out alike, it is kept down.
    """
    total = np.maximum(events.sum(axis=-1), 1.0)
    rate = hits.sum(axis=-1) / total
    spread = rate * (1 - rate)
    found = np.ones(rate.shape)
    for place in np.ndindex(rate.shape):
        seen = events[place] > 0
        n, y = events[place][seen], hits[place][seen]
        if n.size > FEWEST_STEPS and spread[place] > 0:
            steps = np.diff(y / n) ** 2 / (1 / n[1:] + 1 / n[:-1])
            found[place] = max(1.0, float(steps.mean()) / spread[place])
    return found


def growth(events: Floats, rates: Floats, limit: Limit) -> Floats:
    """Nats that events of the given numbers are expected to add if these are the rates; shapes (..., 2)."""
    nearest = projection.project(events, rates, limit)
    expected: Floats = (events * projection.divergence(rates, nearest)).sum(axis=-1)
    return expected


def rates(events: Floats, hits: Floats) -> Floats:
    """Rates of groups, as evidence learns them."""
    shares: Floats = (hits + PRIOR) / (events + 2 * PRIOR)
    return shares


def _learned(events: Floats, hits: Floats, recent: int | None) -> Floats:
    return rates(_earlier(events, recent), _earlier(hits, recent))


def _earlier(counts: Floats, recent: int | None) -> Floats:
    """Sum over the blocks before each."""
    before = np.zeros_like(counts)
    np.cumsum(counts[..., :-1], axis=-1, out=before[..., 1:])
    if recent is not None and before.shape[-1] > recent:
        before[..., recent:] -= before[..., :-recent].copy()
    return before
