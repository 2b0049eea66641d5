"""The stream: events a second through Kafka, Spark and the joins, on two cores and on one; size of what waits.

The peer is the exporter's own work on the same events in this process, without HTTP and disk: what one core counts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.figure import Figure
from exporters.events.bodies import decode
from exporters.events.checks import Checks
from exporters.events.state import State, make_keys
from exporters.stream.ledger import Ledger
from midwatch import exposition, kafka_broker
from midwatch.ports import free_ports
from midwatch.spec import model as spec

GOAL = 60_000
SCALING = 1.7
GROUP = 5_000
"""Events that the exporter counts together."""

MORE = 20_000
"""Predictions that wait, by which the growth of the state is measured."""

_STATE, _WAITING = "midwatch_stream_state_bytes", "midwatch_stream_waiting_entries"

TOPICS = ("predictions", "labels")

PLATFORM = """
apiVersion: midwatch/v1
platform: bench
owners: {{ml: {{page: [mail], ticket: [mail]}}}}
channels: {{mail: {{email: {{to: ml@example.com, from: p@example.com, smarthost: "mail:25"}}}}}}
models:
  - {{name: fraud, owner: ml, task: classification, positive: fraud, groups: [country]}}
stream:
  listen: 127.0.0.1:{port}
  every: 500ms
  most: {most}
  partitions: {partitions}
  kafka: {{servers: ["{servers}"], topics: [{topics}]}}
"""


def run(*, smoke: bool) -> Sequence[Figure]:
    """Throughput on two cores and on one, against the exporter; what a waiting prediction takes."""
    pairs, most = (2_000, 1_000) if smoke else (500_000, 200_000)
    lines = list(_events(pairs, waiting=pairs // 10))
    with tempfile.TemporaryDirectory() as folder, _broker(Path(folder) / "kafka") as servers:
        _send(servers, lines)
        two, one = (_throughput(Path(folder), servers, cores, most) for cores in (2, 1))
        bytes_waiting = _bytes_waiting(Path(folder), servers, most)
    core = _exporter(lines[: min(len(lines), 200_000)])
    return [
        Figure(
            name="events through Kafka and joins on two cores",
            target=GOAL,
            measured=two,
            unit="events/s",
            better="more",
        ),
        Figure(
            name="two cores against one",
            target=SCALING,
            measured=two / one,
            unit="times",
            better="more",
            peer=f"one core: {one:,.0f} events/s",
        ),
        Figure(
            name="a core of the stream against the exporter's counting",
            target=0.3,
            measured=one / core,
            unit="of it",
            better="more",
            peer=f"exporter, without HTTP and disk: {core:,.0f} events/s",
        ),
        Figure(name="state of a waiting prediction", target=200, measured=bytes_waiting, unit="bytes", better="less"),
    ]


def _events(pairs: int, waiting: int) -> Iterator[tuple[str, bytes]]:
    """Predictions and their labels, which come some thousand events later; the last `waiting` have none."""
    one, now = random.Random(1), time.time()
    for number in range(pairs + 1000):
        if number < pairs:
            event = {"event": "prediction", "id": f"request-{number}", "model": "fraud", "version": f"v{number % 2}"}
            event |= {"ts": now, "duration_seconds": one.randrange(1, 400) / 1000, "score": one.randrange(100) / 100}
            event |= {
                "prediction": one.choice(["fraud", "fine"]),
                "groups": {"country": one.choice(["de", "fr", "pl"])},
            }
            yield "predictions", json.dumps(event).encode()
        if 0 <= number - 1000 < pairs - waiting:
            label = {"event": "label", "id": f"request-{number - 1000}", "model": "fraud", "label": "fine", "ts": now}
            yield "labels", json.dumps(label).encode()


@contextmanager
def _broker(folder: Path) -> Iterator[str]:
    broker = kafka_broker.prepare(folder, *free_ports(2))
    process = subprocess.Popen(broker.command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = AdminClient({"bootstrap.servers": broker.servers, "log_level": 0})
    try:
        while True:
            try:
                client.list_topics(timeout=1)
                break
            except KafkaException:
                time.sleep(0.2)
        yield broker.servers
    finally:
        process.kill()
        process.wait()


def _send(servers: str, lines: Sequence[tuple[str, bytes]]) -> None:
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for made in client.create_topics([NewTopic(topic, 2, 1) for topic in TOPICS]).values():
        made.result()
    producer = Producer({"bootstrap.servers": servers, "queue.buffering.max.messages": 1_000_000, "log_level": 0})
    for number, (topic, line) in enumerate(lines):
        producer.produce(topic, line, partition=number // 2 % 2)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


class _Driver:
    """`midwatch stream run` on some of the machine's cores."""

    def __init__(self, folder: Path, servers: str, *, cores: int, most: int, once: bool) -> None:
        folder.mkdir(exist_ok=True)
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/metrics"
        topics = ", ".join(TOPICS)
        text = PLATFORM.format(port=port, most=most, partitions=2, servers=servers, topics=topics)
        (folder / "platform.yaml").write_text(text)
        command = [
            sys.executable,
            "-P",
            "-m",
            "midwatch",
            "stream",
            "run",
            "-f",
            "platform.yaml",
            "--cores",
            str(cores),
        ]
        allowed = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        self.process = subprocess.Popen(
            ["taskset", "-c", allowed, *command, *(["--once"] if once else [])],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
        )

    def samples(self) -> dict[str, float]:
        """Sums of each metric; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                families = exposition.parse(answer.read().decode())
        except OSError:
            return {}
        found: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    def wait(self, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What it says once that holds; RuntimeError when it has ended."""
        while not holds(samples := self.samples()):
            if self.process.poll() is not None:
                raise RuntimeError("the driver ended by itself")
            time.sleep(0.1)
        return samples

    def kill(self) -> None:
        """The driver, Spark and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _throughput(folder: Path, servers: str, cores: int, most: int) -> float:
    """Events a second from the end of the first batch to that of the last: Java's start is not in it."""
    place = folder / f"cores-{cores}"
    driver = _Driver(place, servers, cores=cores, most=most, once=True)
    if driver.process.wait() != 0:
        raise RuntimeError(f"the driver ended with an error: {(place / 'log').read_text()[-2000:]}")
    ended = [at for _, at in Ledger(place / "state/stream/counts.db").batches()]
    offsets = [_total(place, batch) for batch in (0, len(ended) - 1)]
    return (offsets[1] - offsets[0]) / max(1e-9, ended[-1] - ended[0]) if len(ended) > 1 else float(offsets[1])


