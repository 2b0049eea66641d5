"""Parts of the traffic that are compared each with its like, as a label of the counters tells them apart.

Where a version gets more of the difficult traffic than the other, totals blame it for that (Simpson 1951). Within each
stratum the mix is the same: the likelihood ratios of strata add up, and the estimate is the ratio that all have in
common, as that of Mantel and Haenszel (J. Natl. Cancer Inst. 22, 1959) is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from midwatch.spec import canary as spec
from monitors.canary.arms import Ints
from monitors.canary.counts import Counted
from monitors.canary.increments import Increments
from monitors.canary.oddities import Oddities
from monitors.canary.tally import Sides

Tallied = Callable[[Sequence[Sides], Oddities], Counted | None]
"""How a criterion counts the sides of its selectors."""


def compared(
    whole: Counted, sides: Sequence[Sides], tallied: Tallied, settings: spec.Canary, notes: list[str]
) -> Counted:
    """The counts with their strata; without them, and with a note, where there are none or too many."""
    if settings.strata is None:
        return whole
    values = sorted({dict(labels).get(settings.strata, "") for arm in sides[0] for labels in arm.by_series})
    if values == [""]:
        notes.append(f"{sides[0].selector} has no label {settings.strata}: compared by the sum")
        return whole
    if len(values) > settings.max_strata:
        told = f"{len(values)} values of {settings.strata}, of which max_strata allows {settings.max_strata}"
        notes.append(f"{sides[0].selector} has {told}: compared by the sum")
        return whole
    parts = {value: tallied([_part(one, settings.strata, value) for one in sides], Oddities()) for value in values}
    return replace(whole, strata={name: _like(whole, part) for name, part in parts.items() if part is not None})


def _part(sides: Sides, label: str, value: str) -> Sides:
    return Sides(sides.selector, _only(sides.baseline, label, value), _only(sides.canary, label, value))


def _only(arm: Increments, label: str, value: str) -> Increments:
    kept = {labels: row for labels, row in arm.by_series.items() if dict(labels).get(label, "") == value}
    return Increments(axis=arm.axis, by_series=kept)


def _like(whole: Counted, part: Counted) -> Counted:
    """A stratum's counts with the channels of the whole; one that it lacks has no event there."""

    def events(counts: Ints) -> Ints:
        rows = dict(zip(part.channels, counts, strict=True))
        return np.array([rows.get(channel, np.zeros(counts.shape[-1], dtype=np.int64)) for channel in whole.channels])

    return replace(
        part,
        channels=whole.channels,
        baseline_events=events(part.baseline_events),
        canary_events=events(part.canary_events),
        labels=None,
    )
