"""Whole process trees on Linux: telling a process from its successor, finding every descendant, ending all of them.

A tree is found by parentage and by a marker in the environment, since a daemon leaves its parents but rarely its
environment. The one who ends trees adopts orphans (`adopt_orphans`), so that those who also drop the marker still
are among its descendants.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h

POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A process, and when it started (clock ticks after boot): a number alone may be another process by now."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[19]) == self.started and fields[0] not in ("Z", "X")

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped by a signal."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[19]) == self.started and fields[0] == "T"


def identify(pid: int) -> Identity | None:
    """The process that has this number now, None when there is none."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else Identity(pid=pid, started=int(fields[19]))


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the name: state first, parent second, start time at 19 (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def descendants(root: int) -> set[int]:
    """Every process below one."""
    children: dict[int, list[int]] = {}
    for pid in _all():
        if (fields := _stat(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
    below: set[int] = set()
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        if pid not in below:
            below.add(pid)
            waiting += children.get(pid, ())
    return below


def marked(name: str, value: str) -> set[int]:
    """Every process that was started with this variable in its environment, as far as we may look."""
    wanted = f"{name}={value}".encode()
    pids = set()
    for pid in _all():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                pids.add(pid)
    return pids


def having_open(device: int, inode: int) -> set[int]:
    """Every process that has a file open, as far as we may look."""
    found = set()
    for pid in _all():
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    status = descriptor.stat()
                    if (status.st_dev, status.st_ino) == (device, inode):
                        found.add(pid)
    return found


def _all() -> Iterable[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - four times as quick


def end_tree(find: Callable[[], set[int]], *, seconds: float = 5.0) -> set[int]:
    """Kill whatever `find` finds until it finds nothing; returns what is left after `seconds`.

    All of it is stopped first, so that nothing can start a successor while others are being killed.
    """
    deadline = time.monotonic() + seconds
    while True:
        reap()
        seen: set[int] = set()
        while new := {pid for pid in find() if identify(pid) is not None} - seen:
            for pid in new:
                send(pid, signal.SIGSTOP)
            seen |= new
        if not seen:
            return set()
        for pid in seen:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return seen
        time.sleep(POLL_SECONDS)


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def reap() -> None:
    """Collect children that ended, adopted ones too."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def wait_until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true within the time (monotonic seconds); asked at least once."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """In a child before exec: be killed when the parent's thread ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """A SIGTERM ends what is done meanwhile as Ctrl-C does; only in the main thread, which gets the signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