def _total(place: Path, batch: int) -> int:
    """Records that were read up to the end of a batch, by Spark's own log of offsets."""
    last = (place / f"state/stream/checkpoint/offsets/{batch}").read_text().splitlines()[-1]
    return sum(offset for partitions in json.loads(last).values() for offset in partitions.values())


def _bytes_waiting(folder: Path, servers: str, most: int) -> float:
    """Bytes that the state grows by for each more prediction that waits, its id included, as the driver says."""
    driver = _Driver(folder / "cores-2", servers, cores=2, most=most, once=False)
    try:
        _send_waiting(servers, "first", 500)  # a driver that has read nothing says nothing of the state
        before = driver.wait(lambda samples: samples.get(_STATE, 0) > 0)
        _send_waiting(servers, "more", MORE)
        after = driver.wait(lambda samples: samples.get(_WAITING, 0) >= before[_WAITING] + MORE)
        return (after[_STATE] - before[_STATE]) / (after[_WAITING] - before[_WAITING])
    finally:
        driver.kill()


def _send_waiting(servers: str, name: str, count: int) -> None:
    """Predictions as those of `_events`, without labels."""
    producer = Producer({"bootstrap.servers": servers, "queue.buffering.max.messages": 1_000_000, "log_level": 0})
    for topic, line in _events(count, waiting=count):
        producer.produce(topic, line.replace(b'"request-', f'"{name}-'.encode()))
    producer.flush()


def _exporter(lines: Sequence[tuple[str, bytes]]) -> float:
    """Events a second that the exporter's code reads, checks and counts on one core."""
    models = [spec.Model(name="fraud", owner="ml", task="classification", positive="fraud", groups=["country"])]
    state = State(spec.Exporter(), models)
    checks, begun = Checks(spec.Exporter(), models, None, state.counters), time.perf_counter()
    for start in range(0, len(lines), GROUP):
        items, _ = decode(b"\n".join(line for _, line in lines[start : start + GROUP]))
        events = [event for _, event in checks.check(items, time.time()).good]
        keys = make_keys(events)
        verdicts = state.admit(events, keys)
        good = [(event, key) for event, key, verdict in zip(events, keys, verdicts, strict=True) if verdict is None]
        state.apply(time.time(), [event for event, _ in good], keys=[key for _, key in good])
    return len(lines) / (time.perf_counter() - begun)
