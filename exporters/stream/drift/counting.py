"""Rows counted in Spark's workers: columns of rows into parts of panes, by the judge's plan for a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from exporters.drift import counted
from exporters.drift.counted import Counter
from exporters.drift.rows import Schema
from exporters.drift.windows import Part, Rule
from exporters.stream.drift import collected
from exporters.stream.drift.collected import Version
from exporters.stream.drift.row_bytes import Watched
from monitors.drift.counts import Integers

PARTS = pa.schema([("model", pa.string()), ("version", pa.string()), ("part", pa.binary())])
PARTS_SCHEMA = "model string, version string, part binary"
"""Columns of what workers give: the version as it is judged, and a part as it is sent."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """How rows of a version are counted: what it is judged as, which cells, and which panes."""

    judged_as: Version
    identity: str
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a batch is counted. `ranks` (int64) are of a version's rows in a bucket, where windows end by a count."""

    watched: Mapping[str, Watched]
    tasks: Mapping[Version, Task]
    ranks: Mapping[tuple[int, str, str], bytes] = field(default_factory=dict)


def part_rows(
    batches: Iterable[pa.RecordBatch], plan: Plan, schemas: Mapping[str, Schema]
) -> Iterator[tuple[Version, Part]]:
    """Parts of the columns in the column `found` of batches; rows of a version without a task are left out."""
    counters: dict[Version, Counter] = {}
    for batch in batches:
        for body in batch.column("found"):
            columns = collected.decode_columns(body.as_buffer())
            task = plan.tasks.get((columns.model, columns.version))
            if task is not None:
                if task.judged_as not in counters:
                    counters[task.judged_as] = Counter(schemas[task.identity], task.rule)
                ranks = _ranks(columns, plan)
                rows = collected.rows_of(columns, plan.watched[columns.model], ranks)
                counters[task.judged_as].take_columns(rows)
    for key, counter in counters.items():
        for part in counter.parts():
            yield key, part


def _ranks(columns: collected.Columns, plan: Plan) -> Integers:
    ranks = plan.ranks.get((columns.bucket, columns.model, columns.version))
    return np.arange(len(columns.times) // 8) if ranks is None else np.frombuffer(ranks, np.int64)


def worker(plan: Plan, schemas: Callable[[], Mapping[str, Schema]]) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """What Spark runs for each of its partitions; `schemas` are asked for there."""

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for (model, version), part in part_rows(batches, plan, schemas()):
            yield pa.RecordBatch.from_pylist(
                [{"model": model, "version": version, "part": counted.sent(part)}], schema=PARTS
            )

    return count


def parts(frame: Any, plan: Plan, schemas: Callable[[], Mapping[str, Schema]]) -> dict[Version, list[Part]]:
    """Parts of what a batch found, a frame as `parcels.FOUND_SCHEMA`, by the version as it is judged."""
    rows = frame.where(frame.kind == collected.ROWS).select("found")
    made = rows.mapInArrow(worker(plan, schemas), PARTS_SCHEMA).collect()
    found: dict[Version, list[Part]] = {}
    for row in made:
        found.setdefault((row.model, row.version), []).append(counted.received(bytes(row.part)))
    return found
