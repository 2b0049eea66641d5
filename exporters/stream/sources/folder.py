"""Folders of Parquet, NDJSON or CSV files as a source of Spark: it lists, Spark's workers read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxFiles, SupportsTriggerAvailableNow

from exporters.event_files import Reading
from exporters.stream import records
from exporters.stream.sources import folder_log, folder_rows
from exporters.stream.sources.folder_log import Entry, Log

NAME = "midwatch_folder"
"""Name of the source's format in Spark."""

SETTLE = 10.0
"""Seconds that nobody has written to a file before it is read."""

FILES = 64
"""Files of one batch."""

TOGETHER = 32 * 2**20
"""Bytes of small files that one task reads."""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A folder to be read; `log` is the file that says what has been read, and stays with the checkpoint."""

    path: str
    log: str
    settle: float = SETTLE
    files: int = FILES
    columns: dict[str, str] = {}
    values: dict[str, str] = {}
    is_utc: bool = False


def frame(spark: Any, folder: Folder) -> Any:
    """Records of the files that come into a folder, as a streaming frame."""
    spark.dataSource.register(FolderSource)
    given = msgspec.json.encode(folder).decode()
    return spark.readStream.format(NAME).option("folder", given).load()


class FolderSource(DataSource):
    """Spark's view of a folder."""

    @classmethod
    def name(cls) -> str:
        """Name of the format."""
        return NAME

    def schema(self) -> str:
        """Columns of a record."""
        return records.SCHEMA

    def streamReader(self, schema: Any) -> DataSourceStreamReader:  # noqa: ARG002, N802 - Spark's names
        """What Spark asks for files."""
        return Reader(msgspec.json.decode(self.options["folder"].encode(), type=Folder))


class Files(InputPartition):
    """Files of one task, with their numbers in the log."""

    def __init__(self, entries: Sequence[tuple[int, Entry]]) -> None:
        self.value = self.entries = entries


class Reader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offsets are numbers of entries of the log."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._system, self._base = folder_log.opened(folder.path)
        self._opened: Log | None = None
        self._last: int | None = None

    @property
    def _log(self) -> Log:
        """The log, which only the driver opens."""
        if self._opened is None:
            self._opened = Log(Path(self._folder.log))
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def initialOffset(self) -> dict[str, int]:  # noqa: N802 - Spark's name
        """The beginning."""
        return {"files": 0}

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802 - Spark's name
        """Files of one batch."""
        return ReadMaxFiles(self._folder.files)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802 - Spark's name
        """Go no further than what is there now."""
        self._look()
        self._last = len(self._log.entries)

    def _look(self) -> None:
        self._log.take(folder_log.listing(self._system, self._base), time.time(), self._folder.settle)

    def latestOffset(self, start: dict[str, int], limit: ReadLimit) -> dict[str, int]:  # noqa: N802 - Spark's name
        """What is there, and has settled, as far as one batch may go."""
        if self._last is None:
            self._look()
        there = len(self._log.entries) if self._last is None else self._last
        most = there if isinstance(limit, ReadAllAvailable) else start["files"] + self._folder.files
        return {"files": max(start["files"], min(most, there))}

    def reportLatestOffset(self) -> dict[str, int]:  # noqa: N802 - Spark's name
        """What is there."""
        return {"files": len(self._log.entries)}

    def partitions(self, start: dict[str, int], end: dict[str, int]) -> list[InputPartition]:
        """Files between two offsets, small ones together."""
        tasks: list[list[tuple[int, Entry]]] = []
        size = TOGETHER
        for number, entry in self._log.between(start["files"], end["files"]):
            size += entry.file.size
            if size > TOGETHER:
                tasks.append([])
                size = entry.file.size
            tasks[-1].append((number, entry))
        return [Files(task) for task in tasks]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Records of a task's files."""
        if not isinstance(partition, Files):
            raise TypeError(f"{partition} is no task of a folder")
        folder = self._folder
        reading = Reading(columns=folder.columns, values=folder.values, is_utc=folder.is_utc)
        return folder_rows.batches(folder.path, self._base, partition.entries, reading)
