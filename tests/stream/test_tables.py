"""Delta tables as a source of the stream: rows that were appended, each once; what cannot be taken back ends it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from exporters.event_files import FileError, Reading
from exporters.events import kserve
from exporters.stream import reading, records, session
from exporters.stream.sources import delta
from midwatch.client.events import Label, Prediction

NOW = 1_700_000_000.0
COLUMNS = ("id", "model", "version", "ts", "prediction", "score", "label", "features.x")
SCHEMA = pa.schema([(name, pa.float64() if name in ("ts", "score", "features.x") else pa.string()) for name in COLUMNS])


class Table:
    """A table as Delta's protocol has it (version 1 and 2): files, and a commit each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "_delta_log").mkdir(parents=True)
        fields = [
            {"name": name, "type": "double" if one.type == pa.float64() else "string", "nullable": True, "metadata": {}}
            for name, one in zip(SCHEMA.names, SCHEMA, strict=True)
        ]
        told = {"id": "t", "format": {"provider": "parquet", "options": {}}, "partitionColumns": []}
        told |= {"configuration": {}, "schemaString": json.dumps({"type": "struct", "fields": fields})}
        self.commits = 0
        self.commit({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": told})

    def commit(self, *actions: dict[str, Any]) -> None:
        text = "".join(json.dumps(action) + "\n" for action in actions)
        (self.path / "_delta_log" / f"{self.commits:020}.json").write_text(text)
        self.commits += 1

    def append(self, name: str, rows: list[dict[str, Any]], written: float) -> None:
        file = self.path / name
        parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)
        os.utime(file, (written, written))
        size = file.stat().st_size
        added = {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1, "dataChange": True}
        self.commit({"add": added})

    def delete(self, name: str) -> None:
        self.commit({"remove": {"path": name, "deletionTimestamp": 1, "dataChange": True}})


def prediction(number: int) -> dict[str, Any]:
    own = {"id": f"i{number}", "model": "m", "version": "v1", "ts": NOW, "prediction": "a", "score": 0.5}
    return own | {"features.x": float(number)}


def read(spark: Any, table: Table, folder: Path) -> list[dict[str, Any]]:
    """Records of what was appended since the last time."""
    found: list[dict[str, Any]] = []

    def take(frame: Any, _: int) -> None:
        found.extend(row.asDict(recursive=True) for row in frame.collect())

    frame = delta.frame(spark, str(table.path), Reading())
    writer = frame.writeStream.foreachBatch(take).option("checkpointLocation", str(folder / "checkpoint"))
    writer.trigger(availableNow=True).start().awaitTermination()
    return sorted(found, key=lambda row: (row["arrived"], row["offset"]))


def events(rows: list[dict[str, Any]]) -> list[Any]:
    return [
        event
        for row in rows
        for _, event in reading.read(bytes(row["value"]), row["headers"], NOW, kserve.Models(), 2**20)[0]
    ]


def test_rows_of_a_table_are_read_once_until_some_are_taken_away(spark, tmp_path: Path) -> None:
    if not session.connector_jars(None):
        pytest.skip("the jars of Delta are not there: scripts/kafka-jars spark")
    from pyspark.errors import StreamingQueryException

    table = Table(tmp_path / "table")
    table.append("a.parquet", [prediction(1), prediction(2)], NOW)
    labelled = {"id": "i1", "model": "m", "ts": NOW, "label": "a"}
    table.append("b.parquet", [labelled], NOW + 5)
    first = read(spark, table, tmp_path)
    assert [(type(one), one.id) for one in events(first)] == [(Prediction, "i1"), (Prediction, "i2"), (Label, "i1")]
    assert [one.features for one in events(first)[:2]] == [{"x": 1.0}, {"x": 2.0}]
    assert [row["arrived"] for row in first] == [NOW * 1000, NOW * 1000, (NOW + 5) * 1000]
    assert all(set(row) == set(records.COLUMNS) and row["is_loaded"] for row in first)
    table.append("c.parquet", [prediction(3)], NOW + 10)
    assert [one.id for one in events(read(spark, table, tmp_path))] == ["i3"]
    table.delete("a.parquet")
    with pytest.raises(StreamingQueryException, match="DELTA_SOURCE_IGNORE_DELETE"):
        read(spark, table, tmp_path)


def test_a_table_that_is_none_or_lacks_a_column_is_refused_at_the_start(spark, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(delta.DeltaError, match="no Delta table that can be read"):
        delta.frame(spark, str(tmp_path / "none"), Reading())
    if session.connector_jars(None):
        with pytest.raises(FileError, match="no column 'nobody'"):
            delta.frame(spark, str(Table(tmp_path / "table").path), Reading(columns={"id": "nobody"}))
