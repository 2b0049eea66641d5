"""Parquet files that Spark reads, wherever they lie: each partition is counted where it is, and counts add up here.

Rows are numbered through the files in the order of their paths: windows of time are those that one machine would see,
and the results are the same.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.spec.drift import Feature
from monitors.drift import source, table
from monitors.drift.counts import EXACT, CategoryGrid, Counts, Floats, Grid, Integers, NumericGrid, frequencies, ranks
from monitors.drift.reference import Reference

Batches = Iterator[tuple[Integers, Any]]
"""Of a partition: numbers of the rows, and the Arrow batch with their values."""

Work = Callable[[Batches], Iterator[Any]]
"""What a partition's worker does; what it yields goes through MessagePack."""

LOCAL: dict[str, Any] = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "8",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings without a master of the user's: this machine, and nobody else."""

FILE, ROW = "_midwatch_file", "_midwatch_row"


@contextmanager
def session() -> Iterator[Any]:
    """The Spark session there is, or one of this process; without a master it is on this machine, on loopback."""
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise MidwatchError("--engine spark needs PySpark: pip install 'midwatch[spark]'") from error
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # it is not used
    builder = SparkSession.builder.appName("midwatch drift")
    if not SparkConf().contains("spark.master"):
        builder = builder.master("local[*]").config(map=LOCAL)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers of this environment
    running = SparkSession.getActiveSession()
    try:
        made = running or builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise MidwatchError(f"Spark does not start ({_reason(error)}); it needs Java 17 or newer") from error
    made.sparkContext.setLogLevel("ERROR")
    try:
        yield made
    finally:
        if running is None:
            made.stop()


def _reason(error: Exception) -> str:
    """The line of a report that says what happened first: the last cause, or the end of a worker's traceback."""
    lines = str(error).strip().splitlines()
    raised = (re.match(r"(?:Caused by: |: )?([\w.]*(?:Error|Exception|Invalid)\b.*)", line) for line in lines)
    return [lines[0], *(found[1] for found in raised if found)][-1]


class Spark:
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

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        try:
            yield
        except (PySparkException, Py4JJavaError) as error:
            why = f"cannot be read: {_reason(error)}"
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

    def _ensure(self, wanted: Mapping[str, Feature]) -> None:
        table.ensure_columns(self.kinds, self._schema.names, wanted, self._path, self._is_empty)

    def _is_empty(self, name: str) -> bool:
        with self._readable():
            return bool(self._frame.where(self._frame[name].isNotNull()).isEmpty())

    def source(self, wanted: Mapping[str, Feature]) -> source.Source:
        """What fitting needs of these columns."""
        self._ensure(wanted)
        return _Source(self, dict(wanted))

    def scan(self, reference: Reference, *, with_rows: bool, progress: table.Progress) -> table.Scanned:
        """The window that this table is, counted on a reference's cells."""
        grids = {name: feature.grid for name, feature in reference.features.items()}
        wanted = {name: feature.kind for name, feature in reference.features.items()}
        self._ensure(wanted)
        embedding, total = reference.joint.embedding, self.rows

        def work(batches: Batches) -> Iterator[Any]:
            counts = {name: _empty(grid) for name, grid in grids.items()}
            counters = {name: grid.counter() for name, grid in grids.items()}
            for rows, batch in batches:
                columns = {name: table.values(batch.column(name), kind) for name, kind in wanted.items()}
                counts = {name: counts[name] + count(columns[name]) for name, count in counters.items()}
                if with_rows:
                    chosen = table.is_sampled(rows, total)
                    yield {"rows": [rows[chosen].tobytes(), embedding.rows(columns)[chosen].tobytes()]}
            yield {"counts": {name: _packed(one) for name, one in counts.items()}}

        counts = {name: _empty(grid) for name, grid in grids.items()}
        numbers, vectors = [np.zeros(0, np.int64)], [np.zeros((0, embedding.width), np.float32)]
        for part in self.run(list(wanted), work):
            if "rows" in part:
                numbers.append(np.frombuffer(part["rows"][0], np.int64))
                vectors.append(np.frombuffer(part["rows"][1], np.float32).reshape(-1, embedding.width))
            for name, one in part.get("counts", {}).items():
                counts[name] += _unpacked(one)
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


def _empty(grid: Grid) -> Counts:
    return grid.count(np.zeros(0)) if isinstance(grid, NumericGrid) else grid.count([])


def _packed(counts: Counts) -> list[Any]:
    return [counts.cells.astype(np.int64).tobytes(), counts.missing]


