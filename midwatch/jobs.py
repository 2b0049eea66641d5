"""The scrape jobs of a platform: which exist, what they are called, where their targets are. One list for everybody.

Rules name these jobs in `up{job=...}`; Prometheus' own configuration and the cluster's objects are made from the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from midwatch import metrics, scrape_size
from midwatch.spec import addresses, evaluation, system_rules
from midwatch.spec.base import Finding, Place
from midwatch.spec.model import Platform
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.scraped import Scraped

EXPORTER = "midwatch-exporter"
GATE = "midwatch-gate"
RECOVERY = "midwatch-recovery"
RESULTS = "midwatch-results"
SYSTEMS = "midwatch-systems"
LOOP = "midwatch-loop"
INCIDENTS = "midwatch-incidents"
EVALUATOR = "midwatch-evaluator"
REGION_PREFIX = "midwatch-region-"
"""Begins the names of the jobs by which a plane copies records of another."""
STREAM = "midwatch-stream"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"
EVERY_ADDRESS = ("", "*", "0.0.0.0", "::")  # noqa: S104 - what is looked for; nothing listens here


@dataclass(frozen=True, kw_only=True)
class Relabeling:
    """What is done to the labels of a sample: `target` becomes `replacement` where `source` matches; or a drop."""

    action: Literal["replace", "labeldrop"]
    regex: str
    source: str = ""
    target: str = ""
    replacement: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A scrape job; `targets` are HOST:PORT, `params` the query's; the files hold a bearer token and a CA.

    `auth` is what Prometheus itself asks for, instead of those files. `timeout` is
    seconds that a scrape may take, where the usual ones may be too few. `relabel` is done to
    each sample that is scraped.
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
    honor_timestamps: bool = True
    relabel: tuple[Relabeling, ...] = ()


def of_platform(platform: Platform) -> list[Job]:
    """Jobs of the platform file, the exporter's and the gate's first, the others by name."""
    return ordered(_jobs(platform))


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Scrape jobs of one's own have names of their own, and every target is an address."""
    yield from _service_problems(platform)
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
    yield from of_regions(platform)
    yield from of_services(platform)
    regions = platform.regions
    if regions is not None and regions.is_view:  # each region watches its own Alertmanager
        yield _of_url(PROMETHEUS, regions.view.prometheus, platform.prometheus.auth)
    else:
        yield from of_itself(platform.prometheus.url, platform.alertmanager.url, platform.prometheus.auth)
    yield from of_models(platform)
    yield from of_systems(platform)


def has_judge_alone(platform: Platform) -> bool:
    """Whether drift is judged apart from counting: members of a Kafka group see a part of the rows each."""
    reads_group = platform.has_exporters and platform.exporter.kafka is not None
    return reads_group and any(model.drift for model in platform.models)


def observes(platform: Platform) -> bool:
    """Whether some system is asked for what it does not publish."""
    return any(use.observe is not None for use in platform.systems.values())


def services(platform: Platform) -> Iterator[tuple[str, Place, Scraped]]:
    """Midwatch's own services that this platform runs: their jobs, and their sections of the platform file."""
    if platform.is_view:
        return
    if platform.has_exporters:
        yield EXPORTER, ("exporter",), platform.exporter
    if any(model.canary for model in platform.models):
        yield GATE, ("gate",), platform.gate
    if platform.loop is not None:
        yield LOOP, ("loop",), platform.loop
    if platform.incidents.watch:
        yield INCIDENTS, ("incidents",), platform.incidents
    if evaluation.promised(platform):
        yield EVALUATOR, ("evaluator",), platform.evaluator
    if platform.stream is not None:
        yield STREAM, ("stream",), platform.stream
    if platform.disaster_recovery:
        yield RECOVERY, ("disaster_recovery",), platform.disaster_recovery
    if observes(platform):
        yield SYSTEMS, ("systems_exporter",), platform.systems_exporter


def of_services(platform: Platform) -> Iterator[Job]:
    """A job for each service of Midwatch's own."""
    for name, _, service in services(platform):
        timeout = scrape_size.timeout(platform) if name in (EXPORTER, STREAM) else None
        yield Job(
            name=name,
            targets=_targets(service),
            token_file=service.metrics_token_file,
            timeout=timeout,
            honor_labels=name == SYSTEMS,  # `namespace` is a label of what the systems have
            relabel=_SIDES if name == RECOVERY and platform.regions is not None else (),
        )


