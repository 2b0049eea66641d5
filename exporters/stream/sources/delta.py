"""Delta tables as a source: rows that are appended, whole commits at a time.

Delta itself says which files there are and what is whole, so nothing is half written. A commit that changes or deletes
rows ends the stream with Delta's error: rows that were counted cannot be taken back, and to pass over the new ones
would be silent. Compaction changes no rows and is passed over.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xxhash
from pyarrow import fs

from exporters import event_files
from exporters.event_files import Reading
from exporters.stream import records
from exporters.stream.sources import folder_rows
from midwatch.errors import MidwatchError
from monitors.drift.spark.session import reason

FILES = 64
"""Files of one batch."""

EXTENSIONS = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""Settings that a session needs before it starts."""


class DeltaError(MidwatchError):
    """A table that cannot be read."""


def frame(spark: Any, path: str, reading: Reading, *, files: int = FILES) -> Any:
    """Records of the rows of a table, as a streaming frame; DeltaError when it is none, or has too few columns.

    Rows arrive when the file that they came in was written.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        opened = spark.readStream.format("delta").option("maxFilesPerTrigger", files).load(path)
    except (PySparkException, Py4JJavaError) as error:
        why = reason(error)
        if "DATA_SOURCE_NOT_FOUND" in str(error) or "ClassNotFound" in str(error):
            why = "Spark has no Delta: scripts/kafka-jars spark fetches its jars"
        raise DeltaError(f"{path}: no Delta table that can be read: {why}") from error
    names = list(opened.columns)
    _converted(path, names, reading)
    marked = opened.selectExpr("*", "input_file_name()", "input_file_block_start()")
    plain = marked.toDF(*(f"c{place}" for place in range(len(marked.columns))))  # a dot in a name is a path to Spark
    return plain.mapInArrow(Rows(path, tuple(names), reading), records.SCHEMA)


def _converted(path: str, names: Iterable[str], reading: Reading) -> Callable[[Mapping[str, Any]], list[bytes]]:
    """What makes bodies of records of a row."""
    if folder_rows.CLOUD_EVENT_COLUMN in names:
        return lambda row: [folder_rows.structured(row)]
    return event_files.of_rows(path, names, reading)


@dataclass(frozen=True)
class Rows:
    """Rows of a table into records, in Spark's workers; after the columns come the file and its part.

    Delta's stream gives no `_metadata` by which Spark usually tells that.
    """

    path: str
    names: tuple[str, ...]
    reading: Reading

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Records of batches of rows."""
        convert = _converted(self.path, self.names, self.reading)
        headers = folder_rows.CLOUD_EVENT if folder_rows.CLOUD_EVENT_COLUMN in self.names else None
        written: dict[str, int] = {}
        seen: Counter[tuple[str, int]] = Counter()
        for batch in batches:
            made = []
            for *values, file, start in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                block, row = (file, start), dict(zip(self.names, values, strict=True))
                if file not in written:
                    written[file] = _written(file)
                seen[block] += 1
                value = b"\n".join(convert(row))
                if value:
                    made.append((self.path, 0, _offset(block, seen[block]), written[file], value, headers, True))
            columns = zip(*made, strict=True) if made else ((),) * len(records.COLUMNS)
            yield pa.RecordBatch.from_arrays(
                [pa.array(list(column), one.type) for column, one in zip(columns, records.ARROW, strict=True)],
                schema=records.ARROW,
            )


def _offset(block: tuple[str, int], number: int) -> int:
    """A row's place: always the same, and in the order of the rows of a block of a file."""
    file, start = block
    return xxhash.xxh3_64_intdigest(f"{file}\0{start}".encode()) >> 33 << 32 | number


def _written(file: str) -> int:
    """When a file was written (milliseconds since the epoch), which Delta never does again."""
    system, path = fs.FileSystem.from_uri(re.sub(r"^s3[an]://", "s3://", file))
    return int((system.get_file_info(path).mtime_ns or 0) // 10**6)
