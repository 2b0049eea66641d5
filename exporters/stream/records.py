"""What every source gives: the bytes of events, where they stood, and when they arrived.

A source's rows of one Spark task come partition by partition, in the order of their offsets.
"""

from __future__ import annotations

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
