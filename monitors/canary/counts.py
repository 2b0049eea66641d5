"""What a verdict is made from: counts of both arms by interval, and samples of gauges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from monitors.canary.arms import Arms, Ints


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Why the data cannot carry a verdict; one that is `fatal` forbids a fail too, any forbids a pass."""

    text: str
    fatal: bool = False


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Predictions whose labels a criterion counts, by interval: those that have a label, and all of them."""

    baseline: Ints
    baseline_of: Ints
    canary: Ints
    canary_of: Ints

    def since(self, index: int) -> Labelled:
        """The same without the counts before an interval."""
        return Labelled(**{one.name: _without(getattr(self, one.name), index) for one in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Predictions without a label by interval: those that could be events, and those that could be other requests.

    A prediction of which nothing is known, such as a positive one of unknown precision, is counted as both.
    """

    baseline_events: Ints
    baseline_others: Ints
    canary_events: Ints
    canary_others: Ints

    def since(self, index: int) -> Missing:
        """The same without the counts before an interval."""
        return Missing(**{one.name: _without(getattr(self, one.name), index) for one in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Counts of one criterion: events by channel, shape (channels, intervals), and requests, shape (intervals).

    A channel is a boundary of a histogram, a class, or the criterion itself. Counts of an interval speak of predictions
    that were made `lag` intervals before; `waiting` says what is still to come. `labels` are None where they are not
    known, or do not matter. `strata` are parts by name, with the same channels, that are compared with their like.
    `groups` are the groups whose rates are compared with each other on both arms; with what is `missing` where it takes
    a label to know a rate.
    """

    channels: tuple[str, ...]
    baseline_events: Ints
    canary_events: Ints
    baseline_requests: Ints
    canary_requests: Ints
    doubts: tuple[Doubt, ...] = ()
    labels: Labelled | None = None
    strata: Mapping[str, Counted] = field(default_factory=dict)
    groups: Mapping[str, Counted] = field(default_factory=dict)
    missing: Missing | None = None
    lag: int = 0
    waiting: str = ""

    def since(self, index: int) -> Counted:
        """The same without the counts of predictions made before an interval."""
        return self._from(index + self.lag)

    def _from(self, first: int) -> Counted:
        return replace(
            self,
            strata={name: one._from(first) for name, one in self.strata.items()},
            groups={name: one._from(first) for name, one in self.groups.items()},
            missing=self.missing and self.missing.since(first),
            baseline_events=_without(self.baseline_events, first),
            canary_events=_without(self.canary_events, first),
            baseline_requests=_without(self.baseline_requests, first),
            canary_requests=_without(self.canary_requests, first),
            labels=self.labels and self.labels.since(first),
        )

    def arms(self, channel: int | None = None) -> Arms:
        """Arms of all channels, shape (channels, intervals), or of one, shape (intervals)."""
        which: Any = slice(None) if channel is None else channel
        baseline, canary = self.baseline_events[which], self.canary_events[which]
        return Arms(
            baseline_events=baseline,
            canary_events=canary,
            baseline_requests=np.broadcast_to(self.baseline_requests, baseline.shape),
            canary_requests=np.broadcast_to(self.canary_requests, canary.shape),
            strata=tuple(one.arms(channel) for one in self.strata.values()),
        )


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of a gauge within its window, NaN where one is missing; `complete` when the window is over."""

    baseline: tuple[float, ...]
    canary: tuple[float, ...]
    complete: bool = True
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Everything a verdict is a function of, beside the settings.

    Interval i covers (start + i interval, start + (i + 1) interval], in seconds since the epoch. The requests are those
    of each arm by interval.
    """

    model: str
    baseline: str
    canary: str
    start: float
    interval: float
    baseline_requests: Ints
    canary_requests: Ints
    counted: Mapping[str, Counted] = field(default_factory=dict)
    gauges: Mapping[str, Samples] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()

    @property
    def end(self) -> float:
        """End of the last interval."""
        return self.start + self.interval * self.baseline_requests.size

    def since(self, index: int) -> Counts:
        """The same without the counts of the intervals before one."""
        return replace(self, counted={name: one.since(index) for name, one in self.counted.items()})


def _without(counts: Ints, before: int) -> Ints:
    kept = counts.copy()
    kept[..., :before] = 0
    return kept
