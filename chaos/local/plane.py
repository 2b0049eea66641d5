"""The running plane of `midwatch up` as a place for faults: which part, link or process a fault hits."""

from __future__ import annotations

import json
import os
import resource
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.faults import Fault
from chaos.local.faults import FilesLimited, Hogs, LinkBad, PartKilled
from chaos.targets import Prepared, TargetError, ensure_bounded, ensure_unprotected
from midwatch import processes
from midwatch.errors import MidwatchError
from midwatch.spec import load
from midwatch.spec import model as spec
from midwatch.spec.chaos import Chaos, Kind

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


class Plane:
    """A plane that runs, by the `plane.json` in its state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.inventory = self.state / "plane.json"
        try:
            self._document: dict[str, Any] = json.loads(self.inventory.read_text())
        except (OSError, ValueError) as error:
            raise NoPlaneError(f"{state}: no plane runs here; start one with midwatch up --state {state}") from error
        if processes.identify(self._document["up"]) is None:
            raise NoPlaneError(
                f"{state}: the plane that ran here has ended; start one with midwatch up --state {state}"
            )
        self.platform_file = Path(self._document["platform"])
        self.platform: spec.Platform = load.load_platform(self.platform_file)
        self.parts = {
            part["name"]: Part(name=part["name"], pid=part["pid"], url=part["url"]) for part in self._document["parts"]
        }
        self.sink_file = Path(self._document["sink"]["file"])
        self.results = Path(self._document["results"])

    @property
    def chaos(self) -> Chaos:
        """The platform's chaos section."""
        return self.platform.chaos or Chaos()

    def url(self, part: str) -> str:
        """Where a part answers."""
        url = self._part(part).url
        if url is None:
            raise TargetError(f"{part} has no address")
        return url

    def servers(self, model: str) -> dict[str, str | None]:
        """Servers of a model, by name, with their versions; a server that does not say whose it is serves every one."""
        return {server.name: server.version for server in self.platform.local.servers if server.model in (None, model)}

    def prepare(self, kind: Kind, settings: dict[str, Any]) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit."""
        prepared: Prepared = _MAKERS[kind](self, settings)
        ensure_unprotected(prepared.hit, self.chaos.guard.protected.parts)
        ensure_bounded(prepared, self.chaos.guard)
        return prepared

    def _part(self, name: str) -> Part:
        if name not in self.parts:
            raise TargetError(f"there is no part {name}; there are {', '.join(sorted(self.parts))}")
        return self.parts[name]

    def _alive(self, name: str) -> processes.Identity:
        identity = processes.identify(self._part(name).pid)
        if identity is None:
            raise TargetError(f"{name} does not run")
        return identity

    # Each kind ---------------------------------------------------------------------------------------------------

    def _kill_replica(self, settings: dict[str, Any]) -> Prepared:
        return self._killed(settings, notice=0.0)

    def _lose_node(self, settings: dict[str, Any]) -> Prepared:
        return self._killed(settings, notice=float(settings.get("notice") or 2.0))

    def _killed(self, settings: dict[str, Any], *, notice: float) -> Prepared:
        servers = self._servers(settings)
        hit = tuple(f"server-{name}" for name in servers[: settings.get("replicas") or 1])
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

    def _servers(self, settings: dict[str, Any]) -> list[str]:
        """Servers of the model, the wanted one first."""
        names = list(self.servers(settings["model"]))
        wanted = settings.get("target")
        if wanted is not None and wanted not in names:
            raise TargetError(f"{settings['model']} has no server {wanted}; it has {', '.join(names)}")
        return sorted(names, key=lambda name: (name != wanted, names.index(name)))

    def _lost(self, part: str) -> Prepared:
        return Prepared(faults=[self._kill(part)], hit=(part,), candidates=self._plane_parts())

    def _plane_parts(self) -> tuple[str, ...]:
        return tuple(part for part in PLANE_PARTS if part in self.parts)

    def _exporter(self) -> str:
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

    def _lose_exporter(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost(self._exporter())

    def _lose_prometheus(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost("prometheus")

    def _lose_alertmanager(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost("alertmanager")

    def _slow_model(self, settings: dict[str, Any]) -> Prepared:
        return self._traffic(settings, delay=settings["delay"])

    def _failing_model(self, settings: dict[str, Any]) -> Prepared:
        return self._traffic(settings, errors=settings["errors"], status=503)

    def _corrupt_features(self, settings: dict[str, Any]) -> Prepared:
        return self._traffic(settings, scale=settings["scale"])

    def _cut_network(self, settings: dict[str, Any]) -> Prepared:
        return self._traffic(settings, cut=True)

    def _deploy_bad_version(self, settings: dict[str, Any]) -> Prepared:
        versions = {version: name for name, version in self.servers(settings["model"]).items()}
        if settings["bad_version"] not in versions:
            raise TargetError(f"{settings['model']} has no server of version {settings['bad_version']}")
        address = self.url(f"server-{versions[settings['bad_version']]}").removeprefix("http://")
        return self._traffic(settings, target=address)

    def _traffic(self, settings: dict[str, Any], **document: Any) -> Prepared:
        servers = self._servers(settings)
        hit = f"traffic--{servers[0]}"
        return Prepared(
            faults=[self._bad(hit, document)], hit=(hit,), candidates=tuple(f"traffic--{name}" for name in servers)
        )

    def _bad(self, link: str, document: dict[str, Any]) -> Fault:
        if "links" not in self.parts:
            raise TargetError("the plane was started without a chaos section, so it has no links to make bad")
        return LinkBad(
            target=link,
            control=self._document["links"],
            links=self._alive("links").pid,
            document={**document, "id": uuid.uuid4().hex},
        )

    def _skew_clock(self, settings: dict[str, Any]) -> Prepared:
        links = (EVENTS_LINK, *(f"traffic--{server.name}" for server in self.platform.local.servers))
        fault = self._bad(EVENTS_LINK, {"shift": settings["shift"]})
        return Prepared(faults=[fault], hit=(EVENTS_LINK,), candidates=links)

    def _fill_disk(self, _settings: dict[str, Any]) -> Prepared:
        exporter = self._exporter()
        identity = self._alive(exporter)
        before, hard = resource.prlimit(identity.pid, resource.RLIMIT_FSIZE)
        fault = FilesLimited(
            target=exporter,
            pid=identity.pid,
            started=identity.started,
            before=before,
            hard=hard,
            ready=f"{self.url(exporter)}/readyz",
        )
        return Prepared(faults=[fault], hit=(exporter,), candidates=self._plane_parts())

    def _exhaust_cpu(self, settings: dict[str, Any]) -> Prepared:
        cores = os.cpu_count() or 1
        count = min(settings["cores"], cores)
        hit = tuple(f"core-{index}" for index in range(count))
        hogs = self._hogs("cpu", count, 0, settings)
        return Prepared(faults=[hogs], hit=hit, candidates=tuple(f"core-{index}" for index in range(cores)))

    def _exhaust_memory(self, settings: dict[str, Any]) -> Prepared:
        size, free = settings["size"], _available_memory()
        if size > MEMORY_SHARE * free:
            raise TargetError(
                f"{size / 2**20:.0f} MiB are over {MEMORY_SHARE:.0%} of the {free / 2**20:.0f} MiB that are free"
            )
        return Prepared(
            faults=[self._hogs("memory", 1, size, settings)], hit=("memory",), candidates=("memory", "rest")
        )

    def _hogs(self, kind: str, count: int, size: int, settings: dict[str, Any]) -> Fault:
        return Hogs(
            target="machine",
            number=uuid.uuid4().hex,
            kind=kind,
            count=count,
            size=size,
            seconds=float(settings["seconds"]),
        )


_MAKERS = {kind: getattr(Plane, f"_{kind.value}") for kind in Kind}


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
