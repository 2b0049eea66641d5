"""Two regions on one machine: the feature store with its recoverer, models that are served from both, two exporters.

The endpoint of the store stands before the model servers and the exporters, too: a failover sends all clients
and all events to region b. Where PostgreSQL is not installed the plane runs without any of it, and says so.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from dr.stores.local_postgresql import programs
from midwatch import modules
from midwatch.app.up.parts import PartDiedError, Parts
from midwatch.errors import MissingProgramError
from midwatch.ports import free_ports
from midwatch.spec.model import Platform
from midwatch.spec.stores.local_postgresql import LocalPostgresqlStore

READY_SECONDS = 90.0
POLL_SECONDS = 0.05

STORE, RECOVERER, EXPORTER = "store", "recoverer", "recovery"
"""Names of the parts."""
EVENTS, EVENTS_B = "exporter", "exporter-b"
"""Names of the parts that take events, by region."""


class Regions:
    """The regions of a platform's plane; `missing` says why there are none although the platform file has them."""

    def __init__(self, platform: Platform, file: Path, state: Path, ports: dict[str, int]) -> None:
        self._platform, self._file, self._state, self._ports = platform, file.resolve(), state, ports
        self.missing = ""
        self._store = self._chosen()
        self._pairs = self._served_twice() if self._store else {}
        self._endpoints = {part: free_ports()[0] for part in self._pairs}
        self.exporter_port = free_ports()[0] if platform.disaster_recovery else None

    def _chosen(self) -> LocalPostgresqlStore | None:
        recovery = self._platform.disaster_recovery
        local = [one for one in recovery.stores if isinstance(one, LocalPostgresqlStore)] if recovery else []
        stores = [one for one in local if one.local_postgresql.up]
        if not stores:
            return None
        try:
            programs.find(stores[0].local_postgresql.version)
        except (MissingProgramError, programs.PostgresError) as error:
            self.missing = f"without {stores[0].name}: {error}"
            return None
        return stores[0]

    def _served_twice(self) -> dict[str, str]:
        """Part of region b by the part of region a that it stands in for: the exporter, too, if a server has one."""
        servers = self._platform.local.servers
        pairs = {f"server-{one.replica_of}": f"server-{one.name}" for one in servers if one.replica_of}
        return {**pairs, EVENTS: EVENTS_B} if pairs else {}

    @property
    def exporters(self) -> tuple[str, ...]:
        """Parts that take events: one a region."""
        return (EVENTS, EVENTS_B) if EVENTS in self._pairs else (EVENTS,)

    @property
    def folder(self) -> Path:
        """Where the cluster is found: a link, there once it runs."""
        return self._state / "store"

    def port_of(self, part: str) -> int | None:
        """Port of the endpoint before a part, None where clients go straight to it."""
        return self._endpoints.get(part)

    def start_store(self, parts: Parts) -> None:
        """Start the store; it becomes ready while other parts start."""
        if self._store is None:
            return
        listeners = [
            {"port": port, "targets": {"a": self._ports[part], "b": self._ports[self._pairs[part]]}}
            for part, port in self._endpoints.items()
        ]
        words = [str(self.folder), str(self._file), self._store.name, json.dumps(listeners)]
        parts.start(STORE, [*modules.command("dr.stores.local_postgresql.serve"), *words], folder=self._state)

    def start_rest(self, parts: Parts) -> None:
        """Wait for the store, then start its recoverer and the exporter of its posture."""
        command = [*modules.command("midwatch"), "dr"]
        clusters: list[str] = []
        if self._store is not None:
            self._wait(parts)
            recoverer = ["recoverer", "-f", str(self._file), "--store", self._store.name, "--cluster", str(self.folder)]
            parts.start(RECOVERER, [*command, *recoverer, "--events", str(self.events)], folder=self._state)
            clusters = ["--cluster", f"{self._store.name}={self.folder}"]
        if self.exporter_port is not None:
            export = ["export", "-f", str(self._file), "--listen", f"127.0.0.1:{self.exporter_port}", *clusters]
            parts.start(EXPORTER, [*command, *export], folder=self._state, port=self.exporter_port)

    def _wait(self, parts: Parts) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.folder.exists():
            parts.ensure_alive()
            if time.monotonic() > deadline:
                raise PartDiedError(f"the store was not ready after {READY_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    @property
    def events(self) -> Path:
        """What the recoverer writes; one file a run."""
        return self._state / f"recoverer-{self._ports['exporter']}.ledger"

    def inventory(self) -> dict[str, Any] | None:
        """What a drill needs to know, None without regions."""
        if self._store is None:
            return None
        return {
            "store": self._store.name,
            "folder": str(self.folder),
            "events": str(self.events),
            "region_a": [*(part for part in self._pairs if part != EVENTS), EVENTS],
            "models": {part.removeprefix("server-"): self._url(part) for part in self._endpoints if part != EVENTS},
            "exporters": self._inventory_of_exporters(),
        }

    def _inventory_of_exporters(self) -> dict[str, str] | None:
        """Part that takes the events of each region, and where clients find the one of now; None where there is one."""
        if EVENTS not in self._pairs:
            return None
        return {"a": EVENTS, "b": EVENTS_B, "clients": self._url(EVENTS)}

    def _url(self, part: str) -> str:
        """Where clients find a part that is served from both regions."""
        return f"http://127.0.0.1:{self._endpoints[part]}"
