"""The stream on Spark and Kafka: the exporter's answer, each batch once, and what is refused."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from pyspark.errors import PySparkException

from exporters.stream import ledger as ledger_of
from exporters.stream import query, service
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger, LedgerError
from exporters.stream.parcels import FINDINGS
from exporters.stream.query import Counted, Query, StreamError
from exporters.stream.session import Machine
from exporters.stream.sources import kafka as kafka_source
from midwatch.spec.stream import KafkaTopics, Stream
from tests.stream.conftest import Topics
from tests.stream.test_same_answer import Pipeline, batches
from tests.stream.traffic import START, World, counted_by_the_exporter, lines, traffic, world

BUCKETS = 6

pack = msgspec.msgpack.Encoder().encode


class Row(NamedTuple):
    """A row of what the buckets found."""

    bucket: int
    kind: str
    found: bytes


class Running:
    """A stream that runs, its ledger and its counters."""

    def __init__(self, spark: Any, topics: Topics, given: World, folder: Path) -> None:
        self.fold = Fold(given.settings, given.models)
        self.ledger = Ledger(folder / "ledger.db")
        self.folding = Folding(self.fold, self.ledger)
        self.query = Query(self.ledger, self.folding)
        named = KafkaTopics(servers=[topics.servers], topics=topics.names)
        records = kafka_source.read(spark, named, {}, cores=2, most=100_000)
        counted = Counted(settings=given.settings, models=given.models, privacy=given.privacy, buckets=BUCKETS)
        self.found = query.found(records, counted)
        self.checkpoint = str(folder / "checkpoint")

    def all_that_is_there(self) -> None:
        self.query.start(self.found, self.checkpoint, None)
        self.query.wait()

    def stop(self) -> None:
        self.query.stop()
        self.folding.stop()


@contextmanager
def running(spark: Any, topics: Topics, given: World, folder: Path) -> Iterator[Running]:
    made = Running(spark, topics, given, folder)
    try:
        yield made
    finally:
        made.stop()


def test_spark_counts_what_the_exporter_counts(spark, topics: Topics, tmp_path: Path) -> None:
    """Over batches and restarts; and with another checkpoint, or one of another time, nothing is counted."""
    given = world(tmp_path)
    records = traffic(seed=5, seconds=120)
    state, results = counted_by_the_exporter(given, records)
    *before, first, last = records
    parts = [list(part) for _, part in groupby(before, key=lambda record: record.arrived // 1000 > START + 70)]
    for part in [*parts, [first, last]]:  # what comes long after it has a batch of its own: no partition is behind
        topics.send(part)
        with running(spark, topics, given, tmp_path) as stream:
            stream.all_that_is_there()
    assert lines(stream.fold) == lines(state)
    assert stream.fold.results == results
    assert sum(stream.fold.records.values()) == len(records)
    assert [batch for batch, _ in stream.ledger.batches()] == [0, 1, 2]
    is_refused_with_another_checkpoint(stream, tmp_path)
    is_refused_without_metadata(stream)
    is_not_ahead_of_the_clock(spark, topics, given, tmp_path)
    is_refused_with_an_empty_ledger(spark, topics, given, tmp_path)


def is_refused_with_another_checkpoint(stream: Running, folder: Path) -> None:
    other = Query(stream.ledger, stream.folding)
    with pytest.raises(LedgerError, match="counts of another checkpoint"):
        other.start(stream.found, str(folder / "another"), 0.1)
    other.stop()


def is_refused_without_metadata(stream: Running) -> None:
    """Spark takes a checkpoint without its id for a new one that has begun: it refuses it."""
    metadata = Path(stream.checkpoint, "metadata")
    text = metadata.read_bytes()
    metadata.unlink()
    with pytest.raises(StreamError, match=r"(?i)metadata"):
        stream.all_that_is_there()
    metadata.write_bytes(text)


def is_refused_with_an_empty_ledger(spark: Any, topics: Topics, given: World, folder: Path) -> None:
    """At once, although there is nothing new to read: its counters would stand at 0 until there is."""
    (folder / "ledger.db").rename(folder / "ledger.away")
    with running(spark, topics, given, folder) as stream, pytest.raises(LedgerError, match="not of one time"):
        stream.all_that_is_there()
    assert not stream.fold.records


def is_not_ahead_of_the_clock(spark: Any, topics: Topics, given: World, folder: Path) -> None:
    """A producer whose clock is half an hour ahead does not make everything that waits half an hour older."""
    ahead = int(time.time() + 1800) * 1000
    topics.send([traffic(seed=1, seconds=1)[0]._replace(arrived=ahead)])
    with running(spark, topics, given, folder) as stream:
        stream.all_that_is_there()
    assert START + 1000 < stream.fold.watermark <= time.time()


class Frame:
    """A batch as Spark hands it over."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self.computed = 0

    def collect(self) -> list[Row]:
        self.computed += 1
        return self._rows


