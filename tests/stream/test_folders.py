"""Folders of files as a source of the stream: nothing is read half, lost or left out without a word."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from exporters.event_files import Reading
from exporters.events import kserve
from exporters.stream import reading, records
from exporters.stream.reading import UnreadableRecordError
from exporters.stream.sources import folder_log, folder_rows
from exporters.stream.sources.folder_log import Entry, FolderLogError, Log
from midwatch.client.events import Label, Prediction

NOW = 1_700_000_000.0


def put(folder: Path, name: str, content: bytes | str = "{}\n", age: float = 60.0) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (NOW - age, NOW - age))
    return path


def taken(log: Log, folder: Path, now: float = NOW, settle: float = 10.0) -> list[str]:
    """Names of the files that are new in the log."""
    before = len(log.entries)
    log.take(folder_log.listing(*folder_log.opened(str(folder))), now, settle)
    return [entry.file.path for entry in log.entries[before:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "events"
    made.mkdir()
    return made


# Which files -----------------------------------------------------------------------------------------------------


def test_files_are_taken_once_in_the_order_of_their_writing(folder: Path, tmp_path: Path) -> None:
    put(folder, "day=2/b.ndjson", age=30)
    put(folder, "a.ndjson", age=20)
    put(folder, "day=1/c.ndjson", age=40)
    log = Log(tmp_path / "log")
    assert taken(log, folder) == ["day=1/c.ndjson", "day=2/b.ndjson", "a.ndjson"]
    assert taken(log, folder) == []
    put(folder, "older.ndjson", age=500)  # written long ago, moved here now
    assert taken(log, folder) == ["older.ndjson"]


def test_a_file_that_is_being_written_is_left_until_nobody_writes_to_it(folder: Path, tmp_path: Path) -> None:
    path, log = put(folder, "growing.ndjson", age=1), Log(tmp_path / "log")
    assert taken(log, folder) == []
    with path.open("a") as file:
        file.write("{}\n")
    os.utime(path, (NOW + 5, NOW + 5))
    assert taken(log, folder, NOW + 14) == []
    assert taken(log, folder, NOW + 15) == ["growing.ndjson"]


def test_hidden_and_empty_files_are_none(folder: Path, tmp_path: Path) -> None:
    for name in ("_SUCCESS", ".part.crc", "_temporary/0/a.ndjson", "day=1/.staging/b.ndjson"):
        put(folder, name)
    put(folder, "empty.ndjson", b"")
    assert taken(Log(tmp_path / "log"), folder) == []


def test_a_file_that_has_changed_is_read_again(folder: Path, tmp_path: Path, caplog) -> None:
    put(folder, "a.ndjson")
    log = Log(tmp_path / "log")
    assert taken(log, folder) == ["a.ndjson"]
    put(folder, "a.ndjson", "{}\n{}\n", age=15)
    assert taken(log, folder) == ["a.ndjson"]
    assert "1 files have changed since they were read, and are read again" in caplog.text


def test_a_file_of_the_future_is_taken_when_it_stays_as_it_is_and_arrives_then(folder: Path, tmp_path: Path) -> None:
    put(folder, "ahead.ndjson", age=-3600)
    log = Log(tmp_path / "log")
    assert taken(log, folder) == []
    assert taken(log, folder, NOW + 10) == ["ahead.ndjson"]
    assert log.entries[0].arrived == (NOW + 10) * 1000


def test_a_log_is_the_same_after_a_restart_and_a_torn_entry_is_taken_again(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.ndjson")
    log = Log(tmp_path / "log")
    taken(log, folder)
    entries = log.entries
    with (tmp_path / "log").open("ab") as file:
        file.write(b'[{"path":"b.nd')
    assert Log(tmp_path / "log").entries == entries
    put(folder, "b.ndjson")
    assert taken(Log(tmp_path / "log"), folder) == ["b.ndjson"]
    assert [entry.file.path for entry in Log(tmp_path / "log").entries] == ["a.ndjson", "b.ndjson"]


def test_a_log_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderLogError, match="belongs to another checkpoint"):
        Log(tmp_path / "log").between(0, 3)
    (tmp_path / "bad").write_text("no entry\n")
    with pytest.raises(FolderLogError, match="damaged"):
        Log(tmp_path / "bad")


# What is in them -------------------------------------------------------------------------------------------------


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "event": "prediction",
        "id": f"i{number}",
        "model": "m",
        "version": "v1",
        "ts": NOW,
        "prediction": "a",
    } | more


def label(number: int) -> dict[str, Any]:
    return {"event": "label", "id": f"i{number}", "model": "m", "label": "a", "ts": NOW}


def lines(events: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in events)


def rows(folder: Path, log: Log, **more: Any) -> list[dict[str, Any]]:
    """Records of all files, as Spark gets them."""
    taken(log, folder)
    made = folder_rows.batches(str(folder), str(folder), log.between(0, len(log.entries)), Reading(**more))
    found = [row for batch in made for row in batch.to_pylist()]
    for batch in found:
        assert set(batch) == set(records.COLUMNS)
    return found


def events_in(found: Iterable[dict[str, Any]]) -> list[Any]:
    """Events of records, as the stream's workers read them; of one that says why there are none, the reason."""
    made: list[Any] = []
    for one in found:
        try:
            items, refused = reading.read(one["value"], one["headers"], NOW, kserve.Models(), 2**20)
        except UnreadableRecordError as error:
            made.append((error.kind, error.reason.value))
            continue
        made += [event for _, event in items] + [one.reason.value for one in refused]
    return made


