"""Records of Kafka topics, by Spark's own connector; its jars are not among PySpark's."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from midwatch.errors import MidwatchError
from midwatch.spec.stream import KafkaTopics

CONNECT_SECONDS = 5.0
"""How long a broker may take to take a connection when a driver starts."""

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
