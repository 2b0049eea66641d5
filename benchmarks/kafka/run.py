"""Members of a fleet on a broker of this machine: events a second, and the ledger over many kills.

The broker runs beside them, on the same processors. Events are in the topic before they are counted, so that the sender
takes nothing.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.figure import Figure
from benchmarks.kafka.fleet import Fleet, Sender, create_topics, platform_file
from midwatch import kafka_broker
from midwatch.ports import free_ports

PARTITIONS = 12
STARTING_SECONDS = 60.0
TARGET = 60_000
"""Events a second through Kafka on two cores, joins included."""


def run(*, smoke: bool) -> Sequence[Figure]:
    """Events a second of one member and of two, and events by which the ledger differs after kills."""
    if kafka_broker.jars() is None:
        print("kafka: no jars of a broker; scripts/kafka-jars kafka fetches them", file=sys.stderr)
        return ()
    predictions, kills = (2_000, 1) if smoke else (400_000, 20)
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder) / "broker") as servers:
        one, two = (_speed(Path(folder), servers, members, predictions) for members in (1, 2))
        differing = _differing(Path(folder), servers, kills, 500 if smoke else 5_000)
    return [
        Figure(name="events a second through Kafka, 1 member", target=TARGET, measured=one, unit="1/s", better="more"),
        Figure(name="events a second through Kafka, 2 members", target=TARGET, measured=two, unit="1/s", better="more"),
        Figure(name=f"events lost or double over {kills} kills", target=0, measured=differing, unit="", better="less"),
    ]


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A broker while the context lasts; HOST:PORT."""
    prepared = kafka_broker.prepare(folder, *free_ports(2))
    process = subprocess.Popen(prepared.command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        client = AdminClient({"bootstrap.servers": prepared.servers, "log_level": 0})
        deadline = time.monotonic() + STARTING_SECONDS
        while not _answers(client):
            if time.monotonic() > deadline:
                raise TimeoutError("the broker does not answer")
        yield prepared.servers
    finally:
        process.kill()
        process.wait()


def _answers(client: AdminClient) -> bool:
    try:
        return bool(client.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


def _speed(folder: Path, servers: str, members: int, predictions: int) -> float:
    """Events a second from when the first record is counted to the last."""
    topic = f"speed-{members}"
    create_topics(servers, [topic], PARTITIONS)
    own = folder / topic
    own.mkdir()
    fleet = Fleet(own, platform_file(own, servers, [topic], group=topic))
    names = [f"member-{number}" for number in range(members)]
    sender = Sender(servers, [topic], seed=1)
    try:
        for name in names:
            fleet.start(name)
        fleet.wait_until_counted(PARTITIONS)
        fleet.kill_all()  # they have their partitions, and come back to a topic that is full
        sender.send(predictions)
        sender.finish()
        for name in names:
            fleet.start(name)
        while not (counted := _records(fleet, names)):
            time.sleep(0.02)
        begun = time.perf_counter()
        fleet.wait_until_counted(PARTITIONS, seconds=900)
        return (sender.sent - counted) / (time.perf_counter() - begun)
    finally:
        fleet.kill_all()


def _records(fleet: Fleet, names: Sequence[str]) -> float:
    return sum(fleet.value(name, "midwatch_exporter_kafka_records_total") for name in names)


def _differing(folder: Path, servers: str, kills: int, events: int) -> float:
    """Events by which the sums over members differ from the ledger, after kills while events come."""
    topics = ["kills-predictions", "kills-labels"]
    create_topics(servers, topics, PARTITIONS)
    own = folder / "kills"
    own.mkdir()
    fleet = Fleet(own, platform_file(own, servers, topics, group="kills"))
    sender, source = Sender(servers, topics, seed=2), random.Random(2)
    try:
        for name in ("a", "b", "c"):
            fleet.start(name)
        fleet.wait_until_counted(PARTITIONS)
        for number in range(kills):
            sender.send(events)
            killed = source.choice(fleet.running())
            fleet.kill(killed)
            fleet.start(killed if source.random() < 0.6 else f"new-{number}")
            if source.random() < 0.5:
                fleet.wait_until_counted(PARTITIONS)
        sender.finish()
        fleet.wait_until_counted(PARTITIONS, seconds=300)
        found = fleet.counted()
        return float(sum(abs(found[name] - count) for name, count in sender.ledger.items()))
    finally:
        fleet.kill_all()
