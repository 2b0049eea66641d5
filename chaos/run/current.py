"""The run that this process is part of, for actions and probes: where it acts, its folder and ledger, who watches it.

A run that `midwatch chaos run` started has its folder in the environment. Otherwise, as under a plain `chaos run`, the
first action makes a folder and starts a watchdog of this very process, so that a fault never lacks one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from chaos import faults, lease
from chaos.causes import Causes
from chaos.places import known
from chaos.places.place import VARIABLES, Place, contradicts
from chaos.run import open_run, watchdog
from chaos.targets import Hit
from midwatch import files
from midwatch.errors import MidwatchError

ALERTS = "ALERTS"
"""Prometheus' series of alerts, pending and firing."""
CAUSES = "causes.json"
"""In a run's folder: which pages its faults can be the cause of."""
_WATCHDOGS: list[subprocess.Popen[bytes]] = []
"""Kept, so that the pipe to one stays open as long as this process lives."""


class Run:
    """A run at a place."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        lasting = place.lease(folder.name)
        self.ledger = faults.Ledger(folder, place.log(), lasting.keep_fault if lasting else None)

    def set_mark(self) -> None:
        """Remember which alerts are there already, firing or pending, once, before the first fault."""
        file = self.folder / "mark.json"
        if not file.exists():
            there = [dict(one.labels) for one in self.place.prometheus.query(ALERTS)]
            files.replace(file, json.dumps({**self.place.notices.mark(), "alerts": there}).encode())

    def of_another_cause(self, pages: Iterable[Mapping[str, str]]) -> list[str]:
        """Those of some pages that this run's faults cannot have caused; without a supervisor any new one may be."""
        file = self.folder / CAUSES
        causes = msgspec.json.decode(file.read_bytes(), type=Causes) if file.exists() else Causes()
        return causes.others(pages, alerts_before(self.folder))

    def hits(self) -> list[Hit]:
        """What the actions of this run have hit so far, reverted or not."""
        file = self.folder / "hits.json"
        return msgspec.json.decode(file.read_bytes(), type=list[Hit]) if file.exists() else []

    def add_hits(self, hits: Sequence[Hit]) -> None:
        """Remember what an action is about to hit."""
        files.replace(self.folder / "hits.json", msgspec.json.encode([*self.hits(), *hits]))

    def mark(self) -> dict[str, Any]:
        """What was there before the fault; MidwatchError when no fault was injected."""
        try:
            document: dict[str, Any] = json.loads((self.folder / "mark.json").read_text())
        except FileNotFoundError as error:
            raise MidwatchError("no fault was injected in this run, so nobody can have been told of it") from error
        return document


def alerts_before(folder: Path) -> list[dict[str, str]] | None:
    """Alerts that were there before the first fault of a run; None when it has injected none."""
    try:
        alerts = json.loads((folder / "mark.json").read_text()).get("alerts", [])
    except (FileNotFoundError, ValueError):
        return None
    return [{name: value for name, value in one.items() if name not in ("__name__", "alertstate")} for one in alerts]


def of_process(configuration: Mapping[str, Any] | None) -> Run:
    """The run of this process; its place is what the command says, and without one the experiment's configuration.

    MidwatchError when the configuration contradicts the command: the lock and the preconditions are those of one place.
    """
    given = {key: str(value) for key, value in (configuration or {}).items() if key in VARIABLES and value}
    folder = os.environ.get(watchdog.RUN_VARIABLE)
    told = {key: os.environ[name] for key, name in VARIABLES.items() if folder and os.environ.get(name)}
    wanted = {**given, **told}
    platform = wanted.get("platform")
    place = known.open_place(
        wanted.get("where") or "local", Path(wanted.get("state") or "."), Path(platform) if platform else None
    )
    for key, said in given.items():
        if contradicts(place, key, said):
            raise MidwatchError(f"the experiment names {key} {said}; this run is about {told.get(key, place.name)}")
    if folder is None:
        folder = str(_unwatched(place))
        os.environ[watchdog.RUN_VARIABLE] = folder
    return Run(place, Path(folder))


def ledger_of_process() -> faults.Ledger | None:
    """Faults of the run of this process, without a look at its place, which may be gone; None without a run."""
    folder = os.environ.get(watchdog.RUN_VARIABLE)
    run = open_run.read(Path(folder)) if folder else None
    return faults.Ledger(Path(folder), open_run.log_of(run)) if folder and run else None


def _unwatched(place: Place) -> Path:
    """A new folder, and a watchdog of this process that outlives it."""
    if place.home.kill_switch.exists():
        raise MidwatchError(f"the kill switch is set: {place.home.kill_switch}")
    folder = place.home.runs / f"plain-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    key_file = str(place.key_file) if place.key_file else None
    open_run.write(folder, open_run.OpenRun(log=str(place.home.evidence), key_file=key_file))
    command = watchdog.command(folder, place.home.evidence, place.key_file, "--of", str(os.getpid()))
    with lease.on_this_machine(place.home.lock) as lock, (folder / "watchdog.log").open("ab") as output:
        # The lock is the watchdog's from here on, and so is the other end of a pipe that breaks when we are gone.
        _WATCHDOGS.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(lock,),
            )
        )
    return folder
