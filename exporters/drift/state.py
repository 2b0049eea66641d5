"""The judge's state as a file: windows, what is published, and the place in the journal, which always belong together.

Pane by pane, so that writing takes no memory; each part has a checksum, as a snapshot of the exporter has.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from exporters.drift.published import Entry
from exporters.drift.windows import SavedPane, SavedStream
from exporters.events import journal, private_files
from midwatch.errors import MidwatchError
from monitors.drift import retraining

MAGIC = b"midwatch-drift 1\n"
_HEAD, _STREAM, _OPEN, _CLOSED, _ENTRY, _HALF, _END = range(1, 8)
"""Kinds of parts; panes follow their stream."""

Record = tuple[str, str, float | None, float, dict[str, int]]
"""Model, version, when its last window ended, how many rows that had, and how many windows had each verdict."""

Stream = tuple[str, str, SavedStream]
"""Model, version, windows."""


class Head(msgspec.Struct):
    """What is small: the place in the journal, how the wall clock stands to its time, and the verdicts of versions."""

    segment: int = 0
    offset: int = 0
    wall_offset: float = 0.0
    records: list[Record] = []
    retraining: retraining.Saved = msgspec.field(default_factory=retraining.Saved)


class Saved(msgspec.Struct):
    """What survives."""

    head: Head = msgspec.field(default_factory=Head)
    streams: Iterable[Stream] = ()
    entries: Iterable[Entry] = ()
    halves: Iterable[bytes] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_stream = msgspec.msgpack.Decoder(Stream).decode
_decode_pane = msgspec.msgpack.Decoder(SavedPane).decode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode


class DamagedError(MidwatchError):
    """The file is not whole."""


def write(path: Path, saved: Saved) -> int:
    """Write the state beside, to the disk, and move it into place; its bytes. MidwatchError when it cannot be done."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        with private_files.creating(partial) as file:
            file.write(MAGIC)
            for kind, body in _parts(saved):
                file.write(journal.encode(kind, 0.0, body))
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        partial.replace(path)
        private_files.sync_folder(path.parent)
    except (OSError, journal.FrameSizeError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise MidwatchError(f"{path}: cannot be written: {error}") from error
    return size


def _parts(saved: Saved) -> Iterator[tuple[int, bytes]]:
    yield _HEAD, _encode(saved.head)
    for model, version, stream in saved.streams:
        yield _STREAM, _encode((model, version, SavedStream(stream.reference, stream.after)))
        yield from ((_OPEN, _encode(pane)) for pane in stream.open)
        yield from ((_CLOSED, _encode(pane)) for pane in stream.closed)
    yield from ((_ENTRY, _encode(entry)) for entry in saved.entries)
    yield from ((_HALF, half) for half in saved.halves)
    yield _END, b""


def read(path: Path) -> Saved:
    """What was written; FileNotFoundError where nothing was, DamagedError where it is not whole."""
    head, streams, entries, halves = Head(), list[Stream](), list[Entry](), list[bytes]()
    kind = 0
    try:
        for frame in journal.read_file(path, magic=MAGIC):
            kind, body = frame.kind, frame.body
            if kind == _HEAD:
                head = _decode_head(body)
            elif kind == _STREAM:
                streams.append(_decode_stream(body))
            elif kind == _OPEN:
                streams[-1][2].open.append(_decode_pane(body))
            elif kind == _CLOSED:
                streams[-1][2].closed.append(_decode_pane(body))
            elif kind == _ENTRY:
                entries.append(_decode_entry(body))
            elif kind == _HALF:
                halves.append(body)
    except (msgspec.MsgspecError, IndexError) as error:
        raise DamagedError(f"{path}: {error}") from error
    if kind != _END:
        raise DamagedError(f"{path}: it ends too early")
    return Saved(head, streams, entries, halves)
