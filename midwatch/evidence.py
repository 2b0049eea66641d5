"""Evidence that survives a crash and shows any change: an append-only log, each record durable and chained to the last.

A record is one line of JSON: `seq` (from 0), `at` (RFC 3339, UTC: a label, nothing is computed from it), `pid`, `kind`,
`data`, `prev` (the hash before) and `hash`. The hash is SHA-256 over the line without it, or HMAC-SHA-256 (RFC 2104)
with a key: then nobody without the key can forge a chain. Several processes may append; each append holds the file's
lock. What a chain cannot show by itself is that its end was cut off: keep the head (`Verified.head`) elsewhere, as
reports do, and give it to `verify`.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError, Problem

GENESIS = "0" * 64
"""What the first record is chained to."""

_CHUNK = 65536


class EvidenceError(MidwatchError):
    """The log cannot be written, or its end is not what this code writes."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One event."""

    seq: int
    at: str
    pid: int
    kind: str
    data: dict[str, Any]
    prev: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where a log ends: kept elsewhere, it shows when records were cut off."""

    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How many records are right, the last one's place in the chain, and everything that is not right."""

    records: int
    head: Head | None
    problems: tuple[Problem, ...]


class Log:
    """Appends to a log. Records are on the disk when `append` returns."""

    def __init__(self, path: Path, *, key: bytes = b"") -> None:
        self.path, self._key = path, key

    def append(self, kind: str, **data: Any) -> Record:
        """Add a record; EvidenceError when it cannot be kept or the log's end is damaged."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                record = self._append(descriptor, kind, data)
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise EvidenceError(f"{self.path}: {error.strerror or error}") from error
        return record

    def _append(self, descriptor: int, kind: str, data: dict[str, Any]) -> Record:
        last, torn = _end(descriptor)
        before = _parsed(last) if last is not None else None
        if last is not None and before is None:
            raise EvidenceError(f"{self.path}: its last record is damaged; midwatch chaos verify-log says more")
        if torn:
            data = {**data, "torn": hashlib.sha256(torn).hexdigest()}
        record = _sealed(
            self._key,
            seq=before.seq + 1 if before else 0,
            kind=kind,
            data=data,
            prev=before.hash if before else GENESIS,
        )
        line = (b"\n" if torn else b"") + _line(record)
        written = os.write(descriptor, line)
        if written != len(line):
            raise EvidenceError(f"{self.path}: only {written} of {len(line)} bytes were written: is the disk full?")
        os.fsync(descriptor)
        return record


def read(path: Path) -> list[Record]:
    """Records of a log in their order; lines that are none are left out (`verify` names them)."""
    if not path.exists():
        return []
    return [record for line in path.read_bytes().split(b"\n") if (record := _parsed(line)) is not None]


def verify(path: Path, *, key: bytes = b"", heads: Iterable[Head] = ()) -> Verified:
    """Check every byte of a log, and that it still holds the heads that were kept elsewhere."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = Problem(file=str(path), message=error.strerror or "cannot be read", remedy="give the log's path")
        return Verified(records=0, head=None, problems=(problem,))
    *lines, tail = content.split(b"\n")
    records: list[Record] = []
    problems = list(_check_lines(path, lines, key, records))
    if tail:
        remedy = "a crash can tear at most the last record, and the next one says so; nothing said so here"
        problems.append(
            Problem(file=str(path), line=len(lines) + 1, message="the last line is not a whole record", remedy=remedy)
        )
    known = {record.seq: record.hash for record in records}
    problems += [
        Problem(
            file=str(path), message=f"record {head.seq} with hash {head.hash[:12]}… is not in it: cut off or replaced"
        )
        for head in heads
        if known.get(head.seq) != head.hash
    ]
    head = Head(seq=records[-1].seq, hash=records[-1].hash) if records else None
    return Verified(records=len(records), head=head, problems=tuple(problems))


def _check_lines(path: Path, lines: list[bytes], key: bytes, records: list[Record]) -> Iterator[Problem]:
    torn: tuple[int, bytes] | None = None
    for number, line in enumerate(lines, 1):
        record = _parsed(line)
        if record is None:
            if torn is not None:
                yield _problem(path, torn[0], "not a record")
            torn = (number, line)
            continue
        if torn is not None:
            if record.data.get("torn") != hashlib.sha256(torn[1]).hexdigest():
                yield _problem(path, torn[0], "not a record, and the next one does not tell of a crash here")
            torn = None
        elif "torn" in record.data:
            yield _problem(path, number, "tells of a torn line that is not there")
        yield from _check_record(path, number, record, key, records[-1] if records else None)
        records.append(record)
    if torn is not None:
        yield _problem(path, torn[0], "not a record")


def _check_record(path: Path, number: int, record: Record, key: bytes, before: Record | None) -> Iterator[Problem]:
    if not hmac.compare_digest(record.hash, _digest(key, _body(record))):
        yield _problem(path, number, f"record {record.seq} is not what was written, or the key is another")
    if record.prev != (before.hash if before else GENESIS) or record.seq != (before.seq + 1 if before else 0):
        yield _problem(path, number, f"record {record.seq} does not follow the one before it")


def _problem(path: Path, line: int, message: str) -> Problem:
    return Problem(file=str(path), line=line, message=message)


def _sealed(key: bytes, *, seq: int, kind: str, data: dict[str, Any], prev: str) -> Record:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"seq": seq, "at": at, "pid": os.getpid(), "kind": kind, "data": data, "prev": prev}
    # As it will be read: what JSON does not know (a path, a tuple) is text or a list from here on.
    body = json.loads(json.dumps(body, default=str))
    return Record(**body, hash=_digest(key, _canonical(body)))


def _digest(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else hashlib.sha256(content).hexdigest()


def _body(record: Record) -> bytes:
    return _canonical({name: value for name, value in vars(record).items() if name != "hash"})


def _line(record: Record) -> bytes:
    return _canonical(vars(record)) + b"\n"


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _parsed(line: bytes) -> Record | None:
    """The record of a line, None when it is not to the byte how a record is written."""
    try:
        document = json.loads(line)
        record = Record(**document)
    except (ValueError, TypeError):
        return None
    right = (
        isinstance(record.seq, int)
        and isinstance(record.data, dict)
        and isinstance(record.prev, str)
        and isinstance(record.hash, str)
        and record.hash.isascii()
    )
    return record if right and _line(record) == line + b"\n" else None


def _end(descriptor: int) -> tuple[bytes | None, bytes]:
    """The last whole line, None without one, and what a crash left behind it."""
    size = os.fstat(descriptor).st_size
    length = 0
    while True:
        length = min(size, length + _CHUNK)
        content = os.pread(descriptor, length, size - length)
        whole, newline, torn = content.rpartition(b"\n")
        if length == size or b"\n" in whole:
            break
    if not newline:
        return None, torn
    return _last_record_line(whole), torn


def _last_record_line(whole: bytes) -> bytes:
    return whole.rpartition(b"\n")[2]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
