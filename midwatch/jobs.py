"""The scrape jobs of a platform: which exist, what they are called, where their targets are. One list for everybody.

Rules name these jobs in `up{job=...}`; Prometheus' own configuration and the cluster's objects are made from the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from midwatch.spec import model as spec

EXPORTER = "midwatch-exporter"
GATE = "midwatch-gate"
RECOVERY = "midwatch-recovery"
RESULTS = "midwatch-results"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A scrape job; `targets` are HOST:PORT."""

    name: str
    targets: tuple[str, ...]
    path: str = "/metrics"


def of_platform(platform: spec.Platform) -> list[Job]:
    """Jobs of the platform file, the exporter's and the gate's first, the others by name."""
    return ordered(_jobs(platform))


def ordered(jobs: Iterator[Job] | list[Job]) -> list[Job]:
    """Jobs as they are written: the exporter's and the gate's first, the others by name."""
    first = (EXPORTER, GATE)
    return sorted(jobs, key=lambda job: (first.index(job.name) if job.name in first else len(first), job.name))


def _jobs(platform: spec.Platform) -> Iterator[Job]:
    yield Job(name=EXPORTER, targets=tuple(platform.exporter.targets) or (platform.exporter.listen,))
    if any(model.canary for model in platform.models):
        yield Job(name=GATE, targets=(platform.gate.listen,))
    yield from of_itself(address(platform.prometheus.url), address(platform.alertmanager.url))
    if platform.disaster_recovery:
        yield Job(name=RECOVERY, targets=(platform.disaster_recovery.listen,))


def of_itself(prometheus: str, alertmanager: str) -> list[Job]:
    """Jobs that watch the watch: whether rules are evaluated and people can be told."""
    return [Job(name=PROMETHEUS, targets=(prometheus,)), Job(name=ALERTMANAGER, targets=(alertmanager,))]


def address(url: str) -> str:
    """HOST:PORT of an address."""
    return url.partition("://")[2].rstrip("/")
