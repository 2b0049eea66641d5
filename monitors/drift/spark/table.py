"""A table in Parquet files, whose partitions are worked on where they are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import columns, table, times
from monitors.drift.counts import Floats, Integers
from monitors.drift.reference import Reference
from monitors.drift.spark.columns import SparkColumns
from monitors.drift.spark.packing import Batches, Work, empty, packed, unpacked
from monitors.drift.spark.session import reason

FILE, ROW = "_midwatch_file", "_midwatch_row"


class SparkTable:
    """A table in Parquet files; InvalidInputError when it cannot be read or has no row."""

    def __init__(self, spark: Any, path: Path) -> None:
        self._path = path
        with self._readable():
            # A Path has made one slash of the two in s3a://bucket.
            self._frame = spark.read.parquet(re.sub(r"^(\w{2,}):/(?!/)", r"\1://", str(path)))
            self._schema = self._frame.limit(0).toArrow().schema
            self._offsets, self.rows = self._files()
        if not self.rows:
            raise InvalidInputError.at(path, "the table has no row")
        self.kinds = table.kinds(self._schema)
        self.left_out = table.left_out(self._schema)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        try:
            yield
        except (PySparkException, Py4JJavaError) as error:
            why = f"cannot be read: {reason(error)}"
            raise InvalidInputError.at(self._path, why, remedy="give Parquet files") from error

    def _files(self) -> tuple[dict[str, int], int]:
        """Number of each file's first row, and how many rows there are."""
        counted = self._frame.groupBy("_metadata.file_path").count().collect()
        offsets, total = {}, 0
        for path, rows in sorted(counted):
            offsets[path] = total
            total += rows
        return offsets, total

    @cached_property
    def _numbered(self) -> Any:
        return self._frame.selectExpr("*", f"_metadata.file_path AS {FILE}", f"_metadata.row_index AS {ROW}")

    def run(self, names: Sequence[str], work: Work) -> list[Any]:
        """What every partition yields, of the columns that it reads and no other."""
        offsets = self._offsets

        def partition(batches: Iterator[Any]) -> Iterator[Any]:
            import pyarrow as pa

            for part in work(_with_row_numbers(batches, offsets)):
                yield pa.RecordBatch.from_pydict({"part": [msgspec.msgpack.encode(part)]})

        with self._readable():
            columns = self._numbered.select(FILE, ROW, *(f"`{name}`" for name in names))
            collected = columns.mapInArrow(partition, "part binary").collect()
        return [msgspec.msgpack.decode(row.part) for row in collected]

    def times(self, name: str) -> Floats:
        """See `table.Table`."""
        times.ensure_times(self._schema, name, self._path)

        def told(batches: Batches) -> Iterator[Any]:
            for rows, batch in batches:
                yield [rows.tobytes(), times.seconds(batch.column(name)).tobytes()]

        found = np.full(self.rows, np.nan)
        for rows, of_rows in self.run([name], told):
            found[np.frombuffer(rows, np.int64)] = np.frombuffer(of_rows)
        return found

    def _ensure(self, wanted: Mapping[str, Feature]) -> None:
        table.ensure_columns(self.kinds, self._schema.names, wanted, self._path, self._is_empty)

    def _is_empty(self, name: str) -> bool:
        with self._readable():
            return bool(self._frame.where(self._frame[name].isNotNull()).isEmpty())

    def columns(self, wanted: Mapping[str, Feature]) -> columns.Columns:
        """What fitting needs of these columns."""
        self._ensure(wanted)
        return SparkColumns(self, dict(wanted))

    def scan(self, reference: Reference, *, with_rows: bool, progress: table.Progress) -> table.Scanned:
        """The window that this table is, counted on a reference's cells."""
        grids = {name: feature.grid for name, feature in reference.features.items()}
        wanted = {name: feature.kind for name, feature in reference.features.items()}
        self._ensure(wanted)
        embedding, total = reference.joint.embedding, self.rows

        def work(batches: Batches) -> Iterator[Any]:
            counts = {name: empty(grid) for name, grid in grids.items()}
            counters = {name: grid.counter() for name, grid in grids.items()}
            for rows, batch in batches:
                columns = {name: table.values(batch.column(name), kind) for name, kind in wanted.items()}
                counts = {name: counts[name] + count(columns[name]) for name, count in counters.items()}
                if with_rows:
                    chosen = table.is_sampled(rows, total)
                    yield {"rows": [rows[chosen].tobytes(), embedding.rows(columns)[chosen].tobytes()]}
            yield {"counts": {name: packed(one) for name, one in counts.items()}}

        counts = {name: empty(grid) for name, grid in grids.items()}
        numbers, vectors = [np.zeros(0, np.int64)], [np.zeros((0, embedding.width), np.float32)]
        for part in self.run(list(wanted), work):
            if "rows" in part:
                numbers.append(np.frombuffer(part["rows"][0], np.int64))
                vectors.append(np.frombuffer(part["rows"][1], np.float32).reshape(-1, embedding.width))
            for name, one in part.get("counts", {}).items():
                counts[name] += unpacked(one)
        progress(self.rows * len(wanted))
        order = np.argsort(np.concatenate(numbers))
        return table.Scanned(self.rows, counts, np.concatenate(vectors)[order] if with_rows else None)

    def ranked(self, name: str, wanted: Integers) -> Floats:
        """Values of a column that have these ranks (from 0, ascending) among all that are there."""
        from pyspark import TaskContext
        from pyspark.sql import functions

        with self._readable():
            value = functions.col(f"`{name}`").cast("double").alias("value")
            ordered = self._frame.select(value).where("value IS NOT NULL AND NOT isnan(value)").sort("value").persist()
            try:
                sizes = _partitions(ordered, lambda place, values: [place, len(values)], TaskContext)
                ends = np.cumsum([size for _, size in sorted(sizes)])
                starts = dict(zip([place for place, _ in sorted(sizes)], [0, *ends[:-1].tolist()], strict=True))

                def picked(place: int, values: Floats) -> list[Any]:
                    start = starts.get(place, 0)
                    mine = wanted[(wanted >= start) & (wanted < start + len(values))] - start
                    return [place, values[mine].tobytes()]

                parts = sorted(_partitions(ordered, picked, TaskContext))
            finally:
                ordered.unpersist()
        return np.concatenate([np.frombuffer(values, np.float64) for _, values in parts])


def _partitions(frame: Any, function: Callable[[int, Floats], list[Any]], context: Any) -> list[list[Any]]:
    """What a function makes of each partition's number and values."""

    def partition(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        parts = [batch.column(0).to_numpy(zero_copy_only=False) for batch in batches]
        place = context.get().partitionId()
        made = function(place, np.concatenate(parts) if parts else np.zeros(0))
        yield pa.RecordBatch.from_pydict({"part": [msgspec.msgpack.encode(made)]})

    return [msgspec.msgpack.decode(row.part) for row in frame.mapInArrow(partition, "part binary").collect()]


def _with_row_numbers(batches: Iterator[Any], offsets: Mapping[str, int]) -> Batches:
    for batch in batches:
        if batch.num_rows:
            files = batch.column(FILE).dictionary_encode()
            of_file = np.array([offsets[one] for one in files.dictionary.to_pylist()], dtype=np.int64)
            yield of_file[files.indices.to_numpy()] + batch.column(ROW).to_numpy(), batch