def test_lines_of_a_file_are_events_in_their_order(folder: Path, tmp_path: Path) -> None:
    put(folder, "a.ndjson", lines([event(1), event(2), label(1)]), age=60)
    put(folder, "b.json", lines([event(3)]) + "no json\n", age=30)
    found = rows(folder, Log(tmp_path / "log"))
    assert [row["arrived"] for row in found] == [(NOW - 60) * 1000, (NOW - 30) * 1000]
    assert [row["offset"] for row in found] == [1, (1 << 32) + 1]
    assert all(row["is_loaded"] and row["source"] == str(folder) and row["partition"] == 0 for row in found)
    kinds = [one if isinstance(one, str) else (type(one), one.id) for one in events_in(found)]
    assert kinds == [(Prediction, "i1"), (Prediction, "i2"), (Label, "i1"), (Prediction, "i3"), "not_json"]


def test_rows_of_parquet_are_events_and_a_column_that_is_not_there_is_missing(folder: Path, tmp_path: Path) -> None:
    table = {"id": ["a", "b"], "model": "m", "ts": [NOW, NOW], "prediction": [0.5, 0.25], "features.x": [1.0, None]}
    for name, columns in (("a", table), ("b", {key: value for key, value in table.items() if key != "features.x"})):
        columns = columns | {"model": ["m", "m"], "version": ["v1", "v1"]}
        parquet.write_table(pa.table(columns), folder / f"{name}.parquet")
        os.utime(folder / f"{name}.parquet", (NOW - 60, NOW - 60))
    found = events_in(rows(folder, Log(tmp_path / "log")))
    assert [(one.id, one.features) for one in found] == [("a", {"x": 1.0}), ("b", {}), ("a", {}), ("b", {})]


def cloud_event(kind: str, data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "r-1", "source": "s", "type": f"org.kubeflow.serving.inference.{kind}"} | {
        "inferenceservicename": "m",
        "namespace": "n",
        "time": "2023-11-14T22:13:20Z",
        "data": data,
    }


REQUEST, RESPONSE = {"instances": [[1.0, 2.0]]}, {"predictions": ["a"]}


def test_cloud_events_stand_between_events_and_in_columns(folder: Path, tmp_path: Path) -> None:
    mixed = [event(1), cloud_event("request", REQUEST), event(2), cloud_event("response", RESPONSE)]
    put(folder, "a.ndjson", lines(mixed), age=60)
    columns: dict[str, list[Any]] = {}
    for one in (cloud_event("request", json.dumps(REQUEST)), cloud_event("response", json.dumps(RESPONSE))):
        for name, value in one.items():
            columns.setdefault(name, []).append(value)
    parquet.write_table(pa.table(columns), folder / "b.parquet")
    os.utime(folder / "b.parquet", (NOW - 30, NOW - 30))
    found = events_in(rows(folder, Log(tmp_path / "log")))
    kinds = ["Prediction", "RequestHalf", "Prediction", "ResponseHalf", "RequestHalf", "ResponseHalf"]
    assert [type(one).__name__ for one in found] == kinds


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.parquet", b"PAR1 and then nothing", "file_unreadable"),
        ("bytes.csv", b"id,model,ts,prediction\n\xff\xfe,m,1,a\n", "file_unreadable"),
        ("columns.csv", b"id,prediction\na,b\n", "file_columns"),
        ("notes.txt", b"what is this", "file_columns"),
    ],
)
def test_a_file_that_cannot_be_read_is_counted_and_the_others_are_read(
    folder: Path, tmp_path: Path, caplog, name: str, content: bytes, reason: str
) -> None:
    put(folder, name, content, age=60)
    put(folder, "z.ndjson", lines([event(1)]), age=30)
    found = events_in(rows(folder, Log(tmp_path / "log")))
    assert found[0] == ("file", reason)
    assert [one.id for one in found[1:]] == ["i1"]
    assert f"{name} is not taken" in caplog.text


def test_a_file_whose_name_is_no_text_is_counted_and_the_others_are_read(folder: Path, tmp_path: Path) -> None:
    put(folder, os.fsdecode(b"caf\xe9.ndjson"), lines([event(0)]))
    put(folder, "z.ndjson", lines([event(1)]), age=30)
    found = events_in(rows(folder, Log(tmp_path / "log")))
    assert found[0] == ("file", "file_unreadable")
    assert [one.id for one in found[1:]] == ["i1"]


def test_a_file_that_changes_or_goes_before_it_is_read_is_counted(folder: Path, tmp_path: Path) -> None:
    path, log = put(folder, "a.ndjson", lines([event(1)])), Log(tmp_path / "log")
    taken(log, folder)
    put(folder, "a.ndjson", lines([event(1), event(2)]), age=15)
    entries = log.between(0, 1)

    def read() -> list[Any]:
        batches = folder_rows.batches(str(folder), str(folder), entries, Reading())
        return events_in(row for batch in batches for row in batch.to_pylist())

    assert read() == [("file", "file_changed")]
    assert taken(log, folder) == ["a.ndjson"]
    path.unlink()
    assert read() == [("file", "file_unreadable")]


def test_a_header_of_somebody_else_makes_no_new_reason() -> None:
    assert records.fault_of([{"key": records.FAULT, "value": b"anything"}]) == "invalid"
    assert records.fault_of([{"key": "content-type", "value": b"x"}]) is None


def test_a_changed_mtime_is_arrival_of_that_entry_alone(folder: Path, tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    put(folder, "a.ndjson", lines([event(1)]))
    taken(log, folder)
    put(folder, "a.ndjson", lines([event(1), event(2)]), age=20)
    taken(log, folder)
    assert [entry.arrived for entry in log.entries] == [(NOW - 60) * 1000, (NOW - 20) * 1000]
    assert isinstance(log.entries[0], Entry)
