"""Files of a folder as records: predictions and labels of Midwatch, and CloudEvents of inference loggers.

A file that cannot be read makes one record that says why: it is counted as a `file` that was not taken, and the stream
goes on. A file is read as `midwatch exporter load` reads it; one of CloudEvents has a `specversion` in each line, or a
column of that name.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyarrow import fs, parquet

from exporters import event_files
from exporters.event_files import FileError, Piece, Reading
from exporters.events.reasons import Reason
from exporters.stream import records
from exporters.stream.sources import folder_log
from exporters.stream.sources.folder_log import Entry, Listed

CLOUD_EVENT = [{"key": "content-type", "value": b"application/cloudevents+json"}]
"""Headers of a record that is a CloudEvent in structured mode."""

CLOUD_EVENT_COLUMN = "specversion"
"""A table with this column is one of CloudEvents."""

_MARK = b'"specversion"'
_log = logging.getLogger(__name__)


class Body(NamedTuple):
    """Bytes of a record, the row of the file that it begins with, and whether it is a CloudEvent."""

    value: bytes
    row: int
    is_cloud_event: bool = False


class NotTakenError(Exception):
    """Why a file is not taken."""

    def __init__(self, reason: Reason, text: str) -> None:
        self.reason = reason
        super().__init__(text)


def batches(source: str, base: str, entries: Iterable[tuple[int, Entry]], reading: Reading) -> Iterator[pa.RecordBatch]:
    """Records of files, some at a time; `source` is the folder as it was given, `base` its path there."""
    system, _ = folder_log.opened(source)
    for number, entry in entries:
        try:
            for body in _bodies(system, f"{base}/{entry.file.path}", entry.file, reading):
                headers = CLOUD_EVENT if body.is_cloud_event else None
                yield _record(source, number, entry, body.row, body.value, headers)
        except NotTakenError as error:
            _log.error("%s/%s is not taken: %s", source, entry.file.path, error)
            yield _record(source, number, entry, 0, b"", records.fault(error.reason))


def _record(source: str, number: int, entry: Entry, row: int, value: bytes, headers: Any) -> pa.RecordBatch:
    """A record: its offset is the file's number in the log, and the row in the file."""
    columns = (source, 0, number << 32 | row, entry.arrived, value, headers, True)
    return pa.RecordBatch.from_pylist([dict(zip(records.COLUMNS, columns, strict=True))], schema=records.ARROW)


def _bodies(system: fs.FileSystem, path: str, listed: Listed, reading: Reading) -> Iterator[Body]:
    _ensure_unchanged(system, path, listed)
    try:
        with _local(system, path) as file:
            if file.suffix == ".parquet" and CLOUD_EVENT_COLUMN in parquet.read_schema(file).names:
                yield from _cloud_events(file)
                return
            for piece in event_files.open_file(file, reading).pieces:
                yield from _parts(piece) if _MARK in piece.body else [Body(piece.body, piece.rows[0])]
    except FileError as error:
        is_damaged = isinstance(error.__cause__, pa.ArrowException | OSError | UnicodeDecodeError)
        reason = Reason.FILE_UNREADABLE if is_damaged else Reason.FILE_COLUMNS
        raise NotTakenError(reason, str(error)) from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise NotTakenError(Reason.FILE_UNREADABLE, str(error)) from error


def _ensure_unchanged(system: fs.FileSystem, path: str, listed: Listed) -> None:
    """NotTakenError when the file is no longer what was listed: a batch that is run again must read the same."""
    info = system.get_file_info(path)
    if info.type is fs.FileType.NotFound:
        raise NotTakenError(Reason.FILE_UNREADABLE, "it was deleted before it was read, or its name is no UTF-8")
    if (info.size, info.mtime_ns or 0) != (listed.size, listed.written):
        raise NotTakenError(Reason.FILE_CHANGED, "it has changed since it was listed, and is read as it is now later")


@contextmanager
def _local(system: fs.FileSystem, path: str) -> Iterator[Path]:
    """A file on this machine with the name's ending; one of another file system is copied here meanwhile."""
    if isinstance(system, fs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.NamedTemporaryFile(suffix=Path(path).suffix) as copied:
        with system.open_input_stream(path) as stream:
            shutil.copyfileobj(stream, copied)
        copied.flush()
        yield Path(copied.name)


def _parts(piece: Piece) -> Iterator[Body]:
    """CloudEvents of a piece of lines one by one, and the lines between them together."""
    held: list[tuple[bytes, int]] = []
    for line, row in zip(piece.body.split(b"\n"), piece.rows, strict=True):
        if _is_cloud_event(line):
            yield from _together(held)
            held = []
            yield Body(line, row, is_cloud_event=True)
        else:
            held.append((line, row))
    yield from _together(held)


def _together(lines: list[tuple[bytes, int]]) -> Iterator[Body]:
    if lines:
        yield Body(b"\n".join(line for line, _ in lines), lines[0][1])


class _Marked(msgspec.Struct):
    specversion: str


_decode_marked = msgspec.json.Decoder(_Marked).decode


def _is_cloud_event(line: bytes) -> bool:
    if _MARK not in line:
        return False
    try:
        return bool(_decode_marked(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _cloud_events(file: Path) -> Iterator[Body]:
    number = 0
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=event_files.ROWS):
        for row in batch.to_pylist():
            number += 1
            yield Body(structured(row), number, is_cloud_event=True)


def structured(row: Mapping[str, Any]) -> bytes:
    """A row of a table as a CloudEvent in structured mode: a column an attribute, and `data` as text or as bytes."""
    told = {name: str(value) for name, value in row.items() if value is not None and name != "data"}
    data = row.get("data")
    if isinstance(data, bytes):
        return msgspec.json.encode({**told, "data_base64": data})
    if isinstance(data, str):
        return msgspec.json.encode({**told, "data": msgspec.Raw(data.encode())})
    return msgspec.json.encode({**told, "data": data})
