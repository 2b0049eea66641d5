"""The scrape jobs of a platform: which exist, what they are called, where their targets are. One list for everybody.

Rules name these jobs in `up{job=...}`; Prometheus' own configuration and the cluster's objects are made from the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from midwatch import scrape_size
from midwatch.spec import system_rules
from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform
from midwatch.spec.prometheus_auth import Auth

EXPORTER = "midwatch-exporter"
GATE = "midwatch-gate"
RECOVERY = "midwatch-recovery"
RESULTS = "midwatch-results"
SYSTEMS = "midwatch-systems"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A scrape job; `targets` are HOST:PORT, `params` the query's; the files hold a bearer token and a CA.

    `auth` is what Prometheus itself asks for, instead of those files. `timeout` is
    seconds that a scrape may take, where the usual ones may be too few.
    """

    name: str
    targets: tuple[str, ...]
    path: str = "/metrics"
    params: tuple[tuple[str, tuple[str, ...]], ...] = ()
    https: bool = False
    token_file: Path | None = None
    ca_file: Path | None = None
    honor_labels: bool = False
    auth: Auth | None = None
    timeout: float | None = None


def of_platform(platform: Platform) -> list[Job]:
    """Jobs of the platform file, the exporter's and the gate's first, the others by name."""
    return ordered(_jobs(platform))


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Scrape jobs of one's own have names of their own."""
    taken = {job.name for job in of_platform(platform)}
    for index, written in enumerate(platform.prometheus.scrapes):
        name = written["job_name"]
        if name in taken:
            place: Place = ("prometheus", "scrapes", index, "job_name")
            yield place, f"a second job {name!r}", "give each its own name; Midwatch writes jobs of its own"
        taken.add(name)


def ordered(jobs: Iterator[Job] | list[Job]) -> list[Job]:
    """Jobs as they are written: the exporter's and the gate's first, the others by name."""
    first = (EXPORTER, GATE)
    return sorted(jobs, key=lambda job: (first.index(job.name) if job.name in first else len(first), job.name))


def _jobs(platform: Platform) -> Iterator[Job]:
    exporters = tuple(platform.exporter.targets) or (platform.exporter.listen,)
    yield Job(name=EXPORTER, targets=exporters, timeout=scrape_size.timeout(platform))
    if any(model.canary for model in platform.models):
        yield Job(name=GATE, targets=(platform.gate.listen,))
    yield from of_itself(platform.prometheus.url, platform.alertmanager.url, platform.prometheus.auth)
    if platform.disaster_recovery:
        yield Job(name=RECOVERY, targets=(platform.disaster_recovery.listen,))
    if any(use.observe is not None for use in platform.systems.values()):
        yield of_systems_exporter(platform)
    yield from of_models(platform)
    yield from of_systems(platform)


def of_systems_exporter(platform: Platform) -> Job:
    """The job of what asks systems for what they do not publish; `namespace` is a label of what they have."""
    exporter = platform.systems_exporter
    return Job(
        name=SYSTEMS,
        targets=tuple(exporter.targets) or (exporter.listen,),
        token_file=exporter.token_file,
        honor_labels=True,
    )


def of_models(platform: Platform) -> Iterator[Job]:
    """A job for each model whose servers' addresses the platform file has."""
    for model in platform.models:
        servers = model.servers
        if servers is not None and servers.targets:
            yield Job(
                name=f"model-{model.name}",
                targets=tuple(servers.targets),
                path=servers.path,
                https=servers.https,
                token_file=servers.token_file,
                ca_file=servers.ca_file,
            )


def of_systems(platform: Platform) -> Iterator[Job]:
    """A job for each system of the platform; it is called like the system."""
    for one in system_rules.installed(platform):
        scrape, use = one.described.scrape, one.use
        yield Job(
            name=one.job,
            targets=tuple(use.targets),
            path=scrape.path,
            params=tuple((name, tuple(values)) for name, values in sorted(scrape.params.items())),
            https=scrape.https if use.https is None else use.https,
            token_file=use.token_file,
            ca_file=use.ca_file,
            honor_labels=scrape.honor_labels,
        )


def of_itself(prometheus: str, alertmanager: str, auth: Auth | None = None) -> list[Job]:
    """Jobs of two addresses that watch the watch: whether rules are evaluated and people can be told."""
    return [_of_url(PROMETHEUS, prometheus, auth), _of_url(ALERTMANAGER, alertmanager)]


def _of_url(name: str, url: str, auth: Auth | None = None) -> Job:
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/metrics"
    return Job(name=name, targets=(parts.netloc,), path=path, https=parts.scheme == "https", auth=auth)


def address(url: str) -> str:
    """HOST:PORT of an address."""
    return url.partition("://")[2].rstrip("/")
