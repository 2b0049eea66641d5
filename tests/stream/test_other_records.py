"""Records that are not those that were taken: a topic that is another one, a checkpoint of another time, retention."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException

from exporters.stream.ledger import Ledger, LedgerError, Rows
from exporters.stream.query import Query, StreamError
from exporters.stream.sources import kafka as kafka_source
from midwatch.errors import MidwatchError
from midwatch.spec.stream import KafkaTopics
from tests.stream.conftest import Topics
from tests.stream.traffic import Record

RECREATED = r"the topic .*-predictions was deleted and created again: .* new --checkpoint and a new --sink"
QUERY = "query-1"


class Taken:
    """Keeps the rows of the batches that are taken, in the place of folding them."""

    has_all = True

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def put(self, _batch: int, rows: Rows) -> None:
        self.values += [value for _, _, value in rows]


class Plain:
    """A stream of a topic's records as they are, with its ledger: without buckets and what they need."""

    def __init__(self, spark: Any, topics: Topics, folder: Path, taken: Taken) -> None:
        self._spark, self._named = spark, KafkaTopics(servers=[topics.servers], topics=[topics.name("predictions")])
        self._checkpoint = str(folder / "checkpoint")
        self.query = Query(Ledger(folder / "ledger.db"), taken)  # type: ignore[arg-type]

    @contextmanager
    def running(self, every: float | None = None) -> Iterator[None]:
        """A batch every so many seconds, or what is there."""
        records = kafka_source.read(self._spark, self._named, {}, cores=1, most=100_000)
        rows = records.selectExpr("0 AS bucket", "'' AS kind", "value AS found")
        with kafka_source.topic_ids(self._spark, self._named, {}) as topics_now:
            try:
                self.query.start(rows, self._checkpoint, every, topics_now)
                yield
            finally:
                self.query.stop()

    def run(self) -> None:
        with self.running():
            self.query.wait()


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def stream(spark: Any, topics: Topics, tmp_path: Path, taken: Taken) -> Plain:
    """Of a topic that has ten records."""
    topics.send(sent(0, 10))
    return Plain(spark, topics, tmp_path, taken)


def sent(first: int, last: int) -> list[Record]:
    return [Record("predictions", number % 2, 0, 1000 * number, b"%d" % number, None) for number in range(first, last)]


def values(first: int, last: int) -> list[bytes]:
    return sorted(record.value for record in sent(first, last))


def test_a_topic_that_was_created_again_is_refused_though_its_offsets_go_on(
    spark, topics: Topics, tmp_path: Path, taken: Taken, stream: Plain
) -> None:
    """With more records than were read Spark would pass over the first ones, and say nothing."""
    with stream.running(every=0.1):
        while not taken.values:
            assert not stream.query.wait(0.1)
        topics.create_again("predictions")
        topics.send(sent(100, 130))
        with pytest.raises(LedgerError, match=RECREATED):
            stream.query.wait()
    with pytest.raises(LedgerError, match=RECREATED):
        Plain(spark, topics, tmp_path, taken).run()
    topics.delete("predictions")
    with pytest.raises(MidwatchError, match=r"the topic .*-predictions of stream.kafka.topics is not there: create it"):
        Plain(spark, topics, tmp_path, taken).run()
    assert sorted(taken.values) == values(0, 10)


def test_a_topic_that_was_created_again_is_seen_while_nothing_comes_and_when_it_has_fewer_records(
    topics: Topics, taken: Taken, stream: Plain
) -> None:
    with stream.running(every=0.1):
        while not (taken.values and stream.query.is_idle):
            assert not stream.query.wait(0.1)
        topics.create_again("predictions")
        with pytest.raises(LedgerError, match=RECREATED):
            stream.query.ensure_same_topics()
        with pytest.raises(LedgerError, match=RECREATED):  # Spark sees that offsets go back, and advises to lose them
            stream.query.wait()
    assert sorted(taken.values) == values(0, 10)


def test_a_checkpoint_that_is_one_batch_behind_counts_that_batch_once_or_is_refused(
    spark, topics: Topics, tmp_path: Path
) -> None:
    """Its batch is planned anew, under the same number: with what came since, that would not be counted at all."""
    taken = Taken()
    topics.send(sent(0, 10))
    Plain(spark, topics, tmp_path, taken).run()
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "older")
    topics.send(sent(10, 20))
    Plain(spark, topics, tmp_path, taken).run()
    restore_checkpoint(tmp_path)
    Plain(spark, topics, tmp_path, taken).run()
    assert sorted(taken.values) == values(0, 20)
    restore_checkpoint(tmp_path)
    topics.send(sent(20, 30))
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"has batch 1 with other records .* restore both of one time"):
            Plain(spark, topics, tmp_path, taken).run()
    assert sorted(taken.values) == values(0, 20)


def restore_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoint")
    shutil.copytree(folder / "older", folder / "checkpoint")


def test_counts_of_the_release_before_go_on(tmp_path: Path) -> None:
    """They do not say which records their last batch took; of the next ones it is known."""
    ledger = Ledger(tmp_path / "ledger.db")
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.executescript("DROP TABLE topics; ALTER TABLE batches DROP COLUMN offsets; PRAGMA user_version = 1")
        connection.execute("INSERT INTO batches VALUES (?, 0, 1.0)", (QUERY,))
        connection.commit()
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.ensure_topics({"t": "one"})
    assert not ledger.add(QUERY, 0, [], offsets="a")
    assert ledger.add(QUERY, 1, [], offsets="b")
    assert not ledger.add(QUERY, 1, [], offsets="b")
    with pytest.raises(LedgerError, match="batch 1 with other records"):
        ledger.add(QUERY, 1, [], offsets="c")
    with pytest.raises(LedgerError, match="the topic t was deleted and created again"):
        Ledger(tmp_path / "ledger.db").ensure_topics({"t": "two"})


class Expired:
    """A query of Spark that ends since retention deleted what it had not read."""

    id = QUERY

    def awaitTermination(self) -> None:  # noqa: N802 - Spark's name
        raise PySparkException("STREAM_FAILED: Some data may have been lost ... set failOnDataLoss to false")


def test_records_that_retention_deleted_unread_are_never_passed_over(tmp_path: Path) -> None:
    stream = Query(Ledger(tmp_path / "ledger.db"), Taken())  # type: ignore[arg-type]
    stream.begun(Expired())
    with pytest.raises(StreamError, match=r"deleted before they were read.* begin with a new --checkpoint") as raised:
        stream.wait()
    assert "failOnDataLoss" not in str(raised.value)
