"""CSV and JSON lines as tables of the types that the same rows have in Parquet.

What a text file does not say is taken from the kinds that a reference knows: a postcode of digits stays a text. Without
those, a column of digits that begin with zeros is a text too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from midwatch.spec.drift import Feature

CODE = r"^\s*[-+]?0\d"
"""A number that nobody writes so: the zero is part of a code."""

TRUE, FALSE = "true", "false"


def read_csv(path: Path, known: Mapping[str, Feature]) -> Any:
    """An empty field is a missing value, of text too; quoted it is an empty text."""
    from pyarrow import csv, types

    inferred = csv.read_csv(path)
    texts = [
        field.name
        for field in inferred.schema
        if known.get(field.name) is Feature.CATEGORICAL
        or (field.name not in known and types.is_string(field.type))
        or (field.name not in known and types.is_integer(field.type))
    ]
    if not texts:
        return inferred
    as_text = csv.read_csv(
        path,
        convert_options=csv.ConvertOptions(
            include_columns=texts,
            column_types=dict.fromkeys(texts, "string"),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    for name in texts:
        place, column = inferred.schema.get_field_index(name), as_text.column(name)
        if name in known or not types.is_integer(inferred.schema.field(name).type) or _has_codes(column):
            inferred = inferred.set_column(place, name, _booleans_spelt(column))
    return inferred


def read_json_lines(path: Path, known: Mapping[str, Feature]) -> Any:
    """One document a line. A text that looks like a time stays a text where the reference knows one."""
    import pyarrow as pa
    from pyarrow import json

    inferred = json.read_json(path)
    wanted = {Feature.NUMERIC: pa.float64(), Feature.CATEGORICAL: pa.string()}
    fields = [
        pa.field(field.name, wanted[known[field.name]])
        for field in inferred.schema
        if field.name in known and _needs(field.type, known[field.name])
    ]
    if not fields:
        return inferred
    again = json.read_json(path, parse_options=json.ParseOptions(explicit_schema=pa.schema(fields)))
    for field in fields:
        place = inferred.schema.get_field_index(field.name)
        inferred = inferred.set_column(place, field.name, again.column(field.name))
    return inferred


def _needs(given: Any, kind: Feature) -> bool:
    """Whether a column was read as a time, where the reference has texts."""
    from pyarrow import types

    return kind is Feature.CATEGORICAL and types.is_timestamp(given)


def _has_codes(column: Any) -> bool:
    from pyarrow import compute

    return bool(compute.any(compute.match_substring_regex(column, CODE)).as_py())


def _booleans_spelt(column: Any) -> Any:
    """As booleans where every value is one, however it is spelt; else as it is."""
    from pyarrow import compute

    lower = compute.utf8_lower(column)
    spelt = set(compute.unique(lower).to_pylist()) - {None}
    return compute.equal(lower, TRUE) if spelt and spelt <= {TRUE, FALSE} else column


READERS: Mapping[str, Callable[[Path, Mapping[str, Feature]], Any]] = {
    ".csv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
