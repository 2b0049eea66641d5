"""What fitting needs of a table's columns, each answer a pass over the files of one column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from midwatch.spec.drift import Feature
from monitors.drift import columns, table
from monitors.drift.counts import EXACT, Counts, Floats, Grid, Integers, NumericGrid, frequencies, ranks
from monitors.drift.spark.packing import Batches, Work, empty, packed, unpacked


class Partitions(Protocol):
    """A table whose partitions can be worked on."""

    rows: int

    def run(self, names: Sequence[str], work: Work) -> list[Any]:
        """What every partition yields, of the columns that it reads and no other."""
        ...

    def ranked(self, name: str, wanted: Integers) -> Floats:
        """Values of a column that have these ranks (from 0, ascending) among all that are there."""
        ...


class SparkColumns:
    """What fitting needs, each a pass over one column's files."""

    def __init__(self, partitions: Partitions, wanted: dict[str, Feature]) -> None:
        self._partitions, self._wanted = partitions, wanted
        self.rows = partitions.rows

    def _values(self, name: str, function: Callable[[Integers, Any], Any]) -> list[Any]:
        """What a function makes of each batch's row numbers and values."""
        kind = self._wanted[name]

        def work(batches: Batches) -> Iterator[Any]:
            for rows, batch in batches:
                yield function(rows, table.values(batch.column(name), kind))

        return self._partitions.run([name], work)

    def frequencies(self, name: str, parts: int, size: int) -> list[dict[str, int]]:
        """See `columns.Columns`."""

        def counted(rows: Integers, values: Any) -> list[dict[str, int]]:
            blocks = rows // size % parts
            return [frequencies(columns.taken(values, np.flatnonzero(blocks == part))) for part in range(parts)]

        totals: list[Counter[str]] = [Counter() for _ in range(parts)]
        for found in self._values(name, counted):
            for total, part in zip(totals, found, strict=True):
                total.update(part)
        return [dict(total) for total in totals]

    def grid(self, name: str) -> NumericGrid:
        """See `columns.Columns`."""
        kind = self._wanted[name]

        def distinct(batches: Batches) -> Iterator[Any]:
            edges, present = np.zeros(0), 0
            for _, batch in batches:
                values = table.values(batch.column(name), kind)
                values = values[~np.isnan(values)]
                present += len(values)
                if len(edges) <= EXACT:  # with one more it is known that quantiles are needed
                    edges = np.unique(np.concatenate([edges, values]))[: EXACT + 1]
            yield [edges.tobytes(), present]

        parts = self._partitions.run([name], distinct)
        edges = np.unique(np.concatenate([np.frombuffer(edges, np.float64) for edges, _ in parts]))
        if len(edges) <= EXACT:
            return NumericGrid(edges=edges)
        present = sum(count for _, count in parts)
        return NumericGrid(edges=np.unique(self._partitions.ranked(name, np.unique(ranks(present, EXACT)))))

    def counts(self, name: str, grid: Grid) -> Counts:
        """See `columns.Columns`."""
        parts = self._values(name, lambda _, values: packed(grid.count(values)))
        return sum((unpacked(part) for part in parts[1:]), start=unpacked(parts[0]))

    def windows(self, name: str, grid: Grid, starts: Sequence[int], size: int) -> list[Counts]:
        """See `columns.Columns`."""
        first = np.array(starts)

        def counted(rows: Integers, values: Any) -> dict[int, Any]:
            window = np.searchsorted(first, rows, side="right") - 1
            inside = (window >= 0) & (rows < first[window] + size)
            return {
                int(one): packed(grid.count(columns.taken(values, np.flatnonzero(inside & (window == one)))))
                for one in np.unique(window[inside])
            }

        of_windows = [empty(grid)] * len(starts)
        for part in self._values(name, counted):
            for window, counts in part.items():
                of_windows[window] += unpacked(counts)
        return of_windows

    def bins(self, name: str, grid: Grid, starts: Integers) -> Integers:
        """See `columns.Columns`."""

        def binned(rows: Integers, values: Any) -> list[Any]:
            runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)  # a batch can be of two files
            bins = columns.bins_of(values, grid, starts)
            return [[int(rows[run[0]]), bins[run].tobytes()] for run in runs]

        all_bins = np.full(self.rows, -1, dtype=np.int8)
        for runs in self._values(name, binned):
            for start, bins in runs:
                all_bins[start : start + len(bins)] = np.frombuffer(bins, np.int8)
        return all_bins

    def take(self, places: Integers) -> dict[str, Any]:
        """See `columns.Columns`."""
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

        parts = self._partitions.run(names, picked)
        rows = np.concatenate([np.frombuffer(numbers, np.int64) for numbers, _ in parts])
        whole = pa.concat_tables([pa.ipc.open_stream(batch).read_all() for _, batch in parts]).take(np.argsort(rows))
        return {name: table.values(whole.column(name), kind) for name, kind in self._wanted.items()}
