"""Which of several loops acts: the one that holds a lock on a file of the state folder that they share.

The kernel gives the lock to one and takes it back when that one is gone, however it ended. One that is merely stopped
keeps it, so that nobody asks for a second retraining behind its back.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from midwatch.errors import MidwatchError

LOCK = "loop.lock"


class Leadership:
    """The lock of a folder, which this process has or waits for."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MidwatchError(f"{folder}: {error.strerror}; give another folder with --state") from error

    def is_held(self) -> bool:
        """Whether this process has the lock; takes it when nobody has it. MidwatchError when it cannot be tried."""
        if self._descriptor is not None and not self._is_of_path(self._descriptor):
            self.release()  # somebody removed the file: another process may have locked a new one
        return self._descriptor is not None or self._take()

    def _take(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MidwatchError(f"{self._path}: {error.strerror}; give another folder with --state") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not self._is_of_path(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _is_of_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let another process act."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
