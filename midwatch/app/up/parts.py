"""Starting, watching and stopping the parts of a local stack: whatever happens, no process stays."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from midwatch import processes
from midwatch.app.up.reaper import Reaper
from midwatch.errors import Exit, MidwatchError

TERM_SECONDS = 10.0
"""How long a process may take to end by itself."""
READY_SECONDS = 90.0
"""How long a part may take until it answers."""
LOG_LINES = 12

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class PartDiedError(MidwatchError):
    """A part of the plane ended by itself, or never became ready."""

    exit = Exit.FAIL


@dataclass(kw_only=True)
class Part:
    """One running process of the plane; one that `may_end` is not missed when it does."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    command: Sequence[str]
    folder: Path
    port: int | None = None
    may_end: bool = False

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


class Parts:
    """The parts, in the order they were started.

    A file named as a part in `held` says that somebody keeps this part down on purpose: its death is no failure.
    Renamed to `NAME.released` it has the part started again, and is removed when that is done.
    """

    def __init__(self, logs: Path, held: Path) -> None:
        self._logs, self._held = logs, held
        self.started: list[Part] = []
        self._lock = threading.Lock()
        self._reaper = Reaper()

    def start(
        self, name: str, command: Sequence[str], *, folder: Path, port: int | None = None, may_end: bool = False
    ) -> Part:
        """Start a part in its own process group, its output in a log file; that of one that may end is piped to us."""
        path = self._logs / f"{name}.log"
        process = self._spawn(name, command, folder, path, piped=may_end)
        part = Part(
            name=name, process=process, log=path, command=tuple(command), folder=folder, port=port, may_end=may_end
        )
        with self._lock:
            self.started.append(part)
        return part

    def ensure_alive(self) -> None:
        """Raise PartDiedError, with its last log lines, when a part that nobody holds down has ended."""
        with self._lock:
            for part in self.started:
                code = part.process.poll()
                if code is not None and not part.may_end and not any(map(Path.exists, self._holds(part))):
                    raise PartDiedError(
                        f"{part.name} ended with code {code}; its last lines ({part.log}):\n{_tail(part.log)}"
                    )

    def mend(self) -> bool:
        """Start the parts again that were held down and are released; True when there was one."""
        mended = False
        with self._lock:
            for part in self.started:
                _, released = self._holds(part)
                if not released.exists() or _is_ending(part):
                    continue
                try:
                    if part.process.poll() is not None:
                        self._end_group(part)
                        part.process = self._spawn(part.name, part.command, part.folder, part.log, piped=part.may_end)
                        mended = True
                finally:
                    released.unlink()
        return mended

    def _holds(self, part: Part) -> tuple[Path, Path]:
        return self._held / part.name, self._held / f"{part.name}.released"

    def stop(self, part: Part) -> None:
        """End a part and everything it started."""
        if part.process.poll() is None:
            _signal_group(part.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.process.wait(TERM_SECONDS)
        self._end_group(part)
        part.process.wait()

    def stop_all(self) -> None:
        """End every part, the last one first."""
        with self._lock:
            while self.started:
                self.stop(self.started.pop())
        self._reaper.close()

    def _end_group(self, part: Part) -> None:
        _signal_group(part.process.pid, signal.SIGKILL)
        self._reaper.release(part.process.pid)

    def _spawn(
        self, name: str, command: Sequence[str], folder: Path, path: Path, *, piped: bool
    ) -> subprocess.Popen[bytes]:
        process = _spawn(name, command, folder, path, piped=piped)
        self._reaper.watch(process.pid)
        return process


def wait_until_ready(part: Part, path: str, parts: Parts, *, seconds: float = READY_SECONDS) -> None:
    """Wait for 200 from a part's path; PartDiedError when it ends or takes too long."""
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        parts.ensure_alive()
        try:
            with urllib.request.urlopen(part.url + path, timeout=1.0):  # noqa: S310 - a loopback URL of ours
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise PartDiedError(
        f"{part.name} was not ready after {seconds:g} s; its last lines ({part.log}):\n{_tail(part.log)}"
    )


def _spawn(name: str, command: Sequence[str], folder: Path, path: Path, *, piped: bool) -> subprocess.Popen[bytes]:
    with path.open("ab") as log:
        try:
            return subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
            )
        except OSError as error:
            raise PartDiedError(f"{name} cannot be started: {command[0]}: {error.strerror}") from error


def _end_with_parent() -> None:
    """In the child: have the kernel kill it when `midwatch up` is gone, even by kill -9."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _is_ending(part: Part) -> bool:
    """Whether it was killed and cannot be waited for yet, as long as one of its threads has not ended (waitpid(2))."""
    return part.process.poll() is None and processes.identify(part.process.pid) is None


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
