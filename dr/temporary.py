"""Folders of drills and restores: each is locked while it is in use, and cleaned up by the next one if it was left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "midwatch-dr-"


@contextmanager
def folder(*, keep: bool, stop: Callable[[Path], None]) -> Iterator[Path]:
    """A new folder that everybody may pass through, locked while it is in use; removed unless it is to be kept.

    What others that were killed left behind is cleaned up first; `stop` ends what still runs in a folder.
    """
    sweep(stop)
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    path.chmod(0o755)
    lock = os.open(path / ".locking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (path / ".locking").rename(path / ".lock")  # locked before the sweep of another one can find it
    try:
        yield path
    finally:
        os.close(lock)
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def sweep(stop: Callable[[Path], None]) -> None:
    """Stop and remove what those that are gone have left."""
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
            stop(path)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
