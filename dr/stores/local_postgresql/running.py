"""Losing a region of a running `midwatch up`: its store, its models and its exporter, all at once.

The store, the recoverer and the endpoint are those that run there; the drill brings only its observer, and looks at the
exporters' own counters of what they have kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dr.drill.verdict import Check
from dr.stores.kind import DrillSite
from dr.stores.local_postgresql import cluster, endpoint, faults, takeover
from dr.stores.local_postgresql.setup import LocalSetup
from dr.stores.setup import ModelRequest, NotReadyError, PlannedFault
from midwatch import processes
from midwatch.spec.stores.local_postgresql import Fault, LocalPostgresqlStore


class RunningSetup(LocalSetup):
    """The setup of a drill of a running `midwatch up`, in the folder `state`."""

    def __init__(self, site: DrillSite[LocalPostgresqlStore], state: Path) -> None:
        self._up, self._regions = _inventory(state, site.store.name)
        self._takeover: takeover.Takeover | None = None
        super().__init__(replace(site, folder=Path(self._regions["folder"])))
        if self._fault is not Fault.LOSE_REGION:
            raise NotReadyError(f"{self._fault} is not a drill of a running midwatch up; run it without --state")
        self.model = self._model()

    def start(self) -> None:
        """Look at what runs: the primary has to be in region a, with a standby in b."""
        self._cluster = cluster.load(self._folder)
        self._folder = self._cluster.folder
        self._identity, self._content = self._who(self._cluster.client)
        if "marker 0" in self._identity:
            raise NotReadyError(f"{self._store.name} does not allow drills: its marker is missing")
        route = endpoint.route_of(self._folder)
        if route["region"] != "a":
            raise NotReadyError(
                "clients are in region b already; ask for a switchover to a first, or start midwatch up anew"
            )
        if exporters := self._regions["exporters"]:
            self._takeover = takeover.Takeover(
                lost=self._url(exporters["a"]), heir=self._url(exporters["b"]), clients=exporters["clients"]
            )

    def _url(self, part: str) -> str:
        return str(next(one["url"] for one in self._up["parts"] if one["name"] == part))

    def recoverer(self, events: Path) -> Sequence[str] | None:  # noqa: ARG002 - the one of `midwatch up` runs
        """The one of `midwatch up` runs."""
        return None

    def events(self, asked: Path) -> Path | None:  # noqa: ARG002 - see above
        """Where the recoverer of `midwatch up` writes."""
        self._events = Path(self._regions["events"])
        return self._events

    def _model(self) -> ModelRequest | None:
        """The model, through the endpoint in front of both regions."""
        probe = self._site.promised.model
        url = self._regions["models"].get(probe.server) if probe else None
        return ModelRequest(url=url + probe.path, body=probe.body) if probe and url else None

    def fault(self) -> PlannedFault:
        """Everything of region a; `midwatch up` is told that it is down on purpose, and brings it back afterwards."""
        names = self._regions["region_a"]
        parts = {part["name"]: (part["pid"], part.get("started")) for part in self._up["parts"]}
        lost = [processes.Identity(pid=pid, started=started or 0) for pid, started in map(parts.__getitem__, names)]
        if not all(one.is_alive for one in lost):
            raise NotReadyError("what runs in region a is not what plane.json says; start midwatch up anew")
        held = [str(Path(self._up["held"]) / name) for name in names]
        fault = faults.LoseRegion(target="a", folder=str(self._folder), victims=tuple(lost), held=tuple(held))
        if self._takeover:
            self._takeover.mark()
        return PlannedFault(fault=fault, old=str(self.cluster.ports["a"]), sink=self._up["sink"]["file"])

    def checks(self) -> list[Check]:
        """Those of the store, and that events go on in region b where it has an exporter."""
        return [*super().checks(), *([self._takeover.check()] if self._takeover else [])]

    def stop(self) -> None:
        """Nothing of it is ours."""


def _inventory(state: Path, store: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        up = json.loads((state / "plane.json").read_text())
    except (OSError, ValueError) as error:
        raise NotReadyError(f"{state}: nothing runs there; start it with: midwatch up --state {state}") from error
    regions = up.get("regions")
    if not regions or regions["store"] != store:
        raise NotReadyError(f"{state}: what runs there has no regions of the store {store}")
    return up, regions
