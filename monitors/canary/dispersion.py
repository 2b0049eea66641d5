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
from monitors.canary.running import ALONE, Running

PRIOR = 4.0
"""Differences that a dispersion of 1 is believed for: the first few intervals cannot tell it from chance."""
LARGEST_DIFFERENCE = 200.0
"""One step of an arm, such as a crash, is no dispersion; a difference counts for at most so many independent ones."""
OUTAGE = 5.0
"""Times its mean share of events from which an arm is taken to have an outage."""
MANY = 10
"""Events of an interval from which it may be an outage, and not one request that was tried again and again."""
DOUBT = 0.7
"""Standard deviations of the estimate that chance alone may give."""
EARLY = 8.0
"""By how much more an early excess is believed, divided by the differences to the power of 1.5."""
RARE = 0.5
"""Share of intervals without an event from which events are rare, and their clusters show by themselves."""
MARGIN = 12.0
"""What is added to the dispersion before a pass, divided by the differences to the power of 1.5: after 8, 0.5."""
SAFE = 0.5
"""Standard deviations of the estimate by which clusters may be larger before a pass: large ones are few, and early."""
STATED = 1.5
"""Dispersion from which a verdict says that its evidence was weighed down."""


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """What tells the dispersion at each look, shape (..., intervals), of arms that are joined.

    `excess` is what differences between intervals tell beyond 1, `told` how many they are, `empty` what empty
    intervals tell of rare events.
    """

    excess: Floats
    told: Floats
    empty: Floats

    @classmethod
    def of(cls, arms: Arms, running: Running = ALONE) -> Dispersion:
        """Of both arms together."""
        excess, told = _excess(arms, running)
        return cls(excess=excess, told=told, empty=_from_empty(arms, running.of("empty")))

    def estimate(self) -> Floats:
        """Dispersion as each look knows it, at least 1."""
        chance = DOUBT * np.sqrt(3 / self.told)
        believed = _beyond(self.excess, chance) * (1 + EARLY / self.told**1.5)
        estimated: Floats = 1 + np.maximum(believed, _beyond(self.empty, DOUBT))
        return estimated

    def at_most(self) -> Floats:
        """The same with a margin for what few differences cannot tell: a canary is not passed before they can."""
        spread = np.sqrt(3 / self.told)
        believed = np.maximum(_beyond(self.excess, DOUBT * spread), self.empty)
        largest: Floats = (1 + believed * (1 + SAFE * spread)) * (1 + MARGIN / self.told**1.5)
        return largest


def estimate(arms: Arms) -> Floats:
    """Dispersion as each look knows it, shape (..., intervals), at least 1; of arms that are joined."""
    return Dispersion.of(arms).estimate()


def _beyond(excess: Floats, chance: Floats | float) -> Floats:
    """An excess, of which what chance alone may give is believed less."""
    return _divided(excess**2, excess + chance)


def _excess(arms: Arms, running: Running) -> tuple[Floats, Floats]:
    """Estimated dispersion beyond 1, and how many differences tell it."""
    differences, told = _sums(arms, running.of("differences"))
    own = (differences + PRIOR) / (told + PRIOR)
    return np.maximum(0.0, np.minimum(own, _between(arms, running.of("between"))) - 1), np.maximum(told, 1.0)


def _between(arms: Arms, running: Running) -> Floats:
    """Upper bound of the dispersion between the arms, given the events of both: what they share leaves no trace in it.

    Pearson's statistic of the canary's events, for the ratio so far, and two standard deviations; few events of the
    canary tell little, and then the bound is wide.
    """
    canary, both = arms.told()
    share, present = arms.share(), arms.both()
    counts = (canary, both - canary, arms.canary_requests, arms.baseline_requests)
    sums = [running.sum(place, np.where(present, one, 0)) for place, one in enumerate(counts)]
    ratio = _divided(sums[0] * sums[3], np.maximum(sums[1], 1) * sums[2])
    expected = _divided(share * ratio, 1 - share + share * ratio)
    variance = both * expected * (1 - expected)
    squared = running.sum("squared", _divided((canary - both * expected) ** 2, variance))
    told = running.sum("told", variance > 0)
    often = _mean_events(canary, present, running.of("often"))
    effective = np.maximum(told * _divided(often, often + 1), 1e-9)
    upper: Floats = np.where(told > 0, (squared + PRIOR) / (told + PRIOR) * (1 + 2 * np.sqrt(2 / effective)), np.inf)
    return upper


