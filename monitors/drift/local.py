"""Tables on this machine: Parquet, CSV, Arrow or JSON lines files, or a folder of Parquet files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import columns, table, textfiles
from monitors.drift import times as row_times
from monitors.drift.counts import Counts, Floats
from monitors.drift.reference import Reference


class LocalTable:
    """A table on this machine, in the order of its rows; a folder's files in that of their paths.

    Columns of text files are read as the kinds that are `known`. InvalidInputError when it cannot be read, has no row,
    or its files differ in what a column is.
    """

    def __init__(self, path: Path, known: Mapping[str, Feature] | None = None) -> None:
        self._path = path
        with self._readable():
            self._data = _opened(path, {row_times.column(name): kind for name, kind in (known or {}).items()})
            self.rows = self._data.count_rows()
            self._schema = _common_schema(self._data, path)
        if not self.rows:
            raise InvalidInputError.at(path, "the table has no row")
        self._newest: dict[str, Any] = {}
        self.kinds = table.kinds(self._schema)
        self.left_out = table.left_out(self._schema)

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

    def times(self, name: str) -> Floats:
        """Of each row in seconds since the epoch, NaN where there is none; InvalidInputError when it is no time."""
        row_times.ensure_times(self._schema, name, self._path)
        with self._readable():
            return np.concatenate([row_times.seconds(part.column(0).combine_chunks()) for part in self._parts([name])])

    def _column(self, name: str, kind: Feature) -> Any:
        return table.joined([batch for _, batch in self._batches(name, kind)])

    def _ensure(self, wanted: Mapping[str, Feature]) -> None:
        made = {name: kind for name, kind in wanted.items() if row_times.is_part(name, self._schema)}
        table.ensure_columns({**self.kinds, **made}, self._schema.names, wanted, self._path, self._is_empty)

    def _is_empty(self, name: str) -> bool:
        with self._readable():
            return all(part.column(0).null_count == part.num_rows for part in self._parts([name]))

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
        part_of = row_times.parse(name) if row_times.is_part(name, self._schema) else None
        with self._readable():
            for part in self._parts(part_of.columns if part_of else [name]):
                for batch in part.to_batches(max_chunksize=table.BATCH):
                    if batch.num_rows:
                        if part_of:
                            yield start, part_of.values(batch, self._newest_of(part_of))
                        else:
                            yield start, table.values(batch.column(0), kind)
                        start += batch.num_rows

    def _newest_of(self, part_of: row_times.Part) -> Any:
        """The newest time of a column, where ages are told from that."""
        from pyarrow import compute

        if part_of.until is not None or part_of.what != "age":
            return None
        if part_of.of not in self._newest:
            newest = [compute.max(part.column(0)).as_py() for part in self._parts([part_of.of])]
            self._newest[part_of.of] = max(time for time in newest if time is not None) if any(newest) else None
        return self._newest[part_of.of]

    def _parts(self, names: Sequence[str]) -> Iterator[Any]:
        """Columns as tables, one row group of a Parquet file after the other: a scan would read far ahead.

        Each has the types of its own file, since no one type need hold the values of all.
        """
        import pyarrow as pa

        for fragment in self._data.get_fragments():
            own = fragment.physical_schema
            fields = [own.field(name) if name in own.names else self._schema.field(name) for name in names]
            pieces = fragment.split_by_row_group() if hasattr(fragment, "split_by_row_group") else [fragment]
            for piece in pieces:
                yield piece.to_table(schema=pa.schema(fields), columns=list(names), use_threads=False)


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


KNOWN = (
    "give a Parquet (.parquet), CSV (.csv), Arrow (.arrow, .feather) or JSON lines (.jsonl, .ndjson) file, "
    "or a folder of Parquet files"
)


def _opened(path: Path, known: Mapping[str, Feature]) -> Any:
    from pyarrow import dataset, feather

    if path.is_dir():
        return dataset.dataset(path, format="parquet", partitioning="hive")
    if path.suffix == ".parquet":
        return dataset.dataset(path, format=dataset.ParquetFileFormat(pre_buffer=False))
    if path.suffix in (".arrow", ".feather"):
        return dataset.dataset(feather.read_table(path))
    if path.suffix in textfiles.READERS:
        return dataset.dataset(textfiles.READERS[path.suffix](path, known))
    raise InvalidInputError.at(path, f"cannot read {path.suffix or 'a file without ending'}", remedy=KNOWN)


def _common_schema(data: Any, path: Path) -> Any:
    """Each column with the type of the first file that has a value of it; InvalidInputError when kinds differ."""
    import pyarrow as pa
    from pyarrow import types

    fields: dict[str, tuple[Any, str]] = {field.name: (field, "") for field in data.schema}
    for fragment in data.get_fragments():
        place = str(getattr(fragment, "path", path))
        for field in fragment.physical_schema:
            before, where = fields.get(field.name, (field, place))
            if types.is_null(before.type) or not where:
                fields[field.name] = (field, place)
            elif not types.is_null(field.type) and _differ(before.type, field.type):
                said = f"{field.name} is {before.type} in {Path(where).name} and {field.type} in {Path(place).name}"
                raise InvalidInputError.at(path, said, remedy="write all files with one type")
    return pa.schema([field for field, _ in fields.values()])


def _differ(one: Any, other: Any) -> bool:
    """Whether values of two types cannot be compared."""
    from pyarrow import types

    kinds = table.kind_of(one), table.kind_of(other)
    one_flag = types.is_boolean(one) != types.is_boolean(other)
    return kinds[0] is not kinds[1] or one_flag or (kinds[0] is None and one != other)
