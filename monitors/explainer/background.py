"""The background sample: rows of a file, the names and types of the model's columns, and rows of requests by them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from midwatch.errors import InvalidInputError, MidwatchError
from monitors.explainer.explanation import Rows

MOST_ROWS = 10_000
"""Answers to all rows are had at the start, and are the base; a hundred rows are usual."""
MOST_COLUMNS = 10_000
MOST_TEXT = 10_000
"""Characters of a feature's value, as of an event's."""


class RowError(MidwatchError):
    """A row of a request that cannot be explained."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows of a file by column; `is_text` says which columns have text, and `identity` is a hash of all of it."""

    columns: tuple[str, ...]
    is_text: tuple[bool, ...]
    rows: Rows
    identity: str

    def row(self, instance: object) -> Rows:
        """The row of an instance: an object by column, or the values in the order of the columns; RowError for none.

        A number that is null is NaN.
        """
        values = _by_column(instance, self.columns)
        cells = [_cell(*one) for one in zip(self.columns, self.is_text, values, strict=True)]
        return np.array(cells, dtype=self.rows.dtype)


def _by_column(instance: object, columns: Sequence[str]) -> list[object]:
    if isinstance(instance, Mapping):
        if missing := [name for name in columns if name not in instance]:
            raise RowError(f"lacks {', '.join(missing[:5])}; it needs {len(columns)} features")
        if unknown := sorted(set(instance).difference(columns)):
            raise RowError(f"has {', '.join(map(str, unknown[:5]))}, which the background does not have")
        return [instance[name] for name in columns]
    if isinstance(instance, list):
        if len(instance) != len(columns):
            raise RowError(f"has {len(instance)} values; the background has {len(columns)} columns")
        return instance
    raise RowError("is neither an object of features nor a list of their values")


def _cell(column: str, is_text: bool, value: object) -> object:
    if value is None:
        return None if is_text else math.nan
    if is_text:
        if isinstance(value, str) and len(value) <= MOST_TEXT:
            return value
        raise RowError(f"{column} is no text of at most {MOST_TEXT} characters")
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError as error:
            raise RowError(f"{column} is too large a number") from error
    raise RowError(f"{column} is no number")


def read(path: Path) -> Sample:
    """Read Parquet, CSV, JSON lines or a JSON array of objects, by the file's ending; InvalidInputError for others."""
    readers = {".parquet": _parquet, ".csv": _csv, ".json": _json, ".jsonl": _json, ".ndjson": _json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError.at(path, "is no background", remedy=f"name a file that ends in {', '.join(readers)}")
    try:
        table = reader(path)
    except OSError as error:
        raise InvalidInputError.at(path, f"cannot be read: {error.strerror or error}") from error
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInputError.at(path, f"cannot be read: {' '.join(str(error).split())[:200]}") from error
    return _sample(path, table)


def _parquet(path: Path) -> pa.Table:
    return pyarrow.parquet.read_table(path)


def _csv(path: Path) -> pa.Table:
    return pyarrow.csv.read_csv(path)


def _json(path: Path) -> pa.Table:
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("its rows are no objects of features")
    columns = list(rows[0])
    for place, row in enumerate(rows, start=1):
        if apart := sorted(row.keys() ^ rows[0].keys()):
            raise ValueError(
                f"rows 1 and {place}: one lacks {', '.join(apart[:5])}; write null where a value is missing"
            )
    return pa.table({name: _json_column(name, [row[name] for row in rows]) for name in columns})


def _json_column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise ValueError(f"column {name} has values of several kinds: {error}") from error


def _sample(path: Path, table: pa.Table) -> Sample:
    """The rows of a table; InvalidInputError names every column that is none of a model."""
    problems = list(_shape_problems(table))
    columns, texts = [], []
    for name in table.column_names if not problems else ():
        column = table.column(name)
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if pa.types.is_dictionary(column.type):
            column, is_text = column.cast(column.type.value_type), True
        if not (is_text or _is_number(column.type)):
            problems.append(f"column {name} has {column.type}, which is neither numbers nor text")
            continue
        texts.append(is_text)
        columns.append(_values(column, is_text))
    if problems:
        raise InvalidInputError(problem for text in problems for problem in InvalidInputError.at(path, text).problems)
    has_text = any(texts)
    rows = np.empty((table.num_rows, len(columns)), dtype=object if has_text else np.float64)
    for place, values in enumerate(columns):
        rows[:, place] = values
    names = tuple(table.column_names)
    return Sample(columns=names, is_text=tuple(texts), rows=rows, identity=_identity(names, rows))


def _shape_problems(table: pa.Table) -> list[str]:
    found = []
    if not 2 <= table.num_rows <= MOST_ROWS:
        found.append(f"has {table.num_rows} rows; a background has 2 to {MOST_ROWS}")
    if not 1 <= table.num_columns <= MOST_COLUMNS:
        found.append(f"has {table.num_columns} columns; a model has 1 to {MOST_COLUMNS}")
    if len(set(table.column_names)) != table.num_columns:
        found.append("has two columns of one name")
    return found


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_decimal,
            pa.types.is_null,
        )
    )


def _values(column: pa.ChunkedArray, is_text: bool) -> Any:
    if is_text:
        return column.to_pylist()
    return np.asarray(
        column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not pa.types.is_boolean(column.type)
        else column.cast(pa.uint8()).cast(pa.float64()).to_numpy(zero_copy_only=False),
        dtype=np.float64,
    )


def _identity(columns: Sequence[str], rows: Rows) -> str:
    """Twelve characters that another background does not have."""
    digest = hashlib.blake2b(json.dumps(list(columns)).encode(), digest_size=6)
    digest.update(row_bytes(rows))
    return digest.hexdigest()


def row_bytes(rows: Rows) -> bytes:
    """Bytes of one row or many, for a hash: the same values have the same, in every process."""
    if rows.dtype != object:
        return np.ascontiguousarray(rows).tobytes()
    return json.dumps(rows.tolist()).encode()
