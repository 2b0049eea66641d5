"""How far events come in clusters: retries, batches and bursts make fewer independent events than are counted.

A request that fails and is tried k times makes k events of one cause, and their variance is k times that of independent
ones. Evidence from such counts is divided by that dispersion, which for clusters of one size makes it the evidence of
the clusters themselves (a quasi-likelihood; Wedderburn, Biometrika 61, 1974).

Both arms give the dispersion, from differences between neighbouring intervals: what changes slowly leaves no trace in
them (von Neumann, "Distribution of the ratio of the mean square successive difference to the variance", 1941). What
strikes both arms within an interval of each other is shared and says nothing of clusters, so it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.canary import alignment
from monitors.canary.arms import Arms, Floats, Ints

PRIOR = 6.0
"""Differences that a dispersion of 1 is believed for: the first few intervals cannot tell it from chance."""
LARGEST_DIFFERENCE = 60.0
"""One step of an arm, such as a crash, is no dispersion; a difference counts for at most so many independent ones."""
OUTAGE = 5.0
"""Times its mean share of events from which an arm is taken to have an outage."""
STATED = 1.5
"""Dispersion from which a verdict says that its evidence was weighed down."""


def estimate(arms: Arms) -> Floats:
    """Dispersion as each look knows it, shape (..., intervals), at least 1; of arms that are joined."""
    present = arms.both()
    sides = [_Side.of(arms.baseline_events, arms.baseline_requests, present)]
    sides.append(_Side.of(arms.canary_events, arms.canary_requests, present))
    shared = sides[0].outage() & sides[1].outage()
    kept = ~(shared | _shifted(shared, 1))
    total = sum(np.cumsum(np.where(kept, side.differences, 0.0), axis=-1) for side in sides)
    told = sum(np.cumsum(kept & side.is_told, axis=-1) for side in sides)
    estimated: Floats = np.maximum(1.0, (total + PRIOR) / (told + PRIOR))
    return estimated


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One arm: its share of events, their mean so far, and squared differences in units of independent events'."""

    share: Floats
    mean: Floats
    differences: Floats
    is_told: NDArray[np.bool_]

    @classmethod
    def of(cls, events: Ints, requests: Ints, present: NDArray[np.bool_]) -> _Side:
        share, mean = _divided(events, requests), _divided(np.cumsum(events, axis=-1), np.cumsum(requests, axis=-1))
        last = alignment.last_present(present)
        earlier = np.roll(last, 1, axis=-1)
        earlier[..., 0] = -1
        index = np.maximum(earlier, 0)
        variance = _divided(np.ones(requests.shape), requests)
        variance = (variance + np.take_along_axis(variance, index, axis=-1)) * mean * (1 - mean)
        is_told = present & (earlier >= 0) & (variance > 0)
        squared = np.where(is_told, (share - np.take_along_axis(share, index, axis=-1)) ** 2, 0.0)
        differences = np.minimum(_divided(squared, variance), LARGEST_DIFFERENCE)
        return cls(share=share, mean=mean, differences=differences, is_told=is_told)

    def outage(self) -> NDArray[np.bool_]:
        """Whether there is an outage in an interval or one beside it."""
        here = (self.share > OUTAGE * self.mean) & (self.mean > 0)
        return here | _shifted(here, 1) | _shifted(here, -1)


def _divided(above: Any, below: Any) -> Floats:
    divided: Floats = np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
    return divided


def _shifted(seen: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """What was seen in the interval before (1) or is in the next (-1)."""
    moved = np.roll(seen, by, axis=-1)
    moved[..., 0 if by > 0 else -1] = False
    return moved
