"""A member beside the exporter's HTTP service: its thread, its readiness, and what it publishes of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from exporters.events import kserve
from exporters.events.ingest import Ingest
from exporters.kafka import records
from exporters.kafka.client import Group, Reader
from exporters.kafka.member import Member, Settings
from exporters.kafka.member_store import MemberStore
from midwatch import metrics
from midwatch.exposition import Sample
from midwatch.spec import model as spec

CALL_SECONDS = 600.0
"""How long the member's thread waits for the loop: until a service that hangs is given up."""


class Service:
    """One member. It is made on the loop that scrapes are answered on."""

    def __init__(
        self,
        name: str,
        kafka: spec.Kafka,
        settings: spec.Exporter,
        models: Sequence[spec.Model],
        store: MemberStore,
        ingest: Ingest,
        folder: Path,
    ) -> None:
        self._store = store
        self._group = {"group": kafka.group}
        read: records.Read = records.read_events
        if kafka.format == "cloudevents":
            read = records.cloudevents(kserve.Models.of(models), settings.max_body)
        told = Settings(name=name, kafka=kafka, exporter=settings, models=models, read=read)
        group = Group(kafka, name, folder)
        self._loop = asyncio.get_running_loop()
        self._member = Member(told, store, ingest, group, partial(Reader, kafka, folder), self._on_loop)

    def _on_loop(self, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(CALL_SECONDS)

    async def run(self) -> None:
        """Work until `stop`; FencedError when another process has the member's name."""
        await asyncio.to_thread(self._member.run)

    def stop(self) -> None:
        """Let `run` end after what it is doing."""
        self._member.stopping.set()

    @property
    def is_ready(self) -> bool:
        """Whether every record of the member's partitions is counted as it comes."""
        return self._member.is_ready

    def kept_samples(self) -> list[Sample]:
        """What goes on after a restart."""
        standing = self._store.state.standing
        told = ((metrics.KAFKA_LOST, standing.lost), (metrics.KAFKA_RESETS, standing.resets))
        return [
            (metric, {**self._group, "reason": reason}, count)
            for metric, counts in told
            for reason, count in counts.items()
        ]

    def own_samples(self) -> list[Sample]:
        """What this process began."""
        member, group = self._member, self._group
        samples: list[Sample] = [
            (metrics.KAFKA_PARTITIONS, group, member.partitions),
            (metrics.KAFKA_TOPIC_PARTITIONS, group, member.topic_partitions),
            (metrics.KAFKA_RECORDS, group, member.records),
            (metrics.KAFKA_REBALANCES, group, member.rebalances),
            (metrics.KAFKA_LOST, {**group, "reason": "undecided"}, member.undecided),
        ]
        for (topic, partition), behind in member.behind.items():
            labels = {**group, "topic": topic, "partition": str(partition)}
            samples += [(metrics.KAFKA_LAG, labels, behind.records), (metrics.KAFKA_BEHIND, labels, behind.seconds)]
        for partition, remaining in member.reading_back.items():
            samples.append((metrics.KAFKA_READING_BACK, {**group, "partition": str(partition)}, remaining))
        for result, count in list(member.commits.items()):
            samples.append((metrics.KAFKA_COMMITS, {**group, "result": result}, count))
        return samples
