"""Features made of times: `COLUMN:hour`, the hour of the day; `COLUMN:age`, days before the newest time of the column;
`COLUMN:age:OTHER`, days from it to another time of the same row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.errors import InvalidInputError

HOUR, DAY = 3600, 86400
PARTS = ("hour", "age")


@dataclass(frozen=True)
class Part:
    """What is asked of a column of times; ages reach `until` another column, or the newest time."""

    of: str
    what: str
    until: str | None = None

    @property
    def columns(self) -> list[str]:
        """Columns that it is made of."""
        return [self.of] if self.until is None else [self.of, self.until]

    def values(self, batch: Any, newest: Any) -> Any:
        """As float64, NaN where a time is missing; hours are those of the column's own time zone."""
        if self.what == "hour":
            return seconds(batch.column(self.of), local=True) % DAY / HOUR
        if self.until is not None:
            return (seconds(batch.column(self.until)) - seconds(batch.column(self.of))) / DAY
        import pyarrow as pa

        column = batch.column(self.of)
        end = seconds(pa.array([newest], column.type))[0]
        return (end - seconds(column)) / DAY


def parse(name: str) -> Part | None:
    """What a feature's name asks; None of one that is a column by itself."""
    of, colon, rest = name.partition(":")
    what, _, until = rest.partition(":")
    if not colon or what not in PARTS or (until and what != "age"):
        return None
    return Part(of, what, until or None)


def is_part(name: str, schema: Any) -> bool:
    """Whether a feature is made of a table's times."""
    part = parse(name)
    return name not in schema.names and part is not None and all(_is_time(schema, one) for one in part.columns)


def _is_time(schema: Any, name: str) -> bool:
    from pyarrow import types

    return name in schema.names and (
        types.is_timestamp(schema.field(name).type) or types.is_date(schema.field(name).type)
    )


def ensure_times(schema: Any, name: str, place: Path) -> None:
    """Raise InvalidInputError where a column is not there, or does not hold times or numbers."""
    from pyarrow import types

    if name not in schema.names:
        raise InvalidInputError.at(place, f"no column {name}", remedy="--time names the column with the times of rows")
    given = schema.field(name).type
    if not (_is_time(schema, name) or types.is_integer(given) or types.is_floating(given)):
        raise InvalidInputError.at(place, f"{name} is {given}, not a time", remedy="give times, or seconds since 1970")


def column(name: str) -> str:
    """The column that a feature is read from."""
    part = parse(name)
    return part.of if part else name


def seconds(column: Any, *, local: bool = False) -> Any:
    """Seconds since the epoch as float64, NaN where one is missing; a number is taken for that.

    On the clock of the column's time zone where they are `local`.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    if types.is_integer(column.type) or types.is_floating(column.type):
        return column.cast("float64", safe=False).to_numpy(zero_copy_only=False)
    if local and types.is_timestamp(column.type) and column.type.tz is not None:
        column = compute.local_timestamp(column)
    zone = column.type.tz if types.is_timestamp(column.type) else None
    numbers = column.cast(pa.timestamp("us", zone), safe=False).cast("int64")
    return numbers.to_numpy(zero_copy_only=False).astype(np.float64) / 1e6
