"""What every source gives: the bytes of events, where they stood, and when they arrived.

A source's rows of one Spark task come partition by partition, in the order of their offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from exporters.events.reasons import Reason

SCHEMA = (
    "source string, partition int, offset bigint, arrived bigint, value binary, "
    "headers array<struct<key: string, value: binary>>, is_loaded boolean"
)
"""Columns of a record, as Spark writes a schema.

- `source`: the topic, or the folder. `partition` and `offset` tell a record from all others of it, and order them.
- `arrived`: milliseconds since the epoch. Ages are measured between arrivals. It is the record's time for Kafka, and
  the time of a file for a folder. It may not depend on when Spark looks: a batch that is run again needs the same.
- `value`: one event as JSON, or several (a JSON array, or one a line); or the body of a CloudEvent.
- `headers`: those of a Kafka record, by which CloudEvents are told from events; null or empty elsewhere.
- `is_loaded`: the events may be as old as `exporter.remember_loaded`, and their ids are remembered as long.
"""

COLUMNS = ("source", "partition", "offset", "arrived", "value", "headers", "is_loaded")
"""Their names, in order."""

FILE_REASONS = frozenset({Reason.FILE_UNREADABLE, Reason.FILE_CHANGED, Reason.FILE_COLUMNS})
"""Why a file is not taken."""

FAULT = "midwatch-fault"
"""Name of the header of a record that holds no event, but says why a file was not taken: a reason."""

ARROW = pa.schema(
    [
        ("source", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("arrived", pa.int64()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        ("is_loaded", pa.bool_()),
    ]
)
"""The same columns, as Arrow has them."""


def fault(reason: Reason) -> list[dict[str, str | bytes]]:
    """Headers of a record that says why a file was not taken."""
    return [{"key": FAULT, "value": reason.encode()}]


def fault_of(headers: Sequence[Mapping[str, bytes | str | None]]) -> Reason | None:
    """The reason that headers say; None where they say none."""
    for header in headers:
        if header["key"] == FAULT:
            said = header["value"] or b""
            text = said if isinstance(said, str) else said.decode(errors="replace")
            return Reason(text) if text in FILE_REASONS else Reason.INVALID
    return None
