"""A folder of files through Spark: the exporter's counters and the exporter's verdicts, whatever is killed between."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporters import event_files
from exporters.stream import query
from exporters.stream.drift import collected
from exporters.stream.drift.judging import Judging
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger
from exporters.stream.query import Counted, Query, SlowStartError
from exporters.stream.sources import folder as folder_source
from exporters.stream.sources.folder import Folder
from midwatch.client.events import Prediction
from midwatch.spec import load
from tests.stream import drifting
from tests.stream.traffic import Record, World, counted_by_the_exporter, lines

BUCKETS = 5


class Running:
    """A stream that reads a folder, from start to a kill: nothing of it is closed."""

    def __init__(self, spark: Any, file: Path, events: Path) -> None:
        platform = load.load_platform(file)
        state = file.parent / "stream"
        state.mkdir(exist_ok=True)
        self.fold = Fold(platform.exporter, platform.models)
        self.ledger = Ledger(state / "ledger.db")
        self.folding = Folding(self.fold, self.ledger)
        self.judging = Judging(platform, file.parent, state, self.ledger)
        self.query = Query(self.ledger, self.folding, self.judging)
        records = folder_source.frame(spark, Folder(path=str(events), log=str(state / "files.log"), files=1))
        followers = [collected.Follower(self.judging.watched)]
        settings, models = platform.exporter, platform.models
        counted = Counted(settings=settings, models=models, privacy=None, buckets=BUCKETS, followers=followers)
        self.found = query.found(records, counted)
        self.checkpoint = str(state / "checkpoint")

    def all_that_is_there(self) -> None:
        for attempt in range(1, query.STARTS + 1):
            try:
                self.query.start(self.found, self.checkpoint, None)
                self.query.wait()
                return
            except SlowStartError:  # on a busy machine
                if attempt == query.STARTS:
                    raise


@contextmanager
def running(spark: Any, file: Path, events: Path) -> Iterator[Running]:
    made = Running(spark, file, events)
    try:
        yield made
    finally:
        made.query.stop()
        made.folding.stop()


def write(path: Path, events: Sequence[Prediction], written: float) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    os.utime(path, (written, written))
    return path


@pytest.mark.timeout(600)  # a start of Spark that took too long is made anew, on a machine that may be busy
def test_counters_and_verdicts_of_a_folder_are_those_of_the_exporter(make_document, spark, tmp_path: Path) -> None:
    file, events = drifting.write_platform(tmp_path, make_document()), tmp_path / "events"
    events.mkdir()
    platform = load.load_platform(file)
    alone, records = drifting.exporters_judge(file), list[Record]()
    for number, (predictions, until) in enumerate(drifting.batches()):
        written = float(int(until))
        retries = predictions[:20]
        path = write(events / f"{number}.ndjson", [*predictions, *retries], written)
        for piece in event_files.open_file(path, event_files.Reading()).pieces:
            offset = number << 32 | piece.rows[0]
            records.append(Record(str(events), 0, offset, int(written * 1000), piece.body, None, is_loaded=True))
        alone.take(predictions)
        alone.close(written)
        if number == 0:
            with running(spark, file, events) as stream:
                stream.all_that_is_there()
                assert drifting.said_by(stream.judging) == drifting.said(alone)
    with running(spark, file, events) as stream:
        stream.all_that_is_there()
        assert drifting.said_by(stream.judging) == drifting.said(alone)
    assert drifting.verdicts(alone) >= {"drift", "stable"}
    given = World(settings=platform.exporter, models=platform.models, privacy=None)
    state, results = counted_by_the_exporter(given, records)
    assert lines(stream.fold) == lines(state)
    assert stream.fold.results == results
    assert results["prediction", "duplicate", "id"] == 80
