"""What each look may compare, although the arms' scrapes are out of phase.

Prometheus spreads its scrapes, so an outage that both arms share may show in one arm an interval before it shows in the
other. The arms' sums agree again one scrape later; until then only one order of them is safe. Evidence in which an
arm's events speak for a hypothesis and the other's against it takes the first up to the interval before, the second up
to the newest: then whatever the first has seen, the second has seen too, at any phase.

Arms that are scraped at different intervals are joined first, so that each interval has requests of both or is empty.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.running import ALONE, Running

LONGEST_GAP = 3
"""Intervals without requests of an arm that are joined with the next, as between its scrapes; longer is a pause."""
AHEAD = 1.5
"""How many mean intervals of the newest one's events are believed before the other arm's next scrape."""


def joined(arms: Arms) -> Arms:
    """The arms with each interval that lacks one arm's requests added to the next; what is left over waits."""
    if arms.strata:
        return replace(joined(replace(arms, strata=())), strata=tuple(map(joined, arms.strata)))
    if not ((arms.baseline_requests > 0) ^ (arms.canary_requests > 0)).any():
        return arms
    counts = np.stack([arms.baseline_requests, arms.canary_requests, arms.baseline_events, arms.canary_events])
    waiting = np.zeros(counts.shape[:-1], dtype=np.int64)
    gap = np.zeros(counts.shape[1:-1], dtype=np.int64)
    for at in range(counts.shape[-1]):
        total = counts[..., at] + waiting
        held = ((total[0] > 0) ^ (total[1] > 0)) & (gap < LONGEST_GAP)
        counts[..., at] = np.where(held, 0, total)
        waiting = np.where(held, total, 0)
        gap = np.where(held, gap + 1, 0)
    return Arms(
        baseline_requests=counts[0], canary_requests=counts[1], baseline_events=counts[2], canary_events=counts[3]
    )


def last_present(present: NDArray[np.bool_]) -> Ints:
    """Index of the last interval up to each that is present; -1 before the first."""
    places = np.where(present, np.arange(present.shape[-1]), -1)
    last: Ints = np.maximum.accumulate(places, axis=-1)
    return last


def before(values: Floats, last: Ints) -> Floats:
    """Of running sums, those up to the interval before `last`; 0 where there is none."""
    taken: Floats = np.where(last > 0, np.take_along_axis(values, np.maximum(last - 1, 0), axis=-1), 0.0)
    return taken


def believed(events: Ints, requests: Ints, last: Ints, running: Running = ALONE) -> Floats:
    """Events of the newest present interval that count already: no more than its arm has shown on average before."""
    events_before = before(running.sum("events", events).astype(float), last)
    requests_before = before(running.sum("requests", requests).astype(float), last)
    newest = np.take_along_axis(events, np.maximum(last, 0), axis=-1)
    asked = np.take_along_axis(requests, np.maximum(last, 0), axis=-1)
    mean = np.divide(events_before, requests_before, out=np.zeros(events.shape), where=requests_before > 0)
    some: Floats = np.where(last >= 0, np.minimum(newest, AHEAD * mean * asked), 0.0)
    return some
