"""The journal's own time: seconds that run with the machine, whatever becomes of the wall clock.

It begins at what the wall clock says and goes on with the time since boot, so a wall clock that is set ahead and back
lets nothing expire and forgets no id. After a restart it goes on by the time since boot too; after a reboot, or on
another machine, by how far the wall clock has gone on since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """What the clocks said at a moment of the journal's time: wall clock, seconds since boot, and which boot it was."""

    at: float
    wall: float
    since_boot: float
    boot: str


def since_boot() -> float:
    """Seconds since the machine was started, sleep included where the system counts it."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def boot() -> str:
    """Which start of the machine this is; empty where nobody tells."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class JournalTime:
    """The journal's time of one process; `newest` is the last that the journal knows of, 0 without any."""

    def __init__(
        self,
        newest: float,
        last: Reading | None,
        *,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = since_boot,
        boot_id: str | None = None,
    ) -> None:
        self._elapsed, self._wall = elapsed, wall
        self._boot = boot() if boot_id is None else boot_id
        self._began = elapsed()
        self._base = max(newest, self._resumed(last))

    def _resumed(self, last: Reading | None) -> float:
        if last is None:
            return self._wall()
        if self._boot and last.boot == self._boot and self._began >= last.since_boot:
            return last.at + self._began - last.since_boot
        return last.at + max(0.0, self._wall() - last.wall)

    def now(self) -> float:
        """Seconds; never less than before."""
        return self._base + max(0.0, self._elapsed() - self._began)

    def reading(self) -> Reading:
        """What the clocks say now."""
        return Reading(self.now(), self._wall(), self._elapsed(), self._boot)
