"""An append-only record of verdicts: one JSON line each, on the disk before the answer, chained by digests.

A line holds the digest of the one before it, so that a line that was changed or removed later shows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError

FIRST = "0" * 64
"""What stands for the digest before the first line."""


class AuditError(MidwatchError):
    """The record cannot be kept, or has been tampered with."""


class Audit:
    """The record in one file; not for several processes at once (it is locked)."""

    def __init__(self, path: Path) -> None:
        import fcntl

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise AuditError(f"{path}: another gate writes it; give each its own with --audit") from error
        except OSError as error:
            raise AuditError(f"{path}: {error.strerror}; choose another with --audit") from error
        self._previous = _last_digest(path)
        if self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # a line that a crash cut short stays, and is no record

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record durably; AuditError when it cannot be."""
        line = json.dumps({**record, "previous": self._previous}, sort_keys=True, separators=(",", ":")).encode()
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise AuditError(f"{self._file.name}: {error.strerror}") from error
        self._previous = hashlib.sha256(line).hexdigest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def verify(path: Path) -> int:
    """Number of records of an unbroken chain; AuditError naming the first line that does not fit."""
    previous, count = FIRST, 0
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        record = _record(line)
        if record is None:
            continue
        if record.get("previous") != previous:
            raise AuditError(f"{path}:{number}: does not follow the line before it")
        previous, count = hashlib.sha256(line).hexdigest(), count + 1
    return count


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _last_digest(path: Path) -> str:
    lines = [line for line in path.read_bytes().splitlines() if _record(line) is not None]
    return hashlib.sha256(lines[-1]).hexdigest() if lines else FIRST
