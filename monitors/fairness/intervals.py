"""Intervals of a rate, and of the difference and ratio of two, that hold at every look at once.

The set of rates p at which the prior-posterior ratio is below 1 / alpha is a confidence sequence (Waudby-Smith, Ramdas
2020): B(1/2 + y, 1/2 + n - y) / B(1/2, 1/2) / (p^y (1 - p)^(n - y)). For two rates the product of both ratios is below
1 / alpha, one budget for the pair, which is narrower than two intervals of half the budget each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln

from monitors.fairness import projection
from monitors.fairness.projection import EDGE, Difference, Floats, Limit, Ratio

Interval = tuple[float, float]

HALVINGS = 50
FARTHEST_RATIO = 1e6
"""Ratios beyond are said to be 0 or infinite."""


def rate(events: Floats, hits: Floats, alpha: float | Floats) -> Floats:
    """Interval of each rate: (..., 2) from counts of shape (...)."""
    seen, room = _share(events, hits), np.log(1 / alpha) - _complexity(events, hits)

    def is_inside(value: Floats) -> NDArray[np.bool_]:
        return np.asarray(events * projection.divergence(seen, value) < room)

    return np.stack([_end(is_inside, seen, np.full_like(seen, edge)) for edge in (0.0, 1.0)], axis=-1)


def difference(events: Floats, hits: Floats, alpha: float | Floats) -> Floats:
    """Interval of the first rate minus the second: (..., 2) from counts of shape (..., 2)."""
    seen = _share(events, hits)
    is_inside = _not_excluded(events, hits, alpha, Difference)
    centre = seen[..., 0] - seen[..., 1]
    ends = [_end(is_inside, centre, np.full_like(centre, edge)) for edge in (EDGE - 1, 1 - EDGE)]
    return np.stack(ends, axis=-1)


def ratio(events: Floats, hits: Floats, alpha: float | Floats) -> Floats:
    """Interval of the second rate over the first."""
    seen = _share(events, hits)
    is_inside = _not_excluded(events, hits, alpha, lambda value: Ratio(np.exp(value)))
    centre = np.log(seen[..., 1] / seen[..., 0])
    far = np.log(FARTHEST_RATIO)
    low, high = (_end(is_inside, np.clip(centre, -far, far), np.full_like(centre, edge)) for edge in (-far, far))
    return np.stack([np.where(low <= -far, 0.0, np.exp(low)), np.where(high >= far, np.inf, np.exp(high))], axis=-1)


Inside = Callable[[Floats], NDArray[np.bool_]]


def _not_excluded(events: Floats, hits: Floats, alpha: float | Floats, limit: Callable[[Floats], Limit]) -> Inside:
    """Whether some pair of rates on the edge of a limit is in the set."""
    seen = _share(events, hits)
    room = np.log(1 / alpha) - _complexity(events, hits).sum(axis=-1)

    def is_inside(value: Floats) -> NDArray[np.bool_]:
        nearest = limit(value).edge(events, seen)
        return np.asarray((events * projection.divergence(seen, nearest)).sum(axis=-1) < room)

    return is_inside


def _end(is_inside: Inside, centre: Floats, edge: Floats) -> Floats:
    """Where a set that holds `centre` ends on the way to `edge`."""
    low, high = centre.copy(), edge.copy()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        kept = is_inside(middle)
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    return high


def _complexity(events: Floats, hits: Floats) -> Floats:
    """Logarithm of the prior's average likelihood over the greatest one: never positive."""
    seen = _share(events, hits)
    greatest = hits * np.log(seen) + (events - hits) * np.log(1 - seen)
    return np.asarray(betaln(0.5 + hits, 0.5 + events - hits) - betaln(0.5, 0.5) - greatest)


def _share(events: Floats, hits: Floats) -> Floats:
    shares: Floats = np.clip(hits / np.maximum(events, 1), EDGE, 1 - EDGE)
    return shares
