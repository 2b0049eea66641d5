"""Evidence that survives a crash and shows any change: an append-only log, each record durable and chained to the last.

A record is one line of JSON: `seq` (from 0), `at` (RFC 3339, UTC: a label, nothing is computed from it), `pid`, `kind`,
`data`, `prev` (the hash before) and `hash`. The hash is SHA-256 over the line without it, or HMAC-SHA-256 (RFC 2104)
with a key: then nobody without the key can forge a chain. Several processes may append; each append holds the file's
lock, and what one that failed has written is cut off again. A chain cannot show by itself that its end was cut off:
keep the head (`Verified.head`) elsewhere, as reports do, and give it to `verify`.

A key is exchanged by a record that the old key signs and that names the next one, followed by one that the next one
signs (`Log.hand_over`). A log may begin without a key and be handed over to its first. The next key has to take it at
once: a record that names it can be written by whoever has the key before, or without one, and proves nothing.

The verdicts of a gate and the steps of a retraining had formats of their own: a JSON object a line, chained by
`previous` or not at all. Such lines stay. The first record after them is chained to the SHA-256 of all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from midwatch.errors import MidwatchError, Problem

GENESIS = "0" * 64
"""What the first record is chained to."""

_EARLIER = {"previous"}, {"episode", "event"}
"""Keys that tell a line of an earlier format: of a gate's verdicts, and of a retraining's steps."""

_CHUNK = 65536

HANDED_OVER, TAKEN = "key-handed-over", "key-taken"
"""Kinds of records: the last one under a key, which names the next by its fingerprint, and the first under that."""


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
    """How many records there are, the last one's place in the chain, and everything that is not right, by line.

    `earlier` says how many of the records are lines of an earlier format.
    """

    records: int
    head: Head | None
    problems: tuple[Problem, ...]
    earlier: int = 0


def read_key(path: Path) -> bytes:
    """The key in a file; EvidenceError when it cannot be read or is empty, since that would sign nothing."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}: the key of the evidence cannot be read") from error
    if not key:
        raise EvidenceError(f"{path}: the key of the evidence is empty; make one with: openssl rand -hex 32")
    return key


def fingerprint(key: bytes) -> str:
    """What names a key and does not tell it; `none` is that of no key."""
    return hmac.new(key, b"midwatch evidence key", hashlib.sha256).hexdigest()[:32] if key else "none"


class Log:
    """Appends to a log. Records are on the disk when `append` or `append_event` returns."""

    def __init__(self, path: Path, *, key: bytes | None = None) -> None:
        self.path, self._key = path, key or b""
        self._unkept: tuple[int, int] | None = None

    def append(self, kind: str, **data: Any) -> Record:
        """Add a record; EvidenceError when it cannot be kept or the log's end is damaged."""
        with self._locked() as descriptor:
            return self._append(descriptor, kind, data)

    def append_event(self, event: msgspec.Struct) -> Record:
        """Add a tagged struct: its tag is the record's kind, its fields are the data."""
        kind = event.__struct_config__.tag
        if not isinstance(kind, str):
            raise TypeError(f"{type(event).__name__} has no tag")
        data = msgspec.to_builtins(msgspec.structs.asdict(event))
        with self._locked() as descriptor:
            return self._append(descriptor, kind, data)

    def hand_over(self, key: bytes) -> Record:
        """Exchange the key: returns the first record under the next one, which this log goes on with.

        What a crash has interrupted is finished. EvidenceError when it is the same key, or none.
        """
        if not key or key == self._key:
            raise EvidenceError(f"{self.path}: the next key is {'the same one' if key else 'empty'}")
        with self._locked() as descriptor:
            if not self._has_handed_to(key, descriptor):
                named = {"from": fingerprint(self._key), "to": fingerprint(key)}
                self._append(descriptor, HANDED_OVER, named)
            self._key = key
            return self._append(descriptor, TAKEN, {"key": fingerprint(key)})

    def _has_handed_to(self, key: bytes, descriptor: int) -> bool:
        """Whether the last record, by today's key, names the next one: then only that one's record is missing."""
        last = _parsed(_end(descriptor)[0] or b"")
        is_handed = last is not None and last.kind == HANDED_OVER and _is_by(self._key, last)
        return last is not None and is_handed and last.data.get("to") == fingerprint(key)

    def ensure_appendable(self) -> None:
        """EvidenceError when the log cannot be written, or its end is damaged; creates an empty one."""
        with self._locked() as descriptor:
            self._before(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which no other process appends to meanwhile."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._make_private(descriptor)
                with suppress(PermissionError):  # a file that may only grow: the next record tells of the torn one
                    self._take_back(descriptor)
                yield descriptor
            finally:
                os.close(descriptor)
            if is_new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise EvidenceError(f"{self.path}: {error.strerror or error}") from error

    def _make_private(self, descriptor: int) -> None:
        """Let nobody but the owner read what says who was promised what."""
        found = os.fstat(descriptor)
        if found.st_mode & 0o077 and found.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)

    def _take_back(self, descriptor: int) -> None:
        """Cut off what a failed append left: its caller was told that it is not kept, so it must not be in the log."""
        if self._unkept is None:
            return
        good, failed = self._unkept
        if os.fstat(descriptor).st_size == failed:  # nobody has written after it
            os.ftruncate(descriptor, good)
        self._unkept = None

    def _before(self, descriptor: int, kind: str = "") -> tuple[int, str, bytes]:
        """Number of the next record, what it is chained to, and what a crash left at the end."""
        last, torn = _end(descriptor)
        if last is None:
            return 0, GENESIS, torn
        if record := _parsed(last):
            self._ensure_mine(record, kind)
            return record.seq + 1, record.hash, torn
        lines = os.pread(descriptor, os.fstat(descriptor).st_size, 0).split(b"\n")[:-1]
        if any(map(_parsed, lines)) or not any(map(_earlier, lines)):
            raise EvidenceError(f"{self.path}: its last record is damaged; midwatch evidence verify says more")
        return 0, _digest_of_earlier(lines), torn

    def _ensure_mine(self, last: Record, kind: str) -> None:
        """EvidenceError when the log goes on with another key, or is handed over: it would not be whole."""
        if last.kind == HANDED_OVER:
            if kind != TAKEN:
                remedy = "midwatch evidence rotate, with both keys, finishes it"
                raise EvidenceError(f"{self.path}: its last record hands over to a key that has not taken it; {remedy}")
        elif not _is_by(self._key, last):
            advice = "midwatch evidence rotate hands a log over to another key"
            raise EvidenceError(
                f"{self.path}: its last record was not written under this key, or was changed; {advice}"
            )

    def _append(self, descriptor: int, kind: str, data: dict[str, Any]) -> Record:
        seq, prev, torn = self._before(descriptor, kind)
        if torn:
            data = {**data, "torn": hashlib.sha256(torn).hexdigest()}
        record = _sealed(self._key, seq=seq, kind=kind, data=data, prev=prev)
        line = (b"\n" if torn else b"") + _line(record)
        size = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, line)
            if written != len(line):
                raise EvidenceError(f"{self.path}: only {written} of {len(line)} bytes were written: is the disk full?")
            os.fsync(descriptor)
        except (OSError, EvidenceError):
            self._unkept = size, os.fstat(descriptor).st_size
            with suppress(OSError):  # the next append tries again
                self._take_back(descriptor)
            raise
        return record


