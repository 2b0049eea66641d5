"""Every time that an alert fired in a month, and whether somebody was told: by routes, mutes, inhibitions, silences.

Prometheus remembers what fired, and knows nothing of who was told. That follows from the platform file's routes at the
time; silences are known as far as Alertmanager keeps them. A firing shorter than `STEP` seconds may be missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from alerts.routing import delivery
from alerts.routing.configuration import Config
from midwatch import alertmanager, promql, upstream
from midwatch.app.report.month import Month
from midwatch.app.report.records import Firing
from midwatch.prometheus import Client

STEP = 30.0
MOST_POINTS = 10_000
"""Prometheus answers 11,000 points of a series at most."""
LABELS = ("alertname", "severity", "owner", "model", "store", "drill", "experiment", "system", "slo", "version")
"""What tells two notifications apart; instances of one alert are told together."""
ABOUT = ("model", "store", "drill", "experiment", "system")


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Labels of what fired, from a time to another."""

    labels: Mapping[str, str]
    start: float
    end: float


def read(client: Client, month: Month) -> list[Stretch]:
    """Everything that fired, in the order of its begin; QueryError without an answer."""
    series = promql.select(upstream.ALERTS, alertstate="firing", severity=promql.matches("..*"))
    expr = promql.max_by(promql.narrowed(series, 'severity!="none"').equals(1), *LABELS)
    points: dict[tuple[tuple[str, str], ...], list[float]] = {}
    start = month.first
    while start <= month.last:
        end = min(month.last, start + STEP * MOST_POINTS)
        for line in client.query_range(expr, start=start, end=end, step=STEP):
            key = tuple(sorted((name, value) for name, value in line.labels.items() if value))
            points.setdefault(key, []).extend(at for at, _ in line.points)
        start = end + STEP
    found = [one for key, times in points.items() for one in _stretches(dict(key), np.array(times))]
    return sorted(found, key=lambda one: (one.start, sorted(one.labels.items())))


def _stretches(labels: Mapping[str, str], times: np.ndarray) -> Iterator[Stretch]:
    for run in np.split(times, np.flatnonzero(np.diff(times) > 2 * STEP) + 1):
        yield Stretch(labels=labels, start=float(run[0]), end=float(run[-1]))


def firings(
    stretches: Sequence[Stretch],
    month: Month,
    config: Config | None,
    silences: Sequence[alertmanager.Silence],
) -> list[Firing]:
    """Each of them as it counts: who was told by the routes of then."""
    return [
        Firing(
            alert=one.labels.get("alertname", ""),
            severity=one.labels.get("severity", ""),
            owner=one.labels.get("owner", ""),
            subject=next((one.labels[name] for name in ABOUT if name in one.labels), ""),
            slo=one.labels.get("slo", ""),
            version=one.labels.get("version", ""),
            start=one.start,
            end=one.end,
            began_before=one.start <= month.first + STEP,
            is_open=one.end >= month.last - 2 * STEP,
            held_by=_held_by(one, stretches, config, silences),
        )
        for one in stretches
    ]


def _held_by(
    one: Stretch, others: Sequence[Stretch], config: Config | None, silences: Sequence[alertmanager.Silence]
) -> str:
    """What kept it from everybody from its begin to its end, as far as routes and silences say."""
    for silence in silences:
        if alertmanager.fits(silence.matchers, one.labels) and _covers(silence, one):
            return f"a silence of {silence.created_by or 'nobody'}"
    if config is None:
        return ""
    for at in (one.start, (one.start + one.end) / 2, one.end):
        then = [other.labels for other in others if other is not one and other.start - STEP <= at <= other.end + STEP]
        ways = delivery.deliveries(config, one.labels, at=datetime.fromtimestamp(at, UTC), firing=then)
        if any(way.is_told for way in ways):
            return ""
    return _why(ways[0]) if ways else "no route"


def _why(way: delivery.Delivery) -> str:
    if way.inhibited_by:
        return f"inhibited by {way.inhibited_by[1].get('alertname', 'another')}"
    if way.muted_by or way.inactive:
        return f"muted: {way.muted_by or ', '.join(way.inactive)}"
    return "its receiver has no integration"


def _covers(silence: alertmanager.Silence, one: Stretch) -> bool:
    """Whether a silence began before and ended after it."""
    return silence.starts_at.timestamp() <= one.start + STEP and silence.ends_at.timestamp() >= one.end - STEP
