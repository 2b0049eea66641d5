"""The record of a gate's verdicts: an evidence log that no other gate writes."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midwatch import evidence
from midwatch.evidence import EvidenceError
from monitors.canary.question import Question


class Answered:
    """Whether an answer was given as it is recorded, or another because recording it took too long: settled once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled: str | None = None

    def settle(self, how: str) -> bool:
        """Whether this is how it is settled; False when it was settled otherwise before."""
        with self._lock:
            self._settled = self._settled or how
            return self._settled == how


class VerdictLog:
    """The record in one file; a file beside it is locked as long as this gate runs.

    It has what was answered: an answer that said that it cannot be recorded is not in it as another, and how many there
    were is recorded before the next.
    """

    def __init__(self, path: Path) -> None:
        lock = path.with_name(f"{path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
        except OSError as error:
            raise EvidenceError(f"{path}: {error.strerror}; choose another with --audit") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._log = evidence.Log(path)
            self._log.ensure_appendable()
            self._unrecorded = 0
        except BlockingIOError as error:
            self._lock.close()
            raise EvidenceError(f"{path}: another gate writes it; give each its own with --audit") from error
        except EvidenceError as error:
            self._lock.close()
            raise EvidenceError(f"{error}; choose another with --audit") from error

    def append(self, question: Question, answer: Mapping[str, Any], answered: Answered | None = None) -> None:
        """Write the answer to a question durably; EvidenceError when it cannot be.

        Where `answered` says at the end that another answer was given meanwhile, the record is withdrawn by the next.
        """
        # Which counters the model's server has, and whether series name a region, is the platform file's: not asked.
        known = {"served", "is_labelled"} | ({"region"} if question.region is None else set())
        asked = {name: value for name, value in asdict(question).items() if name not in known}
        try:
            if self._unrecorded:
                self._log.append("unrecorded", answers=self._unrecorded)
                self._unrecorded = 0
            record = self._log.append("verdict", asked=asked, **answer)
        except EvidenceError:
            self._unrecorded += 1
            raise
        if answered is not None and not answered.settle("recorded"):
            self._log.append("withdrawn", of=record.seq, verdict="inconclusive")

    def close(self) -> None:
        """Let another gate write the file."""
        self._lock.close()
