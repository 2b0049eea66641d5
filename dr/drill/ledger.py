"""Ledgers of the observer and the recoverer: one checksummed line per fact, durable before it counts.

A line is `CRC32 JSON`. Facts are kept in the order they happened. What was acknowledged but is not in the ledger yet
when the observer dies is not counted: the ledger may know less than the store, never more. After a crash a ledger is
read up to a last line that was cut off.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from dr.drill import facts
from dr.drill.facts import Fact
from midwatch.errors import MidwatchError

F = TypeVar("F", bound=Fact)

OBSERVED: msgspec.json.Decoder[facts.Observed] = msgspec.json.Decoder(facts.Observed)
"""Reads the observer's facts."""
RECORDED: msgspec.json.Decoder[facts.Recorded] = msgspec.json.Decoder(facts.Recorded)
"""Reads the recoverer's events."""


class LedgerError(MidwatchError):
    """A ledger that cannot be written, or whose middle is damaged."""


class Ledger:
    """An append-only file. A thread writes and fsyncs what has gathered, so that a slow disk does not slow the writes
    that are being measured; `close` returns when everything is on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Condition()
        self._waiting: list[Fact] = []
        self._closed = False
        self._failed: OSError | None = None
        try:
            self._file = path.open("xb")
        except OSError as error:
            raise LedgerError(f"{path}: {error.strerror}; a drill writes a ledger of its own") from error
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def add(self, fact: Fact) -> None:
        """Take a fact; LedgerError once the disk has refused one."""
        with self._lock:
            if self._failed:
                raise LedgerError(f"the ledger cannot be written: {self._failed.strerror}")
            self._waiting.append(fact)
            self._lock.notify()

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait()
                batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                self._file.write(b"".join(line(fact) for fact in batch))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                with self._lock:
                    self._failed = error
                return

    def close(self) -> None:
        """Make the rest durable; LedgerError when that failed."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._thread.join()
        self._file.close()
        if self._failed:
            raise LedgerError(f"the ledger cannot be written: {self._failed.strerror}")


def line(fact: Fact) -> bytes:
    """A fact as it stands in the file."""
    body = msgspec.json.encode(fact)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_observed(path: Path) -> list[facts.Observed]:
    """The observer's facts up to where the file ends; a last line that was cut off is left out.

    Raises LedgerError when a line before the last is damaged or not known: then it is no record of anything.
    """
    return list(_facts(path, _content(path), OBSERVED))


def read_recorded(path: Path) -> list[facts.Recorded]:
    """The recoverer's events, as `read_observed`; none before its file is there."""
    return list(_facts(path, _content(path), RECORDED)) if path.exists() else []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from error


def _facts(path: Path, content: bytes, decoder: msgspec.json.Decoder[F]) -> Iterator[F]:
    lines = content.split(b"\n")
    for number, text in enumerate(lines[:-1], 1):
        checksum, _, body = text.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            if number == len(lines) - 1:
                return
            raise LedgerError(f"{path}:{number}: the line is damaged; the ledger proves nothing")
        try:
            yield decoder.decode(body)
        except msgspec.DecodeError as error:
            raise LedgerError(f"{path}:{number}: not a fact that this version knows: {error}") from error


def boot_id() -> str:
    """Which boot of which machine the monotonic clock belongs to."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class Tail(Generic[F]):
    """A ledger that is being written, read as it grows."""

    def __init__(self, path: Path, decoder: msgspec.json.Decoder[F]) -> None:
        self._path, self._decoder, self._offset = path, decoder, 0
        self.facts: list[F] = []

    def read(self) -> list[F]:
        """Every whole fact so far."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return self.facts
        whole, newline, _ = content.rpartition(b"\n")
        if newline:
            self.facts += _facts(self._path, whole + newline, self._decoder)
            self._offset += len(whole) + 1
        return self.facts