class Handed:
    """A query that Spark has started."""

    id = "query-1"


def test_a_second_driver_is_refused_before_it_keeps_older_counters(tmp_path: Path) -> None:
    given = world(tmp_path)
    path = tmp_path / "state" / "counts.db"
    held = ledger_of.lock(path)
    with pytest.raises(LedgerError, match=r"state is in use by another driver: .* --sink in a folder of its own"):
        ledger_of.lock(path)
    os.close(held)
    os.close(ledger_of.lock(path))
    first = Ledger(path)
    first.ensure_query(Handed.id)
    elsewhere = Folding(Fold(given.settings, given.models), Ledger(path))  # where no lock is seen
    for batch in (0, 1):
        first.add(Handed.id, batch, [])
    first.keep(1, {"fold": b"later"})
    elsewhere.stop()
    assert isinstance(elsewhere.error, LedgerError)
    assert first.kept(["fold"]) == (1, {"fold": b"later"})


def test_counts_that_cannot_be_written_end_the_stream_with_what_is_wrong(tmp_path: Path) -> None:
    given = world(tmp_path)
    ledger = Ledger(tmp_path / "ledger.db")
    folding = Folding(Fold(given.settings, given.models), ledger)
    ledger.path.unlink()
    ledger.path.mkdir()
    for write in (lambda: ledger.add(Handed.id, 0, []), lambda: ledger.ensure_query(Handed.id)):
        with pytest.raises(LedgerError, match=r"ledger.db: the counts cannot be kept there: unable to open"):
            write()
    folding.advance(1.0)
    folding.stop()
    assert isinstance(folding.error, LedgerError)


class Ended:
    """A query of Spark that an error has ended."""

    id = "query-1"

    def awaitTermination(self) -> None:  # noqa: N802 - Spark's name
        raise PySparkException("STREAM_FAILED\n: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: no")


def test_a_topic_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    given, ledger = world(tmp_path), Ledger(tmp_path / "ledger.db")
    stream = Query(ledger, Folding(Fold(given.settings, given.models), ledger))
    stream.begun(Ended())
    with pytest.raises(StreamError, match=r"a topic of stream.kafka.topics is not there: create it"):
        stream.wait()


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_driver_whose_java_is_stopped_with_it_ends_as_asked(tmp_path: Path, make_platform, is_asked: bool) -> None:
    given = world(tmp_path)
    counted = Counted(settings=given.settings, models=given.models, privacy=None, buckets=1)
    made = service.Service(
        service.Options(
            platform=make_platform(),
            base=tmp_path,
            stream=Stream(kafka=KafkaTopics(servers=["k:1"], topics=["t"])),
            counted=counted,
            machine=Machine(),
            properties={},
            checkpoint=str(tmp_path / "checkpoint"),
            ledger=tmp_path / "state" / "counts.db",
            host="127.0.0.1",
            port=0,
        )
    )

    def loses_java(asked: threading.Event) -> None:
        if is_asked:
            os.kill(os.getpid(), signal.SIGTERM)
            asked.wait()
        raise ConnectionRefusedError(111, "Connection refused")

    made._stream = loses_java  # type: ignore[method-assign]
    with nullcontext() if is_asked else pytest.raises(service.JavaEndedError, match="start the driver again"):
        asyncio.run(made.run(lambda _: None))
    os.close(ledger_of.lock(made.ledger.path))  # nobody has it any more


def test_a_batch_that_is_run_again_changes_nothing(tmp_path: Path) -> None:
    given = world(tmp_path)
    pipeline = Pipeline(given)
    parts = list(batches(random.Random(3), traffic(seed=6, seconds=30), share=0.1))
    frames = []
    for part in parts:
        found = pipeline.batch(part)
        frames.append(Frame([Row(bucket=place, kind=FINDINGS, found=pack(one)) for place, one in enumerate(found)]))
        pipeline.fold.take(found)
    ledger = Ledger(tmp_path / "ledger.db")
    for start in range(0, len(frames), 2):  # a driver each, which is killed after it took two batches
        stream = Query(ledger, Folding(Fold(given.settings, given.models), ledger))
        stream.begun(Handed())
        for number, frame in [*enumerate(frames)][max(0, start - 1) : start + 2]:
            stream.take(frame, number)
            stream.take(frame, number)
            assert frame.computed % 2 == 0, "Spark's state keeps what was computed alone"
    folding = Folding(Fold(given.settings, given.models), ledger)
    folding.stop()
    again = Fold(given.settings, given.models)
    again.restore(ledger.kept(["fold"])[1]["fold"])
    assert lines(again) == lines(pipeline.fold)
    assert again.results == pipeline.fold.results
    for number in (0, len(frames) - 2, len(frames) + 1):
        with pytest.raises(LedgerError, match="not of one time"):
            ledger.add(Handed.id, number, [])
