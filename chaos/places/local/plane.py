"""The running plane of `midwatch up` as a place for faults: which part, link or process a fault hits."""

from __future__ import annotations

import json
import math
import os
import resource
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos import notices
from chaos.faults import Fault
from chaos.places.local.faults import FilesLimited, Hogs, LinkBad, PartKilled, is_up
from chaos.places.place import Injection, Place
from chaos.targets import Hit, Prepared, TargetError, ensure_allowed
from midwatch import processes
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load

PLANE_PARTS = ("alertmanager", "exporter", "exporter-b", "prometheus")
"""Parts that the plane itself consists of; only one with two regions has the last exporter."""
EVENTS_LINK = "events--exporter"
MEMORY_SHARE = 0.5
"""Of the memory that is free, at most so much is taken: the machine itself must stay usable."""
MEMORY_SLICES = 10
"""The free memory counts as so many targets."""


class NoPlaneError(MidwatchError):
    """There is no running plane where one was expected."""


class OtherPlatformError(MidwatchError):
    """The plane runs another platform file than somebody takes it to."""


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

    def __init__(self, state: Path, expected: Path | None = None) -> None:
        """`expected` is the platform file that somebody takes it to run; OtherPlatformError when it is another."""
        self.inventory = state.resolve() / "plane.json"
        try:
            self._document: dict[str, Any] = json.loads(self.inventory.read_text())
        except (OSError, ValueError) as error:
            raise NoPlaneError(f"{state}: no plane runs here; start one with midwatch up --state {state}") from error
        platform_file = Path(self._document.get("platform", ""))
        if expected is not None and expected.resolve() != platform_file.resolve():
            raise OtherPlatformError(f"{state}: the plane here runs {platform_file}, not {expected}; leave --file out")
        if not is_up(self._document):
            raise NoPlaneError(
                f"{state}: the plane that ran here has ended; start one with midwatch up --state {state}"
            )
        super().__init__(load.load_platform(platform_file), platform_file, state)
        self.parts = {
            part["name"]: Part(name=part["name"], pid=part["pid"], url=part["url"], started=part.get("started"))
            for part in self._document["parts"]
        }
        self._earlier: tuple[Hit, ...] = ()

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

    def is_there(self) -> bool:
        """Whether the plane runs."""
        return is_up(self._document)

    def url(self, part: str) -> str:
        """Where a part answers."""
        url = self._part(part).url
        if url is None:
            raise TargetError(f"{part} has no address")
        return url

    def servers(self, model: str) -> dict[str, str | None]:
        """Servers of a model, by name, with their versions; a server that does not say whose it is serves every one."""
        return {server.name: server.version for server in self.platform.local.servers if server.model in (None, model)}

    def prepare(self, injection: Injection, earlier: Sequence[Hit] = ()) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit."""
        self._earlier = tuple(earlier)
        prepared = injection.here(self)
        ensure_allowed(prepared, self.chaos.guard, earlier)
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
        faults = [self._kill(name, notice) for name in hit]
        return self._of_servers(faults, hit, servers, model)

    def _of_servers(self, faults: Sequence[Fault], hit: tuple[str, ...], servers: list[str], model: str) -> Prepared:
        """Faults at some of a model's servers, which are no longer there once a link to them is bad."""
        down = [f"server-{name}" for name in servers if self._is_down(f"server-{name}", f"traffic--{name}")]
        candidates = tuple(f"server-{name}" for name in servers)
        return Prepared(faults=faults, hit=hit, candidates=candidates, down=tuple(down), parts=(model,))

    def _is_down(self, part: str, link: str = "") -> bool:
        """Whether a part does not run, is kept down, or is behind a bad link."""
        held, bad = Path(self._document["held"]) / part, Path(self._document["links"]) / f"{link}.json"
        known = self.parts.get(part)
        return known is None or known.identity is None or held.exists() or (bool(link) and bad.exists())

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
        return self._of_plane(self._kill(part), part)

    def _of_plane(self, fault: Fault, part: str) -> Prepared:
        """A fault at one of the parts that the plane consists of."""
        candidates = tuple(one for one in PLANE_PARTS if one in self.parts)
        taker = self._taker()
        down = [one for one in candidates if self._is_down(one, EVENTS_LINK if one == taker else "")]
        return Prepared(faults=[fault], hit=(part,), candidates=candidates, down=tuple(down))

    def _taker(self) -> str | None:
        """The exporter that events go to, None where nobody can say which."""
        try:
            return self.exporter()
        except TargetError:
            return None

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
        faults = [self._bad(f"traffic--{servers[0]}", how)]
        return self._of_servers(faults, (f"server-{servers[0]}",), servers, model)

    def bad_events(self, how: Mapping[str, Any]) -> Prepared:
        """The link that events take to the exporter is bad."""
        return self._of_plane(self._bad(EVENTS_LINK, how), self.exporter())

    def _bad(self, link: str, how: Mapping[str, Any]) -> Fault:
        if "links" not in self.parts:
            raise TargetError("the plane was started without a chaos section, so it has no links to make bad")
        links = self._alive("links")
        return LinkBad(
            target=link,
            control=self._document["links"],
            links=links.pid,
            links_started=links.started,
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
        return self._of_plane(fault, part)

    def busy_cores(self, cores: int, seconds: float) -> Prepared:
        """So many of the machine's cores are kept busy, beside those that earlier actions keep busy."""
        known = tuple(f"core-{index}" for index in range(os.cpu_count() or 1))
        hit = self._first_free(known, cores)
        return Prepared(faults=[_hogs("cpu", len(hit), 0, seconds)], hit=hit, candidates=known)

    def _first_free(self, known: tuple[str, ...], count: int) -> tuple[str, ...]:
        """So many targets that earlier actions have not hit; others are no different. All if there are too few."""
        taken = {one.name for one in self._earlier}
        return tuple(sorted(known, key=lambda name: (name in taken, known.index(name)))[:count])

    def held_memory(self, size: int, seconds: float) -> Prepared:
        """So many bytes of the machine's memory are held."""
        free = _available_memory()
        if size > MEMORY_SHARE * free:
            raise TargetError(
                f"{size / 2**20:.0f} MiB are over {MEMORY_SHARE:.0%} of the {free / 2**20:.0f} MiB that are free"
            )
        known = tuple(f"memory-{index}" for index in range(MEMORY_SLICES))
        hit = self._first_free(known, math.ceil(MEMORY_SLICES * size / free))
        return Prepared(faults=[_hogs("memory", 1, size, seconds)], hit=hit, candidates=known)


def _hogs(takes: str, count: int, size: int, seconds: float) -> Fault:
    number = uuid.uuid4().hex
    return Hogs(target="machine", number=number, takes=takes, count=count, size=size, seconds=float(seconds))


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
