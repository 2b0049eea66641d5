"""Losing a region of the plane that `midwatch up` runs: its store, its models and its exporter, all at once.

The store, the recoverer and the endpoint are those of the plane; the drill brings only its observer, and looks at the
exporters' own counters of what they have kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dr import endpoint, observer, takeover, targets
from dr.postgres import cluster, faults
from dr.postgres.scene import LocalScene
from dr.scene import Injury, NotReadyError
from dr.verdict import Check
from midwatch.spec import dr as spec


class PlaneScene(LocalScene):
    """Implements `scene.Scene` on a running plane; `state` is its folder."""

    def __init__(
        self, recovery: spec.DisasterRecovery, store: spec.Store, drill: spec.Drill, platform_file: Path, state: Path
    ) -> None:
        from random import Random

        self._plane, self._inventory = _inventory(state, store.name)
        self._takeover: takeover.Takeover | None = None
        super().__init__(recovery, store, drill, platform_file, Path(self._inventory["folder"]), Random(0))  # noqa: S311 - nothing is drawn
        if drill.fault is not spec.Fault.LOSE_REGION:
            raise NotReadyError(f"{drill.fault} is not a drill of a running plane; run it without --state")

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
                "clients are in region b already; ask for a switchover to a first, or start the plane anew"
            )
        if exporters := self._inventory["exporters"]:
            self._takeover = takeover.Takeover(
                lost=self._url(exporters["a"]), heir=self._url(exporters["b"]), clients=exporters["clients"]
            )

    def _url(self, part: str) -> str:
        return str(next(one["url"] for one in self._plane["parts"] if one["name"] == part))

    def guard(self, events: Path) -> Sequence[str] | None:  # noqa: ARG002 - the plane's own runs
        """The plane's own runs."""
        return None

    def watched(self, events: Path) -> Path | None:  # noqa: ARG002 - see above
        """Where the plane's recoverer writes."""
        self._events = Path(self._inventory["events"])
        return self._events

    @property
    def model(self) -> observer.Model | None:
        """The model, through the endpoint in front of both regions."""
        probe = self._recovery.model
        url = self._inventory["models"].get(probe.server) if probe else None
        return observer.Model(url=url + probe.path, body=probe.body) if probe and url else None

    def injury(self) -> Injury:
        """Everything of region a; the plane is told that it is down on purpose, and brings it back when it is over."""
        names = self._inventory["region_a"]
        parts = {part["name"]: part["pid"] for part in self._plane["parts"]}
        held = [str(Path(self._plane["held"]) / name) for name in names]
        fault = faults.LoseRegion(
            target="a", folder=str(self._folder), pids=tuple(parts[name] for name in names), held=tuple(held)
        )
        if self._takeover:
            self._takeover.mark()
        return Injury(fault=fault, old=str(self.cluster.ports["a"]), sink=self._plane["sink"]["file"])

    def checks(self) -> list[Check]:
        """Those of the store, and that events go on in region b where it has an exporter."""
        return [*super().checks(), *([self._takeover.check()] if self._takeover else [])]

    def target(self) -> dict[str, Any]:
        """The database, through the endpoint."""
        return {"kind": "postgresql", "conninfo": self.cluster.client, "timeout": 1.0, "content": targets.CONTENT}

    def stop(self) -> None:
        """Nothing of it is ours."""


def _inventory(state: Path, store: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        plane = json.loads((state / "plane.json").read_text())
    except (OSError, ValueError) as error:
        raise NotReadyError(f"{state}: no plane runs there; start one with: midwatch up --state {state}") from error
    regions = plane.get("regions")
    if not regions or regions["store"] != store:
        raise NotReadyError(f"{state}: the plane that runs there has no regions of the store {store}")
    return plane, regions
