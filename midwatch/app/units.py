"""Services of systemd for the plane where it runs on machines: one for each of its services that does not end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from midwatch import jobs, systemd
from midwatch.http_access import parse_address
from midwatch.spec import addresses
from midwatch.spec.console import Console
from midwatch.spec.model import Platform
from midwatch.spec.scraped import Scraped

FILE = PurePosixPath("/etc/midwatch/platform.yaml")
TOKEN_FILE = PurePosixPath("/etc/midwatch/token")
"""The token of clients, where a service that has some listens off loopback and would not start without one."""
ENVIRONMENT_FILE = PurePosixPath("/etc/midwatch/environment")
"""Variables of all services, such as `MIDWATCH_SPARK_JARS`; there need be none."""
STATE = PurePosixPath("/var/lib/midwatch")


@dataclass(frozen=True, kw_only=True)
class _Service:
    """What is particular to a service: what it is, its command, and whether clients of its own send a token."""

    description: str
    command: str
    keeps: str = ""
    """Options that say where it keeps what it may not lose."""
    has_clients: bool = False


_SERVICES: Mapping[str, _Service] = {
    jobs.EXPORTER: _Service(
        description="Takes prediction and label events",
        command="exporter serve",
        keeps=f"--state {STATE}/exporter",
        has_clients=True,
    ),
    jobs.GATE: _Service(
        description="Says whether a canary may go on",
        command="canary gate",
        keeps=f"--audit {STATE}/gate/audit.jsonl",
        has_clients=True,
    ),
    jobs.LOOP: _Service(
        description="Asks for retrainings and follows them",
        command="loop serve",
        keeps=f"--state {STATE}/loop",
        has_clients=True,
    ),
    jobs.INCIDENTS: _Service(description="What changed before an alert", command="explain watch"),
    jobs.EVALUATOR: _Service(
        description="Whether promises hold that PromQL alone cannot judge", command="evaluate serve"
    ),
    jobs.STREAM: _Service(
        description="Counts events on Spark",
        command="stream run",
        keeps=f"--checkpoint {STATE}/stream/checkpoint --sink {STATE}/stream/counts.db",
    ),
    jobs.RECOVERY: _Service(
        description="Posture and drills of recovery as metrics",
        command="dr export",
        keeps=f"--evidence {STATE}/recovery",
    ),
    jobs.SYSTEMS: _Service(
        description="Asks systems for what they do not publish",
        command="systems export",
        keeps=f"--state {STATE}/systems",
    ),
}
"""By the job that Prometheus scrapes them as."""

_JUDGE = _Service(
    description="Judges drift over all partitions",
    command="exporter serve --kafka --judge --member judge",
    keeps=f"--state {STATE}/judge",
    has_clients=True,
)
_CONSOLE = _Service(description="The state of the promises as pages", command="console", has_clients=True)


def render_files(platform: Platform) -> dict[str, str]:
    """Each service by its path, for `systemctl enable --now`; none that the platform file asks nothing of.

    They run with the platform file as it is installed, and with the token that Prometheus is told to send.
    """
    return {
        f"systemd/{name}.service": systemd.lasting_service(
            service.description,
            _command(service, section),
            environment_file=str(ENVIRONMENT_FILE),
            state_folder=STATE.name if service.keeps else "",
        )
        for name, service, section in _wanted(platform)
    }


def _wanted(platform: Platform) -> Iterator[tuple[str, _Service, Scraped | Console]]:
    """Names of units, their services and sections of the platform file."""
    for job, _, section in jobs.services(platform):
        service = _SERVICES[job]
        if job == jobs.EXPORTER and platform.exporter.kafka is not None:
            service = replace(service, command=f"{service.command} --kafka")
        yield job, service, section
    if jobs.has_judge_alone(platform):
        yield f"{jobs.EXPORTER}-judge", _JUDGE, platform.exporter
    if platform.console is not None:
        yield "midwatch-console", _CONSOLE, platform.console


def _command(service: _Service, section: Scraped | Console) -> str:
    words = [f"midwatch {service.command} -f {FILE}"]
    words += [service.keeps] if service.keeps else []
    if service.has_clients and not addresses.is_loopback(parse_address(section.listen)[0]):
        words.append(f"--token-file {TOKEN_FILE}")
    if isinstance(section, Scraped) and section.metrics_token_file is not None:
        words.append(f"--metrics-token-file {systemd.word(str(section.metrics_token_file))}")
    return " ".join(words)
