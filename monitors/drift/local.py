"""Tables on this machine: Parquet, CSV or Arrow files, or a folder of Parquet files, read a part at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import columns, table
from monitors.drift.counts import Counts
from monitors.drift.reference import Reference


class LocalTable:
    """A table on this machine, in the order of its rows; a folder's files in that of their paths.

    InvalidInputError when it cannot be read or has no row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._readable():
            self._data = _opened(path)
            self.rows = self._data.count_rows()
        if not self.rows:
            raise InvalidInputError.at(path, "the table has no row")
        self.kinds = table.kinds(self._data.schema)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            why = str(error).splitlines()[0]
            raise InvalidInputError.at(self._path, f"cannot be read: {why}", remedy=KNOWN) from error

    def columns(self, wanted: Mapping[str, Feature]) -> columns.Columns:
        """What fitting needs of these columns."""
        self._ensure(wanted)
        return columns.LocalColumns(_Lazy(self._column, wanted))

    def _column(self, name: str, kind: Feature) -> Any:
        with self._readable():
            return table.values(self._data.to_table(columns=[name]).column(0), kind)

    def _ensure(self, wanted: Mapping[str, Feature]) -> None:
        table.ensure_columns(self.kinds, self._data.schema.names, wanted, self._path, self._is_empty)

    def _is_empty(self, name: str) -> bool:
        with self._readable():
            column = self._data.to_table(columns=[name]).column(0)
        return int(column.null_count) == len(column)

    def scan(self, reference: Reference, *, with_rows: bool, progress: table.Progress) -> table.Scanned:
        """The window that this table is, counted on a reference's cells; a column at a time on each core.

        So memory holds a batch of a column or two, however wide the table is, and the sampled rows.
        """
        wanted = {name: feature.kind for name, feature in reference.features.items()}
        self._ensure(wanted)
        sampled = table.sampled_rows(self.rows) if with_rows else np.zeros(0, np.int64)

        def scanned(name: str) -> tuple[Counts, Any]:
            count = reference.features[name].grid.counter()
            counts, parts = [], []
            for start, batch in self._batches(name, wanted[name]):
                counts.append(count(batch))
                if len(counts) > 1:
                    counts = [counts[0] + counts[1]]
                places = sampled[slice(*np.searchsorted(sampled, [start, start + len(batch)]))] - start
                if with_rows:
                    parts.append(columns.taken(batch, places))
                progress(len(batch))
            return counts[0], table.joined(parts)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and Arrow let other threads run meanwhile
            scanned_columns = dict(zip(wanted, pool.map(scanned, wanted), strict=True))
        rows = {name: column for name, (_, column) in scanned_columns.items()}
        return table.Scanned(
            self.rows,
            {name: counts for name, (counts, _) in scanned_columns.items()},
            reference.joint.embedding.rows(rows) if with_rows else None,
        )

    def _batches(self, name: str, kind: Feature) -> Iterator[tuple[int, Any]]:
        """Parts of a column in order, each with the number of its first row."""
        start = 0
        with self._readable():
            for part in self._parts(name):
                for batch in part.to_batches(max_chunksize=table.BATCH):
                    if batch.num_rows:
                        yield start, table.values(batch.column(0), kind)
                        start += batch.num_rows

    def _parts(self, name: str) -> Iterator[Any]:
        """A column as tables, one row group of a Parquet file after the other: a scan would read far ahead."""
        for fragment in self._data.get_fragments():
            pieces = fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]
            for piece in pieces:
                yield piece.to_table(schema=self._data.schema, columns=[name], use_threads=False)


@dataclass(frozen=True)
class _Lazy(Mapping[str, Any]):
    """Columns that are read when they are asked for."""

    read: Callable[[str, Feature], Any]
    wanted: Mapping[str, Feature]

    def __getitem__(self, name: str) -> Any:
        return self.read(name, self.wanted[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.wanted)

    def __len__(self) -> int:
        return len(self.wanted)


KNOWN = "give a Parquet (.parquet), CSV (.csv) or Arrow (.arrow, .feather) file, or a folder of Parquet files"


def _opened(path: Path) -> Any:
    from pyarrow import csv, dataset, feather

    if path.is_dir():
        return dataset.dataset(path, format="parquet", partitioning="hive")
    if path.suffix == ".parquet":
        return dataset.dataset(path, format=dataset.ParquetFileFormat(pre_buffer=False))
    readers = {".csv": csv.read_csv, ".arrow": feather.read_table, ".feather": feather.read_table}
    if path.suffix not in readers:
        raise InvalidInputError.at(path, f"cannot read {path.suffix or 'a file without ending'}", remedy=KNOWN)
    return dataset.dataset(readers[path.suffix](path))
