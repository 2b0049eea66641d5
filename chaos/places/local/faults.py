"""Faults on local processes: a part is killed and kept down, a link is bad, a limit is low, a hog takes the rest."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.faults import Fault, FaultError
from midwatch import files, modules, processes

HOG_VARIABLE = "MIDWATCH_CHAOS_HOG"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class PartKilled(Fault):
    """A part of the plane is killed and kept down; the plane starts it again when it is released.

    With `notice_seconds` it gets SIGTERM first, as a spot node's processes do, and SIGKILL after that time.
    """

    inventory: str
    held: str
    pid: int
    started: int
    notice_seconds: float = 0.0

    def inject(self) -> None:
        """Kill it."""
        files.replace(Path(self.held) / self.target, b"a chaos experiment\n")
        process = processes.Identity(pid=self.pid, started=self.started)
        if self.notice_seconds:
            self._signal(signal.SIGTERM)
            processes.wait_until(lambda: not process.is_alive, self.notice_seconds)
        if process.is_alive or not self.notice_seconds:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)  # a part leads its own group

    def is_effective(self) -> bool:
        """Whether it is dead."""
        return not processes.Identity(pid=self.pid, started=self.started).is_alive

    def revert(self) -> None:
        """Release it; where the plane is gone, nobody starts it again, and nothing may hold it in the next one."""
        held = Path(self.held) / self.target
        released = held.with_name(f"{self.target}.released")
        with contextlib.suppress(FileNotFoundError):
            held.rename(released)
        if not is_up(_document(Path(self.inventory))):
            released.unlink(missing_ok=True)

    def is_reverted(self) -> bool:
        """Whether it runs again, or the plane itself is gone."""
        held = Path(self.held) / self.target
        document = _document(Path(self.inventory))
        if not is_up(document):
            return not held.exists()
        if held.exists() or held.with_name(f"{self.target}.released").exists():
            return False
        pids = [part["pid"] for part in document["parts"] if part["name"] == self.target]
        return bool(pids) and processes.identify(pids[0]) is not None

    def describe(self) -> str:
        """What it does."""
        notice = f", {self.notice_seconds:g} s after SIGTERM" if self.notice_seconds else ""
        return f"kill process {self.pid}{notice} and keep it down"


@dataclass(frozen=True, kw_only=True)
class LinkBad(Fault):
    """A link between two parts is bad, see `chaos.places.local.links`."""

    control: str
    links: int
    document: Mapping[str, Any]
    links_started: int = 0

    def inject(self) -> None:
        """Write the control file."""
        files.replace(Path(self.control) / f"{self.target}.json", json.dumps(dict(self.document)).encode())

    def is_effective(self) -> bool:
        """Whether a request was hit: a bad link that nobody uses is no fault."""
        seen = _document(Path(self.control) / f"{self.target}.seen")
        return bool(seen.get("id") == self.document["id"] and seen.get("hit", 0) > 0)

    def revert(self) -> None:
        """Remove the control file."""
        (Path(self.control) / f"{self.target}.json").unlink(missing_ok=True)

    def is_reverted(self) -> bool:
        """Whether the link has said that it is good, or is gone."""
        if (Path(self.control) / f"{self.target}.json").exists():
            return False
        seen = _document(Path(self.control) / f"{self.target}.seen")
        return seen.get("id") != self.document["id"] or not _is_process(self.links, self.links_started)

    def describe(self) -> str:
        """What it does."""
        what = {name: value for name, value in self.document.items() if name != "id"}
        return f"make the link bad: {', '.join(f'{name} {value}' for name, value in sorted(what.items()))}"


@dataclass(frozen=True, kw_only=True)
class FilesLimited(Fault):
    """A process cannot write: its limit of file sizes (RLIMIT_FSIZE) is lowered, and writing fails as on a full disk.

    For processes that ignore SIGXFSZ, as Python's do. The disk itself is not touched.
    """

    pid: int
    started: int
    before: int
    hard: int
    ready: str

    def inject(self) -> None:
        """Lower the limit."""
        self._set(0)

    def _set(self, soft: int) -> None:
        if processes.Identity(pid=self.pid, started=self.started).is_alive:
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, self.hard))

    def _limit(self) -> int:
        return resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[0]

    def is_effective(self) -> bool:
        """Whether it says that it cannot keep what it is given."""
        return self._limit() == 0 and not _is_ready(self.ready)

    def revert(self) -> None:
        """Put the limit back."""
        self._set(self.before)

    def is_reverted(self) -> bool:
        """Whether the limit is what it was, or the process is gone."""
        if not processes.Identity(pid=self.pid, started=self.started).is_alive:
            return True
        return self._limit() == self.before

    def describe(self) -> str:
        """What it does."""
        return f"let process {self.pid} write to no file"


@dataclass(frozen=True, kw_only=True)
class Hogs(Fault):
    """Processes that take processor time, or one that takes memory, and end by themselves at the latest."""

    number: str
    takes: str
    count: int
    size: int
    seconds: float

    def inject(self) -> None:
        """Start them."""
        command = [*modules.command("chaos.places.local.hog"), self.takes, f"{self.seconds:g}"]
        command += [str(self.size)] if self.takes == "memory" else []
        environment = {**os.environ, HOG_VARIABLE: self.number}
        silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        for _ in range(self.count):
            os.posix_spawn(command[0], command, environment, file_actions=silent)

    def is_effective(self) -> bool:
        """Whether all of them have used a tenth of a second, or hold what they should."""
        pids = processes.marked(HOG_VARIABLE, self.number)
        return len(pids) == self.count and all(map(self._takes, pids))

    def _takes(self, pid: int) -> bool:
        if self.takes == "memory":
            return _resident(pid) >= self.size
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS >= 0.1

    def revert(self) -> None:
        """End them."""
        left = processes.end_tree(lambda: processes.marked(HOG_VARIABLE, self.number) - {os.getpid()})
        if left:
            raise FaultError(f"{self.target}: processes {sorted(left)} could not be ended")

    def is_reverted(self) -> bool:
        """Whether there is none."""
        return not any(processes.identify(pid) for pid in processes.marked(HOG_VARIABLE, self.number))

    def describe(self) -> str:
        """What it does."""
        what = f"{self.size / 2**20:.0f} MiB of memory" if self.takes == "memory" else f"{self.count} cores"
        return f"take {what} for at most {self.seconds:g} s"


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def is_up(inventory: Mapping[str, Any]) -> bool:
    """Whether the plane of a `plane.json` runs."""
    return _is_process(inventory.get("up", 0), inventory.get("up_started", 0))


def _is_process(pid: int, started: int) -> bool:
    """Whether a process is there that was started then (clock ticks after boot), at any time where that is 0."""
    found = processes.identify(pid)
    return found is not None and started in (0, found.started)


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return document


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310 - a loopback URL of the plane
            return True
    except (OSError, urllib.error.URLError):
        return False
