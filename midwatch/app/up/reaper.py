"""The process that ends what parts have started when `midwatch up` is killed: the kernel then kills the parts alone.

`python reaper.py` reads a line `+GROUP` for each process group that is started and `-GROUP` for each that was ended. At
the end of its input nobody is there to end the others, and it kills them. It imports no package: it is there at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable


class Reaper:
    """The process, for the one that starts groups; started with the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def watch(self, group: int) -> None:
        """Have a process group killed when this process is gone."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
                )
            self._say(f"+{group}")

    def release(self, group: int) -> None:
        """Forget a process group that was ended: its number may become another's."""
        with self._lock:
            self._say(f"-{group}")

    def close(self) -> None:
        """End the process, and with it the groups that were not released."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.communicate()

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed itself: groups are ended as they are without it
                print(line, file=self._process.stdin, flush=True)


def left(lines: Iterable[str]) -> set[int]:
    """The groups that were started and not ended."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    return groups


if __name__ == "__main__":
    for group in left(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
