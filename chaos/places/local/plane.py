"""The running plane of `midwatch up` as a place for faults: which part, link or process a fault hits."""

from __future__ import annotations

import json
import os
import resource
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos import notices
from chaos.faults import Fault
from chaos.places.local.faults import FilesLimited, Hogs, LinkBad, PartKilled
from chaos.places.place import Injection, Place
from chaos.targets import Prepared, TargetError, ensure_allowed
from midwatch import processes
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load

PLANE_PARTS = ("alertmanager", "exporter", "exporter-b", "prometheus")
"""Parts that the plane itself consists of; only one with two regions has the last exporter."""
EVENTS_LINK = "events--exporter"
MEMORY_SHARE = 0.5
"""Of the memory that is free, at most so much is taken: the machine itself must stay usable."""


class NoPlaneError(MidwatchError):
    """There is no running plane where one was expected."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process of the plane."""

    name: str
    pid: int
    url: str | None
    started: int | None = None
    """When the process started, as `processes.Identity` has it; None when it had ended already."""

    @property
    def identity(self) -> processes.Identity | None:
        """The process, None when it has ended, whoever has its number now."""
        if self.started is None:
            return None
        identity = processes.Identity(pid=self.pid, started=self.started)
        return identity if identity.is_alive else None


class LocalPlane(Place):
    """The plane that runs, by the `plane.json` in its state folder."""

    name = "local"

    def __init__(self, state: Path) -> None:
        self.inventory = state.resolve() / "plane.json"
        try:
            self._document: dict[str, Any] = json.loads(self.inventory.read_text())
        except (OSError, ValueError) as error:
            raise NoPlaneError(f"{state}: no plane runs here; start one with midwatch up --state {state}") from error
        up = processes.identify(self._document["up"])
        if up is None or up.started != self._document.get("up_started", up.started):
            raise NoPlaneError(
                f"{state}: the plane that ran here has ended; start one with midwatch up --state {state}"
            )
        platform_file = Path(self._document["platform"])
        super().__init__(load.load_platform(platform_file), platform_file, state)
        self.parts = {
            part["name"]: Part(name=part["name"], pid=part["pid"], url=part["url"], started=part.get("started"))
            for part in self._document["parts"]
        }

    @cached_property
    def prometheus(self) -> Client:
        """The plane's Prometheus."""
        return Client(self.url("prometheus"), timeout=self.platform.prometheus.timeout)

    @cached_property
    def alertmanager(self) -> notices.Alertmanager:
        """The plane's Alertmanager."""
        return notices.Alertmanager(self.url("alertmanager"), notices.channels_of(self.platform))

    @cached_property
    def notices(self) -> notices.Notices:
        """The sink that stands for every channel."""
        return notices.Sink(Path(self._document["sink"]["file"]))

    @property
    def results(self) -> Path:
        """The plane publishes what is written there."""
        return Path(self._document["results"])

    def url(self, part: str) -> str:
        """Where a part answers."""
        url = self._part(part).url
        if url is None:
            raise TargetError(f"{part} has no address")
        return url

    def servers(self, model: str) -> dict[str, str | None]:
        """Servers of a model, by name, with their versions; a server that does not say whose it is serves every one."""
        return {server.name: server.version for server in self.platform.local.servers if server.model in (None, model)}

    def prepare(self, injection: Injection) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit."""
        prepared = injection.here(self)
        ensure_allowed(prepared, self.chaos.guard)
        return prepared

    def _part(self, name: str) -> Part:
        if name not in self.parts:
            raise TargetError(f"there is no part {name}; there are {', '.join(sorted(self.parts))}")
        return self.parts[name]

    def _alive(self, name: str) -> processes.Identity:
        identity = self._part(name).identity
        if identity is None:
            raise TargetError(f"{name} does not run")
        return identity

    # What kinds are made of ---------------------------------------------------------------------------------------

    def killed_servers(self, model: str, target: str | None, replicas: int, *, notice: float = 0.0) -> Prepared:
        """So many servers of a model, the wanted one first, are killed, after a notice (seconds) if there is one."""
        servers = self._servers(model, target)
        hit = tuple(f"server-{name}" for name in servers[:replicas])
        candidates = tuple(f"server-{name}" for name in servers)
        return Prepared(faults=[self._kill(name, notice) for name in hit], hit=hit, candidates=candidates)

    def _kill(self, name: str, notice: float = 0.0) -> Fault:
        identity = self._alive(name)
        return PartKilled(
            target=name,
            inventory=str(self.inventory),
            held=self._document["held"],
            pid=identity.pid,
            started=identity.started,
            notice_seconds=notice,
        )

    def _servers(self, model: str, target: str | None) -> list[str]:
        """Servers of the model, the wanted one first."""
        names = list(self.servers(model))
        if target is not None and target not in names:
            raise TargetError(f"{model} has no server {target}; it has {', '.join(names)}")
        return sorted(names, key=lambda name: (name != target, names.index(name)))

    def killed_part(self, part: str) -> Prepared:
        """A part of the plane is killed."""
        return Prepared(faults=[self._kill(part)], hit=(part,), candidates=self._plane_parts())

    def _plane_parts(self) -> tuple[str, ...]:
        return tuple(part for part in PLANE_PARTS if part in self.parts)

    def exporter(self) -> str:
        """Part that events go to now; TargetError where there are two and nobody can say which."""
        regions = self._document.get("regions") or {}
        exporters = regions.get("exporters")
        if not exporters:
            return "exporter"
        route = Path(regions["folder"]) / "route.json"
        try:
            return str(exporters[json.loads(route.read_text())["region"]])
        except (OSError, ValueError, KeyError) as error:
            raise TargetError(f"{route} does not say to which exporter events go: {error}") from error

    def bad_traffic(self, model: str, target: str | None, how: Mapping[str, Any]) -> Prepared:
        """The link to a model's first server is bad in one of the ways of `chaos.places.local.links`."""
        servers = self._servers(model, target)
        hit = f"traffic--{servers[0]}"
        candidates = tuple(f"traffic--{name}" for name in servers)
        return Prepared(faults=[self._bad(hit, how)], hit=(hit,), candidates=candidates)

    def bad_events(self, how: Mapping[str, Any]) -> Prepared:
        """The link that events take is bad."""
        links = (EVENTS_LINK, *(f"traffic--{server.name}" for server in self.platform.local.servers))
        return Prepared(faults=[self._bad(EVENTS_LINK, how)], hit=(EVENTS_LINK,), candidates=links)

    def _bad(self, link: str, how: Mapping[str, Any]) -> Fault:
        if "links" not in self.parts:
            raise TargetError("the plane was started without a chaos section, so it has no links to make bad")
        return LinkBad(
            target=link,
            control=self._document["links"],
            links=self._alive("links").pid,
            document={**how, "id": uuid.uuid4().hex},
        )

    def limited_files(self, part: str) -> Prepared:
        """A part can write to no file."""
        identity = self._alive(part)
        before, hard = resource.prlimit(identity.pid, resource.RLIMIT_FSIZE)
        fault = FilesLimited(
            target=part,
            pid=identity.pid,
            started=identity.started,
            before=before,
            hard=hard,
            ready=f"{self.url(part)}/readyz",
        )
        return Prepared(faults=[fault], hit=(part,), candidates=self._plane_parts())

    def busy_cores(self, cores: int, seconds: float) -> Prepared:
        """So many of the machine's cores are kept busy."""
        known = tuple(f"core-{index}" for index in range(os.cpu_count() or 1))
        hit = known[:cores]
        return Prepared(faults=[_hogs("cpu", len(hit), 0, seconds)], hit=hit, candidates=known)

    def held_memory(self, size: int, seconds: float) -> Prepared:
        """So many bytes of the machine's memory are held."""
        free = _available_memory()
        if size > MEMORY_SHARE * free:
            raise TargetError(
                f"{size / 2**20:.0f} MiB are over {MEMORY_SHARE:.0%} of the {free / 2**20:.0f} MiB that are free"
            )
        fault = _hogs("memory", 1, size, seconds)
        return Prepared(faults=[fault], hit=("memory",), candidates=("memory", "rest"))


def _hogs(takes: str, count: int, size: int, seconds: float) -> Fault:
    number = uuid.uuid4().hex
    return Hogs(target="machine", number=number, takes=takes, count=count, size=size, seconds=float(seconds))


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
