"""Tables on this machine: Parquet, CSV or Arrow files, or a folder of Parquet files, read a part at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift.counts import Counts, Integers
from monitors.drift.embedding import Rows
from monitors.drift.reference import Reference
from monitors.drift.source import Columns, Source, taken

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


class Local:
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
        self.kinds = kinds(self._data.schema)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (OSError, pa.ArrowException) as error:
            why = str(error).splitlines()[0]
            raise InvalidInputError.at(self._path, f"cannot be read: {why}", remedy=KNOWN) from error

    def source(self, wanted: Mapping[str, Feature]) -> Source:
        """What fitting needs of these columns."""
        self._ensure(wanted)
        return Columns(_Lazy(self._column, wanted))

    def _column(self, name: str, kind: Feature) -> Any:
        with self._readable():
            return values(self._data.to_table(columns=[name]).column(0), kind)

    def _ensure(self, wanted: Mapping[str, Feature]) -> None:
        ensure_columns(self.kinds, self._data.schema.names, wanted, self._path, self._is_empty)

    def _is_empty(self, name: str) -> bool:
        with self._readable():
            column = self._data.to_table(columns=[name]).column(0)
        return int(column.null_count) == len(column)

    def scan(self, reference: Reference, *, with_rows: bool, progress: Progress) -> Scanned:
        """The window that this table is, counted on a reference's cells; a column at a time on each core.

        So memory holds a batch of a column or two, however wide the table is, and the sampled rows.
        """
        wanted = {name: feature.kind for name, feature in reference.features.items()}
        self._ensure(wanted)
        sampled = sampled_rows(self.rows) if with_rows else np.zeros(0, np.int64)

        def scanned(name: str) -> tuple[Counts, Any]:
            count = reference.features[name].grid.counter()
            counts, parts = [], []
            for start, batch in self._batches(name, wanted[name]):
                counts.append(count(batch))
                if len(counts) > 1:
                    counts = [counts[0] + counts[1]]
                places = sampled[slice(*np.searchsorted(sampled, [start, start + len(batch)]))] - start
                if with_rows:
                    parts.append(taken(batch, places))
                progress(len(batch))
            return counts[0], joined(parts)

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and Arrow let other threads run meanwhile
            found = dict(zip(wanted, pool.map(scanned, wanted), strict=True))
        rows = {name: column for name, (_, column) in found.items()}
        return Scanned(
            self.rows,
            {name: counts for name, (counts, _) in found.items()},
            reference.joint.embedding.rows(rows) if with_rows else None,
        )

    def _batches(self, name: str, kind: Feature) -> Iterator[tuple[int, Any]]:
        """Parts of a column in order, each with the number of its first row."""
        start = 0
        with self._readable():
            for part in self._parts(name):
                for batch in part.to_batches(max_chunksize=BATCH):
                    if batch.num_rows:
                        yield start, values(batch.column(0), kind)
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
    from pyarrow import types

    found = {}
    for column in schema:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
            found[column.name] = Feature.NUMERIC
        elif types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind):
            found[column.name] = Feature.CATEGORICAL
    return found


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
    """Values of an Arrow column: a float64 array, or an Arrow array of the categories."""
    import pyarrow as pa
    from pyarrow import types

    if column.null_count == len(column):
        column = pa.chunked_array([pa.nulls(len(column), pa.float64() if kind is Feature.NUMERIC else pa.string())])
    if kind is Feature.NUMERIC:
        return column.cast("float64").to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column