def _from_empty(arms: Arms, running: Running) -> Floats:
    """The same of rare events, told by the empty intervals: clusters leave more of them; 0 where they are few."""
    present = arms.both()
    intervals = running.sum("intervals", present)
    found = np.zeros(present.shape)
    for side, events in enumerate((arms.baseline_events, arms.canary_events)):
        empty = _divided(running.sum(("empty", side), present & (events == 0)), intervals)
        told = (empty >= RARE) & (empty < 1)
        clusters = -np.log(np.where(told, empty, 0.5))
        mean = _divided(running.sum(("events", side), np.where(present, events, 0)), intervals)
        found = np.maximum(found, np.where(told, mean / clusters - 1, 0.0))
    return found


def _sums(arms: Arms, running: Running) -> tuple[Floats, Floats]:
    """Differences so far, in units of independent events', and how many they are."""
    present = arms.both()
    earlier = np.roll(alignment.last_present(present), 1, axis=-1)
    earlier[..., 0] = -1
    sides = [(arms.baseline_events, arms.baseline_requests), (arms.canary_events, arms.canary_requests)]
    outages = [_has_outage(*counts, running.of("outages", side)) for side, counts in enumerate(sides)]
    kept = ~(outages[0] & outages[1])
    pairs = present & kept & (earlier >= 0) & np.take_along_axis(kept, np.maximum(earlier, 0), axis=-1)
    total, told = np.zeros(kept.shape), np.zeros(kept.shape)
    often = [_mean_events(events, present & kept, running.of("often", side)) for side, (events, _) in enumerate(sides)]
    weights = [_divided(one, one + 1) for one in often]
    counted, largest = running.sum("pairs", pairs), np.maximum(*weights)
    for side, ((events, requests), weight) in enumerate(zip(sides, weights, strict=True)):
        relative = np.where(largest > 0, _divided(weight, largest), 1.0)
        total += relative * _differences(events, requests, earlier, pairs, kept, running.of(side))
        told += relative * counted
    return total, told


def _mean_events(events: Ints, kept: NDArray[np.bool_], running: Running) -> Floats:
    """Mean events of an interval so far: clusters are told by an arm that has some."""
    return _divided(running.sum("events", np.where(kept, events, 0)), running.sum("kept", kept))


def _differences(
    events: Ints,
    requests: Ints,
    earlier: Ints,
    pairs: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    running: Running,
) -> Floats:
    """Sum so far of an arm's squared differences in units of those of independent events."""
    share = _divided(events, requests)
    mean = _divided(
        running.sum("events", np.where(kept, events, 0)), running.sum("requests", np.where(kept, requests, 0))
    )
    index = np.maximum(earlier, 0)
    parts = _divided(np.ones(requests.shape), requests)
    squared = _divided(
        (share - np.take_along_axis(share, index, axis=-1)) ** 2, parts + np.take_along_axis(parts, index, axis=-1)
    )
    variance = mean * (1 - mean)
    summed = running.sum("squared", np.where(pairs, np.minimum(squared, LARGEST_DIFFERENCE * variance), 0.0))
    return _divided(summed, variance)


def _has_outage(events: Ints, requests: Ints, running: Running) -> NDArray[np.bool_]:
    """Whether an arm has an outage in an interval or one beside it."""
    mean = _divided(running.sum("events", events), running.sum("requests", requests))
    here = running.as_it_was("here", (_divided(events, requests) > OUTAGE * mean) & (events >= MANY))
    return here | _shifted(here, 1) | _shifted(here, -1)


def _divided(above: Any, below: Any) -> Floats:
    divided: Floats = np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
    return divided


def _shifted(seen: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """What was seen in the interval before (1) or is in the next (-1)."""
    moved = np.roll(seen, by, axis=-1)
    moved[..., 0 if by > 0 else -1] = False
    return moved
