"""Tables from Parquet, CSV or Arrow files, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midwatch.errors import InvalidInputError
from midwatch.spec.model import Feature


def read(path: Path) -> Any:
    """Table of a file (a pyarrow.Table), by its ending; InvalidInputError when it cannot be read or has no row."""
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    readers = {
        ".parquet": parquet.read_table,
        ".csv": csv.read_csv,
        ".arrow": feather.read_table,
        ".feather": feather.read_table,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise InvalidInputError.at(path, f"cannot read {path.suffix or 'a file without ending'}", remedy=_KNOWN)
    try:
        table = reader(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError.at(path, f"cannot be read: {str(error).splitlines()[0]}", remedy=_KNOWN) from error
    if not table.num_rows:
        raise InvalidInputError.at(path, "the table has no row")
    return table


_KNOWN = "give a Parquet (.parquet), CSV (.csv) or Arrow (.arrow, .feather) file"


def kinds(table: Any) -> dict[str, Feature]:
    """Kind of each column by its type: numbers are numeric, texts and booleans categorical; others are left out."""
    from pyarrow import types

    found = {}
    for column in table.schema:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if types.is_integer(kind) or types.is_floating(kind):
            found[column.name] = Feature.NUMERIC
        elif types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind):
            found[column.name] = Feature.CATEGORICAL
    return found


def columns(table: Any, wanted: Mapping[str, Feature], source: Path) -> dict[str, Any]:
    """Values of the wanted columns: float64 arrays, Arrow arrays of the categories.

    InvalidInputError names the columns that are not so there; one without any value is, whatever its type.
    """
    present = kinds(table)
    present |= {name: kind for name, kind in wanted.items() if name in table.column_names and _is_empty(table, name)}
    wrong = [
        f"{name} is {present[name].value}, not {kind.value}" if name in present else f"{name} is missing"
        for name, kind in sorted(wanted.items())
        if present.get(name) is not kind
    ]
    if wrong:
        raise InvalidInputError.at(source, f"other columns than the reference's: {'; '.join(wrong)}")
    return {name: _values(table.column(name), kind) for name, kind in wanted.items()}


def _is_empty(table: Any, name: str) -> bool:
    column = table.column(name)
    return int(column.null_count) == len(column)


def _values(column: Any, kind: Feature) -> Any:
    import numpy as np
    import pyarrow as pa
    from pyarrow import types

    if column.null_count == len(column):
        column = pa.chunked_array([pa.nulls(len(column), pa.float64() if kind is Feature.NUMERIC else pa.string())])
    if kind is Feature.NUMERIC:
        return column.cast("float64").to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column
