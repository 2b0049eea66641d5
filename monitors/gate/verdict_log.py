"""The record of a gate's verdicts: an evidence log that no other gate writes."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midwatch import evidence
from midwatch.evidence import EvidenceError
from monitors.canary.question import Question


class VerdictLog:
    """The record in one file; a file beside it is locked as long as this gate runs."""

    def __init__(self, path: Path) -> None:
        lock = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock.open("ab")
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}; choose another with --audit") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._log = evidence.Log(path)
            self._log.ensure_appendable()
        except BlockingIOError as error:
            self._lock.close()
            raise EvidenceError(f"{path}: another gate writes it; give each its own with --audit") from error
        except EvidenceError as error:
            self._lock.close()
            raise EvidenceError(f"{error}; choose another with --audit") from error

    def append(self, question: Question, answer: Mapping[str, Any]) -> None:
        """Write the answer to a question durably; EvidenceError when it cannot be."""
        # Which counters the model's server has is the platform file's, and was not asked.
        asked = {name: value for name, value in asdict(question).items() if name != "served"}
        self._log.append("verdict", asked=asked, **answer)

    def close(self) -> None:
        """Let another gate write the file."""
        self._lock.close()