def read(path: Path) -> list[Record]:
    """Records of a log in their order; lines that are none are left out (`verify` names them), and no log has none.

    EvidenceError when it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EvidenceError(f"{path}: the evidence cannot be read: {error.strerror}") from error
    return [record for line in content.split(b"\n") if (record := _parsed(line)) is not None]


def read_from(path: Path, offset: int) -> tuple[list[Record], int]:
    """Records of a log from a byte on, and the byte after the last whole line: where to read on. No log has none.

    EvidenceError when it cannot be read, or is shorter than it was.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        content, size = b"", 0
    except OSError as error:
        raise EvidenceError(f"{path}: the evidence cannot be read: {error.strerror}") from error
    if size < offset:
        raise EvidenceError(f"{path}: the evidence is shorter than it was; midwatch evidence verify says more")
    whole = content[: content.rfind(b"\n") + 1]
    records = [record for line in whole.split(b"\n") if (record := _parsed(line)) is not None]
    return records, offset + len(whole)


def head(path: Path) -> Head | None:
    """Where a log ends, as its last record says; None without one. Nothing is verified."""
    records = read(path)
    return Head(seq=records[-1].seq, hash=records[-1].hash) if records else None


def parse_heads(texts: Iterable[str]) -> Iterator[Head]:
    """Heads of texts such as `12:ab34`; MidwatchError when one is none."""
    for text in texts:
        seq, colon, digest = text.partition(":")
        if not colon or not seq.isdigit():
            raise MidwatchError(f"--head {text!r} is not SEQ:HASH")
        yield Head(seq=int(seq), hash=digest)


