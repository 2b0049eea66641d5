"""What the life of a process means for its event logs: a fork, its end, SIGTERM.

`atexit` closes the logs of a process that ends by itself or by an exception. Two ends pass it by. The default action of
SIGTERM ends a process at once, so SIGTERM is made an exit where nobody else has a handler for it. And a child of
`multiprocessing` (or Celery's billiard) runs only the finalizers of that module.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Any, Protocol

CLOSE_SECONDS = 5.0
"""For all logs of a process that ends: supervisors kill after ten and more."""
_FINALIZERS = ("multiprocessing.util", "billiard.util")
_FINALIZER_PRIORITY = 100
"""Before the queues and managers of the module end."""


class Log(Protocol):
    """What ends with a process."""

    def leave_parent(self) -> None:
        """Forget what belongs to the process that this one was forked from."""

    def close(self, timeout: float) -> Any:
        """Send what waits."""


_logs: weakref.WeakSet[Log] = weakref.WeakSet()
_finalized_in: set[int] = set()


def register(log: Log) -> None:
    """Tell a log of forks, and close it at the end of the process."""
    _logs.add(log)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit)


def forget(log: Log) -> None:
    """A log is closed; when it was the last one, SIGTERM is again what it was."""
    _logs.discard(log)
    if (
        not _logs
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is _exit
    ):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def close_before_end() -> None:
    """Have the logs closed in a process that was started by `multiprocessing` as well."""
    if os.getpid() in _finalized_in:
        return
    _finalized_in.add(os.getpid())
    for name in _FINALIZERS:
        if (util := sys.modules.get(name)) is not None:
            util.Finalize(None, _close_all, exitpriority=_FINALIZER_PRIORITY)


@atexit.register
def _close_all() -> None:
    until = time.monotonic() + CLOSE_SECONDS
    for log in list(_logs):
        log.close(max(0.0, until - time.monotonic()))


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    """End as by `sys.exit`, with the status that a shell shows after SIGTERM; another SIGTERM kills."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(128 + number)


def _leave_parents() -> None:
    for log in list(_logs):
        log.leave_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_parents)