def service_targets(platform: Platform, name: str) -> tuple[str, ...]:
    """HOST:PORT of every target of a service of Midwatch's own, by the name of its job; none where it does not run.

    A cluster's exporters have no address that the platform file could write: they are as many as its `replicas`.
    """
    if name == EXPORTER and not platform.has_exporters:
        return ()
    if name == EXPORTER and platform.kubernetes is not None and not platform.exporter.targets:
        port = platform.exporter.listen.rpartition(":")[2]
        judge = (f"{EXPORTER}-judge-0:{port}",) if has_judge_alone(platform) else ()
        return tuple(f"{EXPORTER}-{number}:{port}" for number in range(platform.kubernetes.exporter.replicas)) + judge
    return next((job.targets for job in of_services(platform) if job.name == name), ())


def _targets(service: Scraped) -> tuple[str, ...]:
    return tuple(service.targets) or (service.listen,)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def is_found(service: Scraped) -> bool:
    """Whether Prometheus on another machine finds it: where it listens need not be where it is reached."""
    return not any(addresses.is_loopback(_host(target)) for target in _targets(service))


def _service_problems(platform: Platform) -> Iterator[Finding]:
    for name, place, service in services(platform):
        host, _, port = service.listen.rpartition(":")
        if not service.targets and (host.strip("[]") in EVERY_ADDRESS or port == "0"):
            message = f"{service.listen} is where it listens, and no address that Prometheus can scrape ({name})"
            yield (*place, "listen"), message, "write targets: HOST:PORT of each"
    yield from _shared_addresses(platform)


def _shared_addresses(platform: Platform) -> Iterator[Finding]:
    """Two services at one address: the second does not start. In a cluster each has a pod's own."""
    if platform.kubernetes is not None:
        return
    taken: dict[str, str] = {}
    for name, place, service in services(platform):
        for target in _targets(service):
            other = taken.setdefault(target, name)
            if other != name:
                yield (*place, "listen"), f"{name} is at {target}, as {other} is", "give each an address of its own"


def find_warnings(platform: Platform) -> Iterator[Finding]:
    """Services whose `/metrics` will want a token that Prometheus does not have."""
    for name, place, service in services(platform):
        if is_found(service) and service.metrics_token_file is None:
            message = f"{name}: off loopback its /metrics wants a token, and Prometheus has none: it is answered 401"
            remedy = "write metrics_token_file, and give the service --metrics-token-file; or run it with --insecure"
            yield place, message, remedy


def of_models(platform: Platform) -> Iterator[Job]:
    """A job for each model whose servers' addresses the platform file has."""
    for model in () if platform.is_view else platform.models:
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
    for one in () if platform.is_view else system_rules.installed(platform):
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


_SIDES = (
    Relabeling(action="replace", source="region", regex="(.+)", target="side", replacement="$1"),
    Relabeling(action="labeldrop", regex="region"),
)
"""A store's own regions are `side` where a plane's region is `region`: Thanos puts the plane's over a series' own."""


def of_regions(platform: Platform) -> Iterator[Job]:
    """A job for each other plane, by which its heartbeat is heard; the view copies what budgets are summed from."""
    regions = platform.regions
    if regions is None:
        return
    wanted = metrics.COPIED_BY_VIEW if regions.is_view else metrics.HEARTBEATS
    for name, site in regions.others.items():
        parts = urlsplit(site.prometheus)
        yield Job(
            name=f"{REGION_PREFIX}{name}",
            targets=(parts.netloc,),
            path=f"{parts.path.rstrip('/')}/federate",
            params=(("match[]", ('{__name__=~"' + wanted + '"}',)),),
            https=parts.scheme == "https",
            honor_labels=True,
            honor_timestamps=False,  # else what is gone would stand for five minutes more
            auth=platform.prometheus.auth,
            relabel=_copied(name),
        )


def _copied(name: str) -> tuple[Relabeling, ...]:
    """Names and labels of copies, so that the view over all series shows none twice."""
    return (
        Relabeling(
            action="replace", source="__name__", regex="(.+)", target="__name__", replacement=f"{metrics.COPY_PREFIX}$1"
        ),
        Relabeling(action="replace", source="job", regex=".*", target=metrics.FROM_REGION, replacement=name),
        Relabeling(action="labeldrop", regex="region|cluster|cloud|job|instance|replica"),
    )


def of_itself(prometheus: str, alertmanager: str, auth: Auth | None = None) -> list[Job]:
    """Jobs of two addresses that watch the watch: whether rules are evaluated and people can be told."""
    return [_of_url(PROMETHEUS, prometheus, auth), _of_url(ALERTMANAGER, alertmanager)]


def _of_url(name: str, url: str, auth: Auth | None = None) -> Job:
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/metrics"
    return Job(name=name, targets=(parts.netloc,), path=path, https=parts.scheme == "https", auth=auth)
