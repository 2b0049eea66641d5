"""Files of predictions and labels, read piece by piece as lines of NDJSON: Parquet, CSV, or NDJSON itself.

A table has a column per field of an event (`id`, `model`, `version`, `ts`, `prediction`, `score`, ...), and
`features.NAME` and `groups.NAME`. A row with a `prediction` is a prediction, one with a `label` a label, one with both
is both; where there is no column for predictions, a row without a label is nothing yet.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from midwatch.errors import MidwatchError
from midwatch.spec.stream import EVENT_FIELDS

ROWS = 1000
"""Events of one piece: a request of as many costs the exporter some 10 ms."""

PIECE = 2**20
"""Bytes of one piece; an event that is larger goes alone."""

_TEXTS = ("id", "model", "version", "trace_id")
_PREDICTION = (*_TEXTS, "ts", "duration_seconds", "outcome", "prediction", "score", "rank")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_encode = msgspec.json.Encoder().encode


class FileError(MidwatchError):
    """A file that cannot be read as events."""


class Piece(NamedTuple):
    """Some lines of NDJSON, the row of the file that each is from, and how far in the file they end."""

    body: bytes
    rows: list[int]
    position: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a table is read: columns by field where they have other names, values of fields without a column.

    With `is_utc` a time without a zone is UTC.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    is_utc: bool = False


class EventFile(NamedTuple):
    """A file's pieces, and the position at its end: rows of Parquet, else bytes."""

    pieces: Iterator[Piece]
    size: int
    unit: str


