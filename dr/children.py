"""Child processes: started so that none outlives the one that started it, and stopped for certain."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from midwatch import modules

STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def with_parent(number: signal.Signals) -> Callable[[], None]:
    """What a child does first, to have the kernel send it a signal when its parent is gone."""

    def ask() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)

    return ask


def start_module(module: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a module of ours as a process that gets SIGTERM when this one is gone."""
    return start_command(modules.command(module, *arguments), log)


def start_command(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command that gets SIGTERM when this process is gone; what it says goes to a log file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=with_parent(signal.SIGTERM) if sys.platform == "linux" else None,  # noqa: PLW1509 - one system call
        )


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, and SIGKILL when that is not enough; returns the exit code."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    process.kill()
    return process.wait()
