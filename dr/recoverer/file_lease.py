"""The lease of recoverers that share the file system of one machine: a lock on a file.

The kernel's file lock is that lease: it cannot be held twice, and it is gone when its holder is, however that ends. A
holder that is merely stopped keeps it, so that nobody promotes behind its back; safety is worth more than a quick
second recoverer here. Each holder gets a term of its own, larger than all before, and the endpoint refuses routes of
older terms.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from dr.recoverer.lease import LeaseHeldError, LeaseLostError
from midwatch import files


class FileLease:
    """The lease of one store on this machine; `term` is this holder's. LeaseHeldError when another has it."""

    def __init__(self, folder: Path, holder: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._holder = folder / "lease.json", holder
        self._lock = os.open(folder / "lease.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise LeaseHeldError(f"{self._path}: {_said(self._path)} recovers this store already") from error
        self.term = int(_document(self._path).get("term", 1))
        self._say()

    def ensure_held(self) -> None:
        """LeaseLostError when its file is another one by now: a lock on that would be a second lease."""
        try:
            held = os.path.samestat(os.fstat(self._lock), (self._path.parent / "lease.lock").stat())
        except OSError:
            held = False
        if not held:
            raise LeaseLostError(f"{self._path}: the lock's file was removed, and another recoverer may hold a new one")

    def is_wanted(self) -> bool:
        """Nobody can ask."""
        return False

    def next_term(self) -> int:
        """A term larger than all before, durable before it is used."""
        self.ensure_held()
        self.term += 1
        self._say()
        return self.term

    def _say(self) -> None:
        files.replace(self._path, json.dumps({"term": self.term, "holder": self._holder, "pid": os.getpid()}).encode())

    def release(self) -> None:
        """Let the next one have it."""
        os.close(self._lock)

    def __enter__(self) -> FileLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _said(path: Path) -> str:
    document = _document(path)
    return f"{document['holder']} (process {document['pid']})" if "holder" in document else "another process"
