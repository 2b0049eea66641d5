"""A run's context, for actions and probes: where it acts, its folder and ledger, and who watches it.

A run that `midwatch chaos run` started has its folder in the environment. Otherwise, as under a plain `chaos run`, the
first action makes a folder and starts a watchdog of this very process, so that a fault never lacks one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos import faults, lease, notices, watchdog
from chaos.cluster.workloads import Cluster
from chaos.local.plane import Plane
from midwatch import evidence, files, modules
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load
from midwatch.spec import model as spec

WHERE_VARIABLE, STATE_VARIABLE, PLATFORM_VARIABLE = (
    "MIDWATCH_CHAOS_WHERE",
    "MIDWATCH_CHAOS_STATE",
    "MIDWATCH_CHAOS_PLATFORM",
)


_WATCHDOGS: list[subprocess.Popen[bytes]] = []
"""Kept, so that the pipe to one stays open as long as this process lives."""


@dataclass(frozen=True)
class Home:
    """Files of all runs below a state folder."""

    state: Path

    @property
    def folder(self) -> Path:
        """The folder of them all."""
        return self.state / "chaos"

    @property
    def evidence(self) -> Path:
        """The evidence log."""
        return self.folder / "evidence.jsonl"

    @property
    def lock(self) -> Path:
        """Held while an experiment runs."""
        return self.folder / "lock"

    @property
    def kill_switch(self) -> Path:
        """Is there while no experiment may run."""
        return self.folder / "stop"

    @property
    def runs(self) -> Path:
        """A folder for each run."""
        return self.folder / "runs"

    def open_runs(self) -> list[Path]:
        """Runs with faults that nobody has reverted."""
        return sorted({path.parent.parent for path in self.runs.glob("*/faults/*.json")})


class Place:
    """Where experiments act, and how to ask what is going on there."""

    def __init__(self, *, where: str, state: Path, platform_file: Path | None) -> None:
        self.name, self.state = where, state
        if where == "local":
            self.plane: Plane | None = Plane(state)
            self.platform_file, self.platform = self.plane.platform_file, self.plane.platform
            self.target: Plane | Cluster = self.plane
        elif where == "kubernetes":
            if platform_file is None:
                raise MidwatchError("in a cluster the platform file has to be given: --file")
            self.plane = None
            self.platform_file, self.platform = platform_file, load.load_platform(platform_file)
            self.target = Cluster(self.platform)
        else:
            raise MidwatchError(f"{where!r} is no place for experiments: local or kubernetes")

    @property
    def home(self) -> Home:
        """Files of all runs."""
        return Home(self.state)

    @cached_property
    def prometheus(self) -> Client:
        """Prometheus of the place."""
        url = self.plane.url("prometheus") if self.plane else self.platform.prometheus.url
        return Client(url, timeout=self.platform.prometheus.timeout)

    @cached_property
    def alertmanager(self) -> notices.Alertmanager:
        """Alertmanager of the place."""
        url = self.plane.url("alertmanager") if self.plane else self.platform.alertmanager.url
        return notices.Alertmanager(url, notices.channels_of(self.platform))

    @cached_property
    def notices(self) -> notices.Notices:
        """Where alerts can be seen to arrive."""
        return notices.Sink(self.plane.sink_file) if self.plane else self.alertmanager

    def lease(self, holder: str) -> lease.ClusterLease | None:
        """The cluster's lease for a holder; None on this machine, where a lock does."""
        if isinstance(self.target, Cluster):
            return lease.ClusterLease(self.target.namespace, holder)
        return None

    def log(self) -> evidence.Log:
        """The evidence log."""
        return evidence.Log(self.home.evidence, key=evidence_key(self.platform, self.platform_file))

    def environment(self) -> dict[str, str]:
        """What tells an experiment of this place."""
        return {
            WHERE_VARIABLE: self.name,
            STATE_VARIABLE: str(self.state.resolve()),
            PLATFORM_VARIABLE: str(self.platform_file.resolve()),
        }


def key_file(platform: spec.Platform, file: Path) -> Path | None:
    """The file of the evidence log's key, if it has one."""
    given = platform.chaos.evidence_key_file if platform.chaos else None
    return None if given is None else load.base_folder(file) / given


def evidence_key(platform: spec.Platform, file: Path) -> bytes:
    """Key of the evidence log, empty without one; MidwatchError when it cannot be read."""
    path = key_file(platform, file)
    if path is None:
        return b""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise MidwatchError(
            f"{path}: {error.strerror}: the key of the evidence log (chaos.evidence_key_file)"
        ) from error
    if not key:
        raise MidwatchError(f"{path}: the key of the evidence log is empty")
    return key


class Run:
    """The run that this process is part of."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        lasting = place.lease(folder.name)
        self.ledger = faults.Ledger(folder, place.log(), lasting.keep_fault if lasting else None)

    def set_mark(self) -> None:
        """Remember which alerts are there already, once, before the first fault."""
        file = self.folder / "mark.json"
        if not file.exists():
            files.replace(file, json.dumps(self.place.notices.mark()).encode())

    def mark(self) -> dict[str, Any]:
        """What was there before the fault; MidwatchError when no fault was injected."""
        try:
            document: dict[str, Any] = json.loads((self.folder / "mark.json").read_text())
        except FileNotFoundError as error:
            raise MidwatchError("no fault was injected in this run, so nobody can have been told of it") from error
        return document


def current(configuration: Mapping[str, Any] | None) -> Run:
    """The run of this process; its place is what the experiment's configuration says."""
    given = configuration or {}
    platform = given.get("platform")
    place = Place(
        where=str(given.get("where") or "local"),
        state=Path(str(given.get("state") or ".")),
        platform_file=Path(str(platform)) if platform else None,
    )
    folder = os.environ.get(watchdog.RUN_VARIABLE)
    if folder is None:
        folder = str(_unwatched(place))
        os.environ[watchdog.RUN_VARIABLE] = folder
    return Run(place, Path(folder))


def _unwatched(place: Place) -> Path:
    """A new folder, and a watchdog of this process that outlives it."""
    if place.home.kill_switch.exists():
        raise MidwatchError(f"the kill switch is set: {place.home.kill_switch}")
    folder = place.home.runs / f"plain-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    key = key_file(place.platform, place.platform_file)
    command = [*modules.command("chaos.watchdog"), str(folder), "--log", str(place.home.evidence)]
    command += ["--of", str(os.getpid()), *(["--key-file", str(key)] if key else [])]
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
