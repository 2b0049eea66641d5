"""Records of Kafka topics, by Spark's own connector; its jars are not among PySpark's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError

from midwatch.errors import MidwatchError
from midwatch.spec.stream import KafkaTopics
from monitors.drift.spark.session import reason

CONNECT_SECONDS = 5.0
"""How long a broker may take to take a connection when a driver starts."""

NO_TOPIC = "UnknownTopicOrPartition"
"""How Kafka's client calls a topic that is not there, without its name."""

CREATE_IT = (
    "create it, or correct its name; if it was deleted, what was not read is lost, and a new --checkpoint and a new "
    "--sink are needed"
)
"""What to do about it."""

RECORD = (
    "topic AS source",
    "partition",
    "offset",
    "unix_millis(timestamp) AS arrived",
    "value",
    "headers",
    "false AS is_loaded",
)
"""Columns of `records`, from those of the connector."""


def ensure_reachable(servers: Sequence[str]) -> None:
    """Raise MidwatchError where no broker takes a connection: Spark's client would try for minutes, and say nothing."""
    reasons = []
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
            return
        except OSError as error:
            reasons.append(f"{server}: {error.strerror or error}")
    raise MidwatchError(f"no broker of stream.kafka.servers answers ({'; '.join(reasons)}): start one, or correct them")


@contextmanager
def topic_ids(
    spark: Any, topics: KafkaTopics, properties: Mapping[str, str]
) -> Iterator[Callable[[], Mapping[str, str]]]:
    """What asks the brokers, with Spark's own client, for the ids of the topics, by name.

    A topic that was deleted and created again has another id (KIP-516); brokers before 2.8 give all the same one. What
    is asked raises MidwatchError when a topic is not there, or no broker answers.
    """
    settings = spark._jvm.java.util.Properties()
    for name, value in {**properties, "bootstrap.servers": ",".join(topics.servers)}.items():
        settings.setProperty(name, value)
    client = spark._jvm.org.apache.kafka.clients.admin.AdminClient.create(settings)

    def now() -> dict[str, str]:
        asked = client.describeTopics(topics.topics).topicNameValues()
        return {name: _answered(name, asked[name]).topicId().toString() for name in topics.topics}

    try:
        yield now
    finally:
        client.close(spark._jvm.java.time.Duration.ZERO)


def _answered(topic: str, future: Any) -> Any:
    try:
        return future.get()
    except Py4JJavaError as error:
        if NO_TOPIC in str(error):
            raise MidwatchError(f"the topic {topic} of stream.kafka.topics is not there: {CREATE_IT}") from error
        raise MidwatchError(f"the brokers do not say what the topic {topic} is: {reason(error)}") from error


def read(spark: Any, topics: KafkaTopics, properties: Mapping[str, str], *, cores: int, most: int) -> Any:
    """Streaming frame of the topics' records, of at most `most` in a batch.

    `properties` are those of a Kafka client. A topic with fewer partitions than cores is read in parts by several.
    """
    reader = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", ",".join(topics.servers))
        .option("subscribe", ",".join(topics.topics))
        .option("startingOffsets", topics.begin)
        .option("failOnDataLoss", "true")
        .option("includeHeaders", "true")
        .option("kafka.isolation.level", "read_committed")
        .option("minPartitions", str(cores))
        .option("maxOffsetsPerTrigger", str(most))
    )
    for name, value in properties.items():
        reader = reader.option(f"kafka.{name}", value)
    return reader.load().selectExpr(*RECORD)