def _unpacked(part: list[Any]) -> Counts:
    return Counts(cells=np.frombuffer(part[0], np.int64), missing=part[1])


class _Source:
    """What fitting needs, each a pass over one column's files."""

    def __init__(self, spark: Spark, wanted: dict[str, Feature]) -> None:
        self._spark, self._wanted = spark, wanted
        self.rows = spark.rows

    def _values(self, name: str, function: Callable[[Integers, Any], Any]) -> list[Any]:
        """What a function makes of each batch's row numbers and values."""
        kind = self._wanted[name]

        def work(batches: Batches) -> Iterator[Any]:
            for rows, batch in batches:
                yield function(rows, table.values(batch.column(name), kind))

        return self._spark.run([name], work)

    def grid(self, name: str, kind: Feature) -> Grid:
        """See `source.Source`."""
        if kind is Feature.CATEGORICAL:
            found: dict[str, int] = {}
            for part in self._values(name, lambda _, values: frequencies(values)):
                for category, count in part.items():
                    found[category] = found.get(category, 0) + count
            return CategoryGrid.of(found)

        def distinct(batches: Batches) -> Iterator[Any]:
            edges, present = np.zeros(0), 0
            for _, batch in batches:
                values = table.values(batch.column(name), kind)
                values = values[~np.isnan(values)]
                present += len(values)
                if len(edges) <= EXACT:  # with one more it is known that quantiles are needed
                    edges = np.unique(np.concatenate([edges, values]))[: EXACT + 1]
            yield [edges.tobytes(), present]

        parts = self._spark.run([name], distinct)
        edges = np.unique(np.concatenate([np.frombuffer(edges, np.float64) for edges, _ in parts]))
        if len(edges) <= EXACT:
            return NumericGrid(edges=edges)
        present = sum(count for _, count in parts)
        return NumericGrid(edges=np.unique(self._spark.ranked(name, np.unique(ranks(present, EXACT)))))

    def counts(self, name: str, grid: Grid) -> Counts:
        """See `source.Source`."""
        parts = self._values(name, lambda _, values: _packed(grid.count(values)))
        return sum((_unpacked(part) for part in parts[1:]), start=_unpacked(parts[0]))

    def windows(self, name: str, grid: Grid, starts: Sequence[int], size: int) -> list[Counts]:
        """See `source.Source`."""
        first = np.array(starts)

        def counted(rows: Integers, values: Any) -> dict[int, Any]:
            window = np.searchsorted(first, rows, side="right") - 1
            inside = (window >= 0) & (rows < first[window] + size)
            return {
                int(one): _packed(grid.count(source.taken(values, np.flatnonzero(inside & (window == one)))))
                for one in np.unique(window[inside])
            }

        found = [_empty(grid)] * len(starts)
        for part in self._values(name, counted):
            for window, counts in part.items():
                found[window] += _unpacked(counts)
        return found

    def bins(self, name: str, grid: Grid, starts: Integers) -> Integers:
        """See `source.Source`."""

        def binned(rows: Integers, values: Any) -> list[Any]:
            runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)  # a batch can be of two files
            bins = source.bins_of(values, grid, starts)
            return [[int(rows[run[0]]), bins[run].tobytes()] for run in runs]

        found = np.full(self.rows, -1, dtype=np.int8)
        for runs in self._values(name, binned):
            for start, bins in runs:
                found[start : start + len(bins)] = np.frombuffer(bins, np.int8)
        return found

    def take(self, places: Integers) -> dict[str, Any]:
        """See `source.Source`."""
        import pyarrow as pa

        names = list(self._wanted)

        def picked(batches: Batches) -> Iterator[Any]:
            for rows, batch in batches:
                mine = np.flatnonzero(places[np.searchsorted(places, rows).clip(0, len(places) - 1)] == rows)
                if len(mine):
                    sink = pa.BufferOutputStream()
                    with pa.ipc.new_stream(sink, batch.schema) as writer:
                        writer.write_batch(batch.take(mine))
                    yield [rows[mine].tobytes(), sink.getvalue().to_pybytes()]

        parts = self._spark.run(names, picked)
        rows = np.concatenate([np.frombuffer(numbers, np.int64) for numbers, _ in parts])
        whole = pa.concat_tables([pa.ipc.open_stream(batch).read_all() for _, batch in parts]).take(np.argsort(rows))
        return {name: table.values(whole.column(name), kind) for name, kind in self._wanted.items()}
