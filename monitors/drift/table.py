"""What is asked of a table, wherever its rows are, and what every engine does alike with a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift.columns import Columns
from monitors.drift.counts import Counts, Floats, Integers
from monitors.drift.embedding import Rows
from monitors.drift.reference import Reference

BATCH = 1 << 17
"""Values of a column that are held at a time while a window is counted."""

WHOLE_ROWS = 1_000_000
"""Rows of a window that methods which look at whole rows are given; of more, a seeded sample."""

Progress = Callable[[int], None]
"""Is told how many values were read."""


@dataclass(frozen=True)
class Scanned:
    """A window: rows, counts by feature, and vectors of all or some of its rows where they were asked for."""

    samples: int
    counts: dict[str, Counts]
    rows: Rows | None


class Table(Protocol):
    """A table of one engine. `kinds` are the features that its columns can be, by their types.

    `left_out` are the columns that are none, each with the reason.
    """

    rows: int
    kinds: dict[str, Feature]
    left_out: dict[str, str]

    def columns(self, wanted: Mapping[str, Feature]) -> Columns:
        """What fitting needs of these columns."""
        ...

    def times(self, name: str) -> Floats:
        """Of each row in seconds since the epoch, NaN where there is none; InvalidInputError when it is no time."""
        ...

    def scan(self, reference: Reference, *, with_rows: bool, progress: Progress) -> Scanned:
        """The window that this table is, counted on a reference's cells."""
        ...


def is_sampled(rows: Integers, total: int) -> NDArray[np.bool_]:
    """Which rows, by their numbers, are among about WHOLE_ROWS of `total`: the same on every engine.

    A number is mixed as in Steele, G., Lea, D. & Flood, C. (2014): Fast splittable pseudorandom number generators
    (OOPSLA, figure 17: SplitMix64).
    """
    if total <= WHOLE_ROWS:
        return np.ones(len(rows), dtype=np.bool_)
    mixed = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed < np.uint64(WHOLE_ROWS / total * 2**64)


def sampled_rows(total: int) -> Integers:
    """Numbers of the rows that are sampled, ascending."""
    starts = range(0, total, BATCH)
    parts = (np.arange(start, min(start + BATCH, total)) for start in starts)
    return np.concatenate([part[is_sampled(part, total)] for part in parts])


def joined(parts: Sequence[Any]) -> Any:
    """One column of its parts: arrays, or Arrow arrays."""
    import pyarrow as pa

    if not parts or isinstance(parts[0], np.ndarray):
        return np.concatenate(parts) if parts else None
    return pa.chunked_array([chunk for part in parts for chunk in getattr(part, "chunks", [part])])


def kinds(schema: Any) -> dict[str, Feature]:
    """Kind of each column by its type: numbers are numeric, texts and booleans categorical; others are left out."""
    found = {column.name: kind_of(column.type) for column in schema}
    return {name: kind for name, kind in found.items() if kind is not None}


def kind_of(given: Any) -> Feature | None:
    """Kind of a column of an Arrow type; None of one that is not compared."""
    from pyarrow import types

    kind = given.value_type if types.is_dictionary(given) else given
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return Feature.NUMERIC
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return Feature.CATEGORICAL if is_text or types.is_boolean(kind) else None


def left_out(schema: Any) -> dict[str, str]:
    """Columns that are not compared, each with the reason."""
    from pyarrow import types

    reasons = {}
    for column in schema:
        if kind_of(column.type) is not None:
            continue
        if types.is_null(column.type):
            reasons[column.name] = "it has no value"
        elif types.is_timestamp(column.type) or types.is_date(column.type):
            ask = f"{column.name}:hour or {column.name}:age"
            reasons[column.name] = f"a time ({column.type}); ask for --features {ask}"
        else:
            reasons[column.name] = f"its type, {column.type}, is not compared"
    return reasons


def ensure_columns(
    present: Mapping[str, Feature],
    names: list[str],
    wanted: Mapping[str, Feature],
    place: Path,
    is_empty: Callable[[str], bool],
) -> None:
    """Raise InvalidInputError naming the columns that are not so there; one without any value is, whatever its type."""
    wrong = [
        f"{name} is {present[name].value}, not {kind.value}"
        if name in present
        else f"{name} is {'of a type that cannot be compared' if name in names else 'missing'}"
        for name, kind in sorted(wanted.items())
        if present.get(name) is not kind and not (name in names and is_empty(name))
    ]
    if wrong:
        raise InvalidInputError.at(place, f"other columns than the reference's: {'; '.join(wrong)}")


def values(column: Any, kind: Feature) -> Any:
    """Values of an Arrow column: a float64 array, or an Arrow array of the categories.

    An integer beyond 2**53 becomes the nearest float64, as in numpy.
    """
    import pyarrow as pa
    from pyarrow import types

    if column.null_count == len(column):
        column = pa.chunked_array([pa.nulls(len(column), pa.float64() if kind is Feature.NUMERIC else pa.string())])
    if types.is_dictionary(column.type):
        parts = getattr(column, "chunks", [column])
        column = pa.chunked_array([_decoded(part) for part in parts])
    if kind is Feature.NUMERIC:
        return column.cast("float64", safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return column if types.is_boolean(column.type) else column.cast("large_string")


def _decoded(part: Any) -> Any:
    """Values of a dictionary array; Arrow itself cannot cast one of views."""
    from pyarrow import types

    known = part.dictionary
    return (known.cast("large_string") if types.is_string_view(known.type) else known).take(part.indices)