def open_file(path: Path, reading: Reading) -> EventFile:
    """Begin to read a file, by its ending; FileError when it cannot be."""
    unknown = {*reading.columns, *reading.values} - EVENT_FIELDS
    if unknown:
        raise FileError(f"events have no field {min(unknown)!r}; they have {', '.join(sorted(EVENT_FIELDS))}")
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise FileError(f"{path}: the name of a file of events ends in {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](path, reading)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def of_rows(place: object, names: Iterable[str], reading: Reading) -> Callable[[Mapping[str, Any]], list[bytes]]:
    """What makes events, as JSON, of rows of a table with these columns; FileError when it has too few of them."""
    columns = _columns(place, names, reading)
    return lambda row: _events(row, columns, reading)


# NDJSON --------------------------------------------------------------------------------------------------------------


def _ndjson(path: Path, reading: Reading) -> EventFile:  # noqa: ARG001 - an event says its fields itself
    return EventFile(_pieces(_lines(path)), path.stat().st_size, "bytes")


def _lines(path: Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """Number of each line, where it ends in the file, and its event."""
    position = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            position += len(line)
            yield number, position, [line.strip()] if line.strip() else []


def _pieces(lines: Iterable[tuple[int, int, list[bytes]]]) -> Iterator[Piece]:
    events: list[bytes] = []
    rows: list[int] = []
    size = position = 0
    for row, end, found in lines:
        more = sum(map(len, found))
        if events and (len(events) >= ROWS or size + more > PIECE):
            yield Piece(b"\n".join(events), rows, position)
            events, rows, size = [], [], 0
        events += found
        rows += [row] * len(found)
        size, position = size + more, end
    if events:
        yield Piece(b"\n".join(events), rows, position)


# Tables --------------------------------------------------------------------------------------------------------------


def _csv(path: Path, reading: Reading) -> EventFile:
    return EventFile(_pieces(_csv_rows(path, reading)), path.stat().st_size, "bytes")


def _csv_rows(path: Path, reading: Reading) -> Iterator[tuple[int, int, list[bytes]]]:
    with path.open("rb") as file:

        def lines() -> Iterator[str]:
            for line in file:
                yield line.decode("utf-8-sig" if file.tell() == len(line) else "utf-8")

        try:
            table = csv.DictReader(lines())
            columns = _columns(path, table.fieldnames or (), reading)
            for row in table:
                typed = {name: _typed(text) for name, text in row.items() if name in columns}
                yield table.line_num, file.tell(), _events(typed, columns, reading)
        except (csv.Error, UnicodeDecodeError) as error:
            raise FileError(f"{path}: not CSV in UTF-8: {error}") from error


def _typed(text: str | None) -> Any:
    """Value of a cell: an empty one is none, and what is written as a number or true or false is one.

    >>> [_typed(text) for text in ("12", "0.5", "007", "true", "", "late")]
    [12, 0.5, '007', True, None, 'late']
    """
    if not text:
        return None
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[0] == "0" and text[1:2].isdigit():
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else None


def _parquet(path: Path, reading: Reading) -> EventFile:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.ParquetFile(path)
    except ArrowException as error:
        raise FileError(f"{path}: not Parquet: {error}") from error
    columns = _columns(path, table.schema_arrow.names, reading)
    return EventFile(_pieces(_parquet_rows(table, columns, reading)), table.metadata.num_rows, "rows")


def _parquet_rows(table: Any, columns: Mapping[str, str], reading: Reading) -> Iterator[tuple[int, int, list[bytes]]]:
    from pyarrow import ArrowException

    rows = (row for batch in table.iter_batches(batch_size=ROWS, columns=list(columns)) for row in batch.to_pylist())
    try:
        for number, row in enumerate(rows, 1):
            yield number, number, _events(row, columns, reading)
    except ArrowException as error:
        raise FileError(f"the Parquet file is damaged: {error}") from error


def _columns(path: object, names: Iterable[str], reading: Reading) -> dict[str, str]:
    """Field of each column that has one; FileError when the fields that every event has are not all there."""
    renamed = {column: name for name, column in reading.columns.items()}
    known = [*names]
    missing = [column for column in renamed if column not in known]
    if missing:
        raise FileError(f"{path}: there is no column {missing[0]!r}; it has {', '.join(known)}")
    columns = {name: renamed.get(name, name) for name in known}
    fields = {
        name: of
        for name, of in columns.items()
        if of in EVENT_FIELDS or of.startswith(("features.", "groups.")) or of in ("features", "groups")
    }
    for name in ("id", "model", "ts"):
        if name not in fields.values() and name not in reading.values:
            raise FileError(f"{path}: there is no column for {name}; name it with --column {name}=COLUMN")
    if not {"prediction", "label"} & set(fields.values()):
        raise FileError(f"{path}: there is no column for prediction, and none for label")
    return fields


def _events(row: Mapping[str, Any], columns: Mapping[str, str], reading: Reading) -> list[bytes]:
    """Events of a row, as JSON."""
    values: dict[str, Any] = dict(reading.values)
    nested: dict[str, dict[str, Any]] = {"features": {}, "groups": {}}
    for column, name in columns.items():
        value = _plain(row[column], reading)
        if value is None:
            continue
        holder, _, key = name.partition(".")
        if holder not in nested:
            values[name] = value
        elif key:
            nested[holder][key] = value
        elif isinstance(value, dict):
            nested[holder] |= value
    for name in _TEXTS:
        if name in values:
            values[name] = str(values[name])
    rank = values.get("rank")
    if isinstance(rank, float) and rank.is_integer():  # a column with gaps is one of floating-point numbers
        values["rank"] = int(rank)
    is_table_of_labels = "prediction" not in columns.values()
    return [_encode(event) for event in _made(values, nested, is_table_of_labels=is_table_of_labels)]


def _made(
    values: dict[str, Any], nested: Mapping[str, Mapping[str, Any]], *, is_table_of_labels: bool
) -> Iterator[dict[str, Any]]:
    kind = values.get("event")
    has_label, has_prediction = "label" in values, "prediction" in values or values.get("outcome") == "error"
    if kind not in (None, "prediction", "label"):
        yield {"event": str(kind)}
    if kind == "prediction" or (kind is None and (has_prediction or not (has_label or is_table_of_labels))):
        own = {name: values[name] for name in _PREDICTION if name in values}
        yield {"event": "prediction"} | own | {name: part for name, part in nested.items() if part}
    if kind == "label" or (kind is None and has_label):
        ts = values.get("label_ts", values.get("ts"))
        own = {name: values[name] for name in ("id", "model", "label") if name in values}
        yield {"event": "label"} | own | ({"ts": ts} if ts is not None else {})


def _plain(value: Any, reading: Reading) -> Any:
    """A cell as JSON has it; a time as RFC 3339."""
    kind = datetime if isinstance(value, datetime) else type(value)  # pandas has a class of its own for nanoseconds
    convert = _CONVERSIONS.get(kind)
    return value if convert is None else convert(value, reading.is_utc)


def _text(text: str, is_utc: bool) -> str:
    return text.replace(" ", "T") + "Z" if is_utc and _NAIVE.fullmatch(text) else text


def _time(moment: datetime, is_utc: bool) -> str:
    return (moment.replace(tzinfo=UTC) if is_utc and moment.tzinfo is None else moment).isoformat()


def _map(pairs: list[Any], _: bool) -> Any:
    return dict(pairs) if all(isinstance(pair, tuple) for pair in pairs) else json.dumps(pairs, default=str)


_CONVERSIONS: dict[type, Callable[[Any, bool], Any]] = {
    float: lambda number, _: number if math.isfinite(number) else None,
    str: _text,
    datetime: _time,
    date: lambda day, is_utc: _time(datetime(day.year, day.month, day.day), is_utc),  # noqa: DTZ001 - its zone is not said
    Decimal: lambda number, _: float(number),
    bytes: lambda data, _: data.decode("utf-8", "replace"),
    list: _map,
}

_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?")

_KINDS: dict[str, Callable[[Path, Reading], EventFile]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".json": _ndjson,
}
