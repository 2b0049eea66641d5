"""Spark on this machine, and topics of a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
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
        self._admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        self._create(TOPICS)

    def _create(self, names: Iterable[str]) -> None:
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        for topic in names:
            # The times of the records are long past: the broker would delete them.
            wanted = NewTopic(self.name(topic), PARTITIONS.get(topic, 1), 1, config={"retention.ms": "-1"})
            while True:
                try:
                    self._admin.create_topics([wanted])[wanted.topic].result()
                    break
                except KafkaException as error:  # a broker deletes a topic after it has answered
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
                    time.sleep(0.05)

    def delete(self, topic: str) -> None:
        for deleted in self._admin.delete_topics([self.name(topic)]).values():
            deleted.result()

    def create_again(self, topic: str) -> None:
        self.delete(topic)
        self._create([topic])

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