def verify(
    path: Path, key: bytes | None = None, *, heads: Iterable[Head] = (), earlier_keys: Iterable[bytes] = ()
) -> Verified:
    """Check every byte of a log, and that it still holds the heads that were kept elsewhere.

    It has to end under `key`; `earlier_keys` are those that were handed over.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = Problem(file=str(path), message=error.strerror or "cannot be read", remedy="give the log's path")
        return Verified(records=0, head=None, problems=(problem, *_check_heads(path, heads, {})))
    *lines, tail = content.split(b"\n")
    count = _count_earlier(lines)
    earlier = lines[:count]
    records: list[Record] = []
    problems = [
        *_check_earlier(path, earlier, is_sealed=count < len(lines)),
        *_check_lines(path, lines, count, _Keys(key or b"", earlier_keys), records),
    ]
    if tail:
        remedy = "a crash can tear at most the last record, and the next one says so; nothing said so here"
        problems.append(
            Problem(file=str(path), line=len(lines) + 1, message="the last line is not a whole record", remedy=remedy)
        )
    problems += _check_heads(path, heads, {record.seq: record.hash for record in records})
    last = Head(seq=records[-1].seq, hash=records[-1].hash) if records else None
    kept = sum(_earlier(line) is not None for line in earlier)
    return Verified(records=kept + len(records), head=last, problems=tuple(problems), earlier=kept)


def _check_heads(path: Path, heads: Iterable[Head], known: Mapping[int, str]) -> Iterator[Problem]:
    """Heads that were kept elsewhere and that the log does not have, by the hashes of its records."""
    for head in heads:
        if known.get(head.seq) != head.hash:
            message = f"record {head.seq} with hash {head.hash[:12]}… is not in it: cut off or replaced"
            yield Problem(file=str(path), message=message)


class _Keys:
    """The keys of a log as it is read: which one its next record has to be signed with."""

    def __init__(self, last: bytes, earlier: Iterable[bytes]) -> None:
        self._last = last
        self._known = {fingerprint(key): key for key in (b"", *earlier, last)}
        self._now: bytes | None = None
        self._is_handed = False

    def check(self, record: Record) -> str:
        """What is wrong with a record's signature, empty when nothing is."""
        if self._now is None:
            self._now = next((key for key in self._known.values() if _is_by(key, record)), self._last)
        if not _is_by(self._now, record):
            return f"record {record.seq} is not what was written, or the key is another"
        was_handed, self._is_handed = self._is_handed, record.kind == HANDED_OVER
        if was_handed and record.kind != TAKEN:
            return f"record {record.seq} does not take over the key that the one before it names"
        if record.kind != HANDED_OVER:
            return ""
        named = str(record.data.get("to"))
        self._now = self._known.get(named, self._last)
        return "" if named in self._known else f"record {record.seq} hands over to the key {named}, which was not given"

    def end(self, record: Record) -> str:
        """What is wrong with the key that the log ends under."""
        if self._is_handed:
            return f"record {record.seq}, the last, hands over to a key that has not taken it: it proves nothing"
        if self._now is None or self._now == self._last:
            return ""
        return f"record {record.seq}, the last, was written under another key than the one given, or none"


def _is_by(key: bytes, record: Record) -> bool:
    return hmac.compare_digest(record.hash, _digest(key, _body(record)))


def _check_lines(path: Path, lines: list[bytes], start: int, keys: _Keys, records: list[Record]) -> Iterator[Problem]:
    """Check the lines from `start` on, and add what are records to `records`."""
    number = 0
    torn: tuple[int, bytes] | None = None
    genesis = _digest_of_earlier(lines[:start]) if start else GENESIS
    for number, line in enumerate(lines[start:], start + 1):
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
        seq, prev = (records[-1].seq + 1, records[-1].hash) if records else (0, genesis)
        if wrong := keys.check(record):
            yield _problem(path, number, wrong)
        if (record.seq, record.prev) != (seq, prev):
            yield _problem(path, number, f"record {record.seq} does not follow the one before it")
        records.append(record)
    if torn is not None:
        yield _problem(path, torn[0], "not a record")
    if records and (wrong := keys.end(records[-1])):
        yield _problem(path, number, wrong)


# Lines of an earlier format ----------------------------------------------------------------------------------------


def _earlier(line: bytes) -> dict[str, Any] | None:
    """The document of a line of an earlier format, None for anything else."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_earlier = isinstance(document, dict) and any(names <= document.keys() for names in _EARLIER)
    return document if is_earlier else None


def _count_earlier(lines: Sequence[bytes]) -> int:
    """How many lines stand before the first record; none when they are not of an earlier format."""
    count = next((number for number, line in enumerate(lines) if _parsed(line) is not None), len(lines))
    first = _parsed(lines[count]) if count < len(lines) else None
    if first is not None and "torn" in first.data:
        count -= 1
    return count if any(_earlier(line) is not None for line in lines[:count]) else 0


def _digest_of_earlier(lines: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


def _check_earlier(path: Path, lines: Sequence[bytes], *, is_sealed: bool) -> Iterator[Problem]:
    """Check the chain by `previous`; lines without one are shown by the first record after them, if there is one."""
    previous = GENESIS
    for number, line in enumerate(lines, 1):
        document = _earlier(line)
        if document is None:
            continue  # what a crash left
        if "previous" in document:
            if document["previous"] != previous:
                yield _problem(path, number, "does not follow the line before it")
        elif not is_sealed:
            yield _problem(path, number, "of an earlier format without a chain: a change of it would not show")
        previous = hashlib.sha256(line).hexdigest()


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
    except (ValueError, TypeError, RecursionError):
        return None
    right = (
        isinstance(record.seq, int)
        and isinstance(record.at, str)
        and isinstance(record.kind, str)
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
