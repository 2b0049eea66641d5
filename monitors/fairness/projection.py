"""The rates of two groups that are nearest to what was seen and still keep a limit, for many pairs at once.

Nearest is least sum of n_g KL(t_g || q_g), n_g events of group g and t_g its rate: the likeliest rates within the
limit. On the edge of a difference they solve a cubic equation, on that of a ratio a quadratic one (Miettinen, Nurminen
1985, appendix; Farrington, Manning 1990).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Chosen = NDArray[np.bool_] | slice
"""Some of many pairs."""

EDGE = 1e-12
"""Rates are kept so far from 0 and 1, where the logarithms end."""


class Limit(Protocol):
    """A set of pairs of rates, shape (..., 2)."""

    def excess(self, rates: Floats) -> Floats:
        """By how much they are over the limit; at most 0 within it."""

    def edge(self, events: Floats, rates: Floats) -> Floats:
        """The nearest pair on the edge of the limit."""

    def at(self, chosen: Chosen) -> Limit:
        """The limit of some pairs, where it differs by pair."""


@dataclass(frozen=True)
class Difference:
    """Pairs of rates whose first is at most `most` above the second; between -1 and 1, and it may differ by pair.

    The other side, `reverse`, has those whose first is at least so far above.
    """

    most: float | Floats
    reverse: bool = False

    def at(self, chosen: Chosen) -> Difference:
        """The limit of some pairs."""
        return replace(self, most=_chosen(self.most, chosen))

    def shifted(self, by: Floats) -> Difference:
        """The limit of rates of which the first is `by` higher for a reason that is no difference of the groups."""
        return replace(self, most=np.clip(self.most + by, EDGE - 1, 1 - EDGE))

    def excess(self, rates: Floats) -> Floats:
        """First minus second minus `most`, or the negative of it."""
        over: Floats = rates[..., 0] - rates[..., 1] - self.most
        return -over if self.reverse else over

    def edge(self, events: Floats, rates: Floats) -> Floats:
        """The root of the cubic equation of the second rate that leaves both between 0 and 1."""
        share = events[..., 1] / events.sum(axis=-1)
        gap, own = self.most, share * rates[..., 1]
        mean = (1 - share) * rates[..., 0] + own
        cubic = (gap * (1 + share) - 1 - mean, gap * gap * share - gap * (1 + 2 * own) + mean, gap * (1 - gap) * own)
        second = np.clip(_middle_root(*cubic), np.maximum(0.0, -gap) + EDGE, np.minimum(1.0, 1 - gap) - EDGE)
        return np.stack([second + gap, second], axis=-1)


@dataclass(frozen=True)
class Ratio:
    """Pairs of rates whose first, times `factor`, is at most the second; `factor` may differ by pair.

    The other side, `reverse`, has those whose first, times `factor`, is at least the second.
    """

    factor: float | Floats
    reverse: bool = False

    def at(self, chosen: Chosen) -> Ratio:
        """The limit of some pairs."""
        return replace(self, factor=_chosen(self.factor, chosen))

    def excess(self, rates: Floats) -> Floats:
        """First times factor minus second, or the negative of it."""
        over: Floats = self.factor * rates[..., 0] - rates[..., 1]
        return -over if self.reverse else over

    def edge(self, events: Floats, rates: Floats) -> Floats:
        """The smaller root of the quadratic equation of the first rate."""
        share = events[..., 1] / events.sum(axis=-1)
        own = share * rates[..., 1]
        mean = (1 - share) * rates[..., 0] + own
        linear = self.factor * (share + (1 - share) * rates[..., 0]) + (1 - share) + own
        root = np.sqrt(np.maximum(linear * linear - 4 * self.factor * mean, 0.0))
        first = 2 * mean / (linear + root)
        return np.stack([first, self.factor * first], axis=-1)


def project(events: Floats, rates: Floats, limit: Limit) -> Floats:
    """Nearest rates within a limit, shape (..., 2): the rates themselves where they keep it."""
    near = np.clip(rates, EDGE, 1 - EDGE)
    is_over = limit.excess(near) > 0
    nearest: Floats = np.where(is_over[..., None], limit.edge(events, near), near)
    return np.clip(nearest, EDGE, 1 - EDGE)


def divergence(rates: Floats, other: Floats) -> Floats:
    """KL(Bernoulli(rates) || Bernoulli(other)), in nats."""
    p, q = np.clip(rates, EDGE, 1 - EDGE), np.clip(other, EDGE, 1 - EDGE)
    nats: Floats = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return np.maximum(nats, 0.0)


def _chosen(value: float | Floats, chosen: Chosen) -> float | Floats:
    return value[chosen] if isinstance(value, np.ndarray) and value.ndim else value


def _middle_root(square: Floats, linear: Floats, constant: Floats) -> Floats:
    """Middle one of the three real roots of x^3 + square x^2 + linear x + constant, by its angle."""
    third = square / 3
    twist = third**3 - linear * square / 6 + constant / 2
    reach = np.copysign(np.sqrt(np.maximum(third * third - linear / 3, 1e-300)), twist)
    angle = (np.pi + np.arccos(np.clip(twist / reach**3, -1.0, 1.0))) / 3
    root: Floats = 2 * reach * np.cos(angle) - third
    return root
