"""Follows an alert to its receivers, and says what mutes or inhibits it, with Alertmanager's semantics, in process.

`amtool config routes test` answers for one label set a process, and knows neither time nor inhibition nor grouping
(alertmanager#5167, #3889, #3003).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.routing.configuration import Config, Inhibition, Route

Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One receiver that an alert is routed to; `path` is the routes from the root, the last of which takes it.

    It is told when nothing mutes it: a mute interval that is now (`muted_by`), active intervals none of which is now
    (`inactive`), an inhibition and the alert that is its source (`inhibited_by`), or a receiver without integration.
    `by_machine_zone` are the intervals whose answer depends on the time zone of the machine.
    Seconds between notifications that change nothing are `repeats_every`: Alertmanager rounds repeat_interval up to
    whole group_intervals.
    """

    receiver: str
    path: tuple[Route, ...]
    integrations: tuple[str, ...]
    group: Mapping[str, str]
    repeats_every: float
    muted_by: str | None = None
    inactive: tuple[str, ...] = ()
    inhibited_by: tuple[Inhibition, Labels] | None = None
    by_machine_zone: tuple[str, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether somebody or something is notified."""
        return bool(self.integrations) and not (self.muted_by or self.inactive or self.inhibited_by)


def receivers(config: Config, labels: Labels) -> list[str]:
    """Names of the receivers, in the order of their routes: what amtool answers."""
    return [path[-1].receiver for path in config.route.match(labels)]


def deliveries(
    config: Config, labels: Labels, *, at: datetime | None = None, firing: Sequence[Labels] = ()
) -> list[Delivery]:
    """Follow an alert at a time, while other alerts fire. Without a time, intervals are not looked at."""
    inhibited = inhibited_by(config, labels, firing)
    return [_delivery(config, path, labels, at, inhibited) for path in config.route.match(labels)]


def inhibited_by(config: Config, labels: Labels, firing: Sequence[Labels]) -> tuple[Inhibition, Labels] | None:
    """First inhibition that silences an alert, and the firing alert that does."""
    for inhibition in config.inhibitions:
        for source in firing:
            if dict(source) != dict(labels) and inhibition.inhibits(source, labels):
                return inhibition, source
    return None


def _delivery(
    config: Config,
    path: tuple[Route, ...],
    labels: Labels,
    at: datetime | None,
    inhibited: tuple[Inhibition, Labels] | None,
) -> Delivery:
    last = path[-1]
    muted = next((name for name in last.mute if at and _is_now(config, name, at)), None)
    awake = not last.active or at is None or any(_is_now(config, name, at) for name in last.active)
    keys = sorted(labels) if last.group_by is None else last.group_by
    interval = last.group_interval or 1.0
    return Delivery(
        receiver=last.receiver,
        path=path,
        integrations=config.integrations(last.receiver),
        group={key: labels[key] for key in keys if key in labels},
        repeats_every=math.ceil(last.repeat_interval / interval) * interval,
        muted_by=muted,
        inactive=() if awake or muted else last.active,
        inhibited_by=inhibited,
        by_machine_zone=tuple(name for name in (*last.mute, *last.active) if at and _is_local(config, name)),
    )


def _is_local(config: Config, name: str) -> bool:
    return any(interval.location is None for interval in config.intervals[name])


def _is_now(config: Config, name: str, at: datetime) -> bool:
    return any(interval.contains(at) for interval in config.intervals[name])
