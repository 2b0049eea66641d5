"""Spark on this machine, and topics of a real broker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from exporters.stream import session as spark_session
from exporters.stream.session import Machine
from exporters.stream.sources import delta
from tests.conftest import need_program
from tests.stream.traffic import TOPICS, Record

PARTITIONS = {"predictions": 2}
DELTA = delta.EXTENSIONS | {"spark.databricks.delta.snapshotPartitions": "1"}


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """Two cores, which is as many as reads of one batch can be beside each other."""
    need_program("java")
    pytest.importorskip("pyspark")
    with pytest.MonkeyPatch.context() as patch:
        # What a JVM compiles for the long run never pays here.
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        more = DELTA if spark_session.connector_jars(None) else {}
        with spark_session.session(Machine(cores=2, memory="512m"), partitions=2, more=more) as made:
            yield made


class Topics:
    """Topics of a broker, with names of their own in each test."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.servers, self._prefix = servers, prefix
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        asked = [
            # The times of the records are long past: the broker would delete them.
            NewTopic(self.name(topic), PARTITIONS.get(topic, 1), 1, config={"retention.ms": "-1"})
            for topic in TOPICS
        ]
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        for created in admin.create_topics(asked).values():
            created.result()

    def name(self, topic: str) -> str:
        return f"{self._prefix}-{topic}"

    @property
    def names(self) -> list[str]:
        return list(map(self.name, TOPICS))

    def send(self, records: Iterable[Record]) -> None:
        for record in records:
            headers = [(header["key"], header["value"]) for header in record.headers or ()]
            self._producer.produce(
                self.name(record.source),
                record.value,
                partition=record.partition,
                timestamp=record.arrived,
                headers=headers or None,
            )
        assert self._producer.flush(30) == 0


@pytest.fixture
def topics(kafka: str, request: pytest.FixtureRequest) -> Topics:
    return Topics(kafka, f"t{abs(hash(request.node.nodeid)) % 10**9}")
