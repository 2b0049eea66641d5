"""The drill's own processes, and its folder: none of them outlives it, whatever ends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dr.postgres import cluster
from dr.postgres.programs import PostgresError, with_parent
from midwatch import modules

PREFIX = "midwatch-dr-"
STOP_SECONDS = 20.0


def start_helper(module: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
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


@contextmanager
def folder(keep: bool) -> Iterator[Path]:
    """A new folder that everybody may pass through, locked while it is in use; removed unless it is to be kept.

    What drills that were killed left behind is cleaned up first.
    """
    sweep()
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    path.chmod(0o755)
    lock = os.open(path / ".locking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (path / ".locking").rename(path / ".lock")  # locked before a sweep of another drill can find it
    try:
        yield path
    finally:
        os.close(lock)
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def sweep() -> list[Path]:
    """Stop and remove what drills that are gone have left; returns their folders."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(path / ".lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # it is in use
        else:
            for description in path.glob("**/cluster.json"):
                with contextlib.suppress(PostgresError):
                    cluster.stop(cluster.load(description.parent))
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
        finally:
            os.close(lock)
    return removed
