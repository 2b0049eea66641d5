"""Names of a system's metrics in a version: its own, those that tell another version, those that do not come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midwatch.spec.system_dialect import PARTS, Dialect
from midwatch.spec.systems import SystemFile, SystemMetric, Version


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names of series, each sorted. `lasting` are of metrics that alerts read."""

    own: list[str]
    foreign: list[str]
    lasting: list[str]


def of(described: SystemFile, version: Version) -> Names:
    """Names by what they tell of a system that is thought to be of a version."""
    own = {
        series
        for newest, metric in described.metrics.items()
        for name in metric.names_exposed(newest, version)
        for series in _series(metric, name)
    }
    every = {
        series
        for newest, metric in described.metrics.items()
        for name in metric.every_name(newest)
        for series in _series(metric, name)
    }
    dialect = Dialect(described=described, version=version)
    read = {
        name
        for alert in described.alerts
        if alert.is_in(version)
        for name, metric in dialect.read(alert.expr).items()
        if metric.is_in(version) and not (metric.born_at_one or metric.vanishes or metric.spellings)
    }
    lasting = {_series(described.metrics[name], described.metrics[name].name_in(name, version))[0] for name in read}
    return Names(own=sorted(own), foreign=sorted(every - own), lasting=sorted(lasting))


def _series(metric: SystemMetric, name: str) -> list[str]:
    """Names of a metric's series; of one in parts the count comes first, which every client writes."""
    return sorted(
        (name + suffix for suffix in PARTS.get(metric.kind, ("",))), key=lambda one: not one.endswith("_count")
    )


def versions_of(described: SystemFile, exposed: set[str], versions: Sequence[Version]) -> list[Version]:
    """Versions whose names explain best what is exposed: fewest that they lack, then most that their rules read."""
    scores = {
        version: (-len(exposed & set(of(described, version).foreign)), len(exposed & _read_in(described, version)))
        for version in versions
    }
    best = max(scores.values())
    return [version for version in versions if scores[version] == best]


def _read_in(described: SystemFile, version: Version) -> set[str]:
    """Names that a version's rules would read, of all metrics."""
    return {
        series
        for newest, metric in described.metrics.items()
        if metric.is_in(version)
        for name in metric.names_in(newest, version)
        for series in _series(metric, name)
    }
