"""Folders of drills and restores: each is locked while it is in use, and cleaned up by the next one if it was left."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "midwatch-dr-"
LOCK, LOCKING = ".lock", ".locking"
"""The lock of a folder; it has the second name until it is held."""
NEW_SECONDS = 60.0
"""A folder without a lock is being made, or was left half made or half removed. It is being made for less than this."""


@contextmanager
def folder(*, keep: bool, stop: Callable[[Path], None]) -> Iterator[Path]:
    """A new folder that everybody may pass through, locked while it is in use; removed unless it is to be kept.

    What others that were killed left behind is cleaned up first; `stop` ends what still runs in a folder. The folder of
    a thread that is cut off by the end of its process goes as well.
    """
    sweep(stop)
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    path.chmod(0o755)
    lock = os.open(path / LOCKING, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (path / LOCKING).rename(path / LOCK)  # locked before the sweep of another one can find it

    def cut_off() -> None:
        stop(path)
        if not keep:
            _remove(path)

    atexit.register(cut_off)
    try:
        yield path
    finally:
        atexit.unregister(cut_off)
        if not keep:
            _remove(path)
        os.close(lock)


def _remove(path: Path) -> None:
    """Remove a folder, its lock last: what is left when that is cut short is found by the next sweep."""
    with contextlib.suppress(FileNotFoundError):  # another sweep was quicker
        for entry in path.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def sweep(stop: Callable[[Path], None]) -> None:
    """Stop and remove what those that are gone have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if _is_left(path):
                stop(path)
                _remove(path)
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # it is in use
        else:
            stop(path)
            _remove(path)
        finally:
            os.close(lock)


def _is_left(path: Path) -> bool:
    """Whether a folder without a lock is nobody's any more."""
    try:
        return time.time() - path.stat().st_mtime > NEW_SECONDS
    except OSError:
        return False
