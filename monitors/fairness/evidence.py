"""Evidence that two groups' rates are over a limit, from counts by block of time; it may be looked at after each block.

An e-value of a block compares rates that were learned from *earlier* blocks with the nearest ones that keep the limit:
its expectation is at most 1 whatever rates within the limit are true (Turner, Ly, Grünwald 2024, JSPI 230, for equal
rates; any convex set of rates: arXiv 2203.09785). Products of them pass 1 / alpha with probability at most alpha, ever
(Ville). "Since the beginning" is that product; "lately" is the e-detector of Shin, Ramdas and Rinaldo (2022),
(M + 1) e, whose mean time to a false alarm is at least its threshold, in blocks: a product since the beginning is
nearly deaf to a change that comes late. It forgets: what is over is not lately.

A block has to be whole: how many events it has may depend on what was before, not on how its own events came out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitors.fairness import projection
from monitors.fairness.projection import Floats, Limit

AT_ONCE = 400
"""Pairs whose numbers are computed together: those of more do not stay in a processor's cache."""
Places = NDArray[np.intp]

PRIOR = 0.18
"""Of each side, added to a group's counts when its rate is learned: Turner, Ly and Grünwald's choice."""
FEWEST_STEPS = 1
"""Steps from block to block from which it can be told whether events are alike: as many as the first evidence needs.

Of few steps it is told badly, but the error only takes from what evidence says; not to ask is 22% false alarms within
ten blocks at 5%, of batches of fifty alike.
"""
RECENT_BLOCKS = 40
"""Blocks from which the detector learns the rates, and in which it looks for a change."""


def nats(events: Floats, hits: Floats, pairs: Places, limit: Limit, recent: int | None = None) -> Floats:
    """Logarithm of each block's e-value against a limit, shape (pairs, blocks), from counts of (groups, blocks).

    `pairs` are places of two groups each, shape (pairs, 2). Rates are learned from all blocks before, or from `recent`
    many. A block in which a group has no event says nothing.

    Hits may be sums of values between 0 and 1 instead of counts, and the events' means may differ within a block: t^x
    (1 - t)^(1 - x) is at most what it is on a straight line in x, and the logarithm of a block's expectation is concave
    in the means, so what is said of equal rates of 0 or 1 holds for their mean.
    """
    known, seen = rates(_earlier(events, recent), _earlier(hits, recent)), events > 0
    weight = np.zeros((len(pairs), events.shape[-1]))
    for first in range(0, len(pairs), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        both = seen[pairs[part, 0]] & seen[pairs[part, 1]]
        weight[part] = _weighed(events, hits, known, pairs[part], limit.at(part), both)
    return weight


def _weighed(
    events: Floats, hits: Floats, known: Floats, pairs: Places, limit: Limit, both: NDArray[np.bool_]
) -> Floats:
    """The same of some pairs, by the rates that are `known` before each block, in blocks where `both` have events."""
    says = both & (limit.excess(np.moveaxis(known[pairs], -2, -1)) > 0)
    pair, block = np.nonzero(says)
    where = pairs[pair], block[:, None]
    t, n, y = known[where], events[where], hits[where]
    q = projection.project(n, t, limit.at(says))
    weight = np.zeros(says.shape)
    logs = y * np.log(t / q) + (n - y) * np.log((1 - t) / (1 - q))
    weight[says] = logs[:, 0] + logs[:, 1]
    return weight


def detector(weight: Floats) -> Floats:
    """M = (M + 1) e after the last block, as a logarithm, of blocks' e-values of shape (..., blocks).

    It is the sum, over the blocks where a change may have begun, of the product of e-values since. Only a change within
    the last `RECENT_BLOCKS` counts: the sum is no greater for it, and a gap that was closed since is not told for ever.
    """
    since = np.cumsum(weight[..., : -RECENT_BLOCKS - 1 : -1], axis=-1)
    level: Floats = np.logaddexp.reduce(since, axis=-1)
    return level


def dispersion(events: Floats, hits: Floats) -> Floats:
    """How many times as much rates vary from block to block as those of independent events do; at least 1.

    Counts have shape (..., blocks). Blocks are compared with the next one that has events (von Neumann), so that a slow
    change of the rate is not taken for it. A logarithm of an e-value divided by it is that of one: where events are
    independent the chance of an alarm only falls; where one user's or one batch's come out alike, it is kept down.
    """
    rate = hits.sum(axis=-1) / np.maximum(events.sum(axis=-1), 1.0)
    spread = rate * (1 - rate)
    order = np.argsort(events <= 0, axis=-1, kind="stable")  # blocks with events first, as they follow each other
    n, y = (np.take_along_axis(counts, order, axis=-1) for counts in (events, hits))
    by_block, is_step = y / np.maximum(n, 1.0), n[..., 1:] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.diff(by_block, axis=-1) ** 2 / (1 / n[..., 1:] + 1 / n[..., :-1])
        count = is_step.sum(axis=-1)
        found = np.where(is_step, steps, 0.0).sum(axis=-1) / count / spread
    return np.where((count >= FEWEST_STEPS) & (spread > 0), np.maximum(found, 1.0), 1.0)


def growth(events: Floats, rates: Floats, limit: Limit) -> Floats:
    """Nats that events of the given numbers are expected to add if these are the rates; shapes (..., 2)."""
    nearest = projection.project(events, rates, limit)
    expected: Floats = (events * projection.divergence(rates, nearest)).sum(axis=-1)
    return expected


def rates(events: Floats, hits: Floats) -> Floats:
    """Rates of groups, as evidence learns them."""
    shares: Floats = (hits + PRIOR) / (events + 2 * PRIOR)
    return shares


def _earlier(counts: Floats, recent: int | None) -> Floats:
    """Sum over the blocks before each."""
    before = np.zeros_like(counts)
    np.cumsum(counts[..., :-1], axis=-1, out=before[..., 1:])
    if recent is not None and before.shape[-1] > recent:
        before[..., recent:] -= before[..., :-recent].copy()
    return before
