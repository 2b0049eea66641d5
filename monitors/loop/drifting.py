"""Which versions of a model drift now, as their judges publish it: of several, each judges a part of the traffic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from midwatch import metrics, promql
from midwatch.metrics import Metric
from midwatch.prometheus import Client, Sample


@dataclass(frozen=True, kw_only=True)
class Drifting:
    """Drift of a version that holds: it began in the window from `onset` to `detected`, the earliest of any judge."""

    version: str
    onset: float
    detected: float
    windows: int
    features: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drifts:
    """Drift that holds, the earliest first, and the versions of which every judge says that none does."""

    holding: tuple[Drifting, ...]
    calm: frozenset[str]


def ask(client: Client, model: str) -> Drifts:
    """What the judges of a model say. QueryError when Prometheus does not answer."""

    def series(metric: Metric) -> list[Sample]:
        return client.query(promql.select(metric, model=model))

    holds = series(metrics.DRIFT_EPISODE)
    versions = {one.labels["version"] for one in holds if one.value > 0}
    calm = {one.labels["version"] for one in holds} - versions
    if not versions:
        return Drifts(holding=(), calm=frozenset(calm))
    onsets, ends, windows, votes = map(
        series,
        (
            metrics.DRIFT_EPISODE_ONSET,
            metrics.DRIFT_EPISODE_DETECTED,
            metrics.DRIFT_EPISODE_WINDOWS,
            metrics.DRIFT_VOTE,
        ),
    )
    holding = [
        Drifting(
            version=version,
            onset=min(_values(onsets, version)),
            detected=min(_values(ends, version)),
            windows=int(max(_values(windows, version), default=0.0)),
            features=tuple(sorted({one.labels["feature"] for one in votes if _votes(one, version)})),
        )
        for version in versions
        if _values(onsets, version) and _values(ends, version)  # a scrape between two of its gauges comes again
    ]
    return Drifts(holding=tuple(sorted(holding, key=lambda one: (one.detected, one.version))), calm=frozenset(calm))


def _values(samples: Iterable[Sample], version: str) -> list[float]:
    return [one.value for one in samples if one.labels["version"] == version]


def _votes(sample: Sample, version: str) -> bool:
    return sample.labels["version"] == version and sample.value > 0
