"""The stream on Spark and Kafka: the exporter's answer, each batch once, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporters.stream import query
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger
from exporters.stream.query import Counted, Query
from exporters.stream.sources import kafka as kafka_source
from midwatch.spec.stream import KafkaTopics
from tests.stream.conftest import Topics
from tests.stream.test_same_answer import batches
from tests.stream.traffic import World, counted_by_the_exporter, lines, traffic, world

BUCKETS = 6


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
    given = world(tmp_path)
    records = traffic(seed=5, seconds=120)
    state, results = counted_by_the_exporter(given, records)
    parts = list(batches(random.Random(3), records, share=0.03))
    for part in parts:
        topics.send(part)
        with running(spark, topics, given, tmp_path) as stream:
            stream.all_that_is_there()
    assert lines(stream.fold) == lines(state)
    assert stream.fold.results == results
    assert sum(stream.fold.records.values()) == len(records)
    assert len(parts) > 2
