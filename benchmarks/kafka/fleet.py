"""Members of a fleet as processes, a sender that keeps a ledger, and the sums of what the members have counted."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from exporters.kafka import client, takeover
from exporters.kafka.member_store import MemberStore
from midwatch import modules
from midwatch.spec import load
from midwatch.spec import model as spec

START_SECONDS = 60.0


def create_topics(servers: str, names: Sequence[str], partitions: int) -> None:
    """Topics that exist when this returns."""
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for name in names:
        while True:
            try:
                client.create_topics([NewTopic(name, partitions, 1)])[name].result()
                break
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                time.sleep(0.1)  # a broker deletes a topic after it has answered


def delete_topic(servers: str, name: str) -> None:
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in client.delete_topics([name]).values():
        future.result()


def platform_file(folder: Path, servers: str, topics: Sequence[str], **kafka: object) -> Path:
    """A platform file whose exporters read the topics."""
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "fleet",
        "owners": {"ml": {"page": ["oncall"], "ticket": ["oncall"]}},
        "channels": {"oncall": {"webhook": {"url": "http://127.0.0.1:1/"}}},
        "models": [
            {
                "name": "fraud",
                "owner": "ml",
                "task": "classification",
                "positive": "fraud",
                "label_maturity": "600s",
                "slos": [{"name": "availability", "sli": "availability", "objective": "99.9%"}],
            }
        ],
        "exporter": {
            "label_retention": "1h",
            "kafka": {"brokers": [servers], "topics": list(topics), "session_timeout": "2s", **kafka},
        },
    }
    file = folder / "platform.yaml"
    file.write_text(json.dumps(document))
    return file


class Sender:
    """Sends predictions and, later, their labels; some twice, some labels first. The ledger has each once.

    Ids are numbered from `first` on.
    """

    def __init__(self, servers: str, topics: Sequence[str], seed: int, first: int = 0) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "enable.idempotence": True})
        self._predictions, self._labels = topics[0], topics[-1]
        self._source = random.Random(seed)
        self._open: list[tuple[str, str]] = []
        self._count = first
        self.ledger: Counter[tuple[str, ...]] = Counter()
        self.sent = 0

    def send(self, predictions: int) -> None:
        """Send so many predictions, and labels of half of those that wait."""
        for _ in range(predictions):
            self._count += 1
            name, predicted = f"id-{self._count}", self._source.choice(("fraud", "fine"))
            self.ledger["predicted", predicted] += 1
            self._open.append((name, predicted))
            event = {"event": "prediction", "id": name, "prediction": predicted, "version": "v1"}
            if self._source.random() < 0.02:  # its label is first
                self._label(self._open.pop())
            for _ in range(2 if self._source.random() < 0.05 else 1):
                self._produce(self._predictions, name, event)
        self._source.shuffle(self._open)
        for _ in range(len(self._open) // 2):
            self._label(self._open.pop())
        self._producer.flush()

    def finish(self) -> None:
        """Send all labels that are left, but one in ten."""
        for waiting in self._open[len(self._open) // 10 :]:
            self._label(waiting)
        self._open = self._open[: len(self._open) // 10]
        self._producer.flush()

    @property
    def unlabelled(self) -> int:
        return len(self._open)

    def rubbish(self, count: int) -> None:
        """Send records that are no events."""
        for number in range(count):
            self._producer.produce(self._predictions, key=f"rubbish-{number}", value=b"{no event")
            self.sent += 1
        self._producer.flush()

    def _label(self, waiting: tuple[str, str]) -> None:
        name, predicted = waiting
        actual = self._source.choice(("fraud", "fine"))
        self.ledger["outcome", predicted, actual] += 1
        for _ in range(2 if self._source.random() < 0.05 else 1):
            self._produce(self._labels, name, {"event": "label", "id": name, "label": actual})

    def _produce(self, topic: str, key: str, event: dict[str, object]) -> None:
        value = json.dumps({**event, "model": "fraud", "ts": time.time()})
        while True:
            try:
                self._producer.produce(topic, key=key, value=value)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._QUEUE_FULL:
                    raise
                self._producer.poll(0.1)
        self.sent += 1


def is_counted(kafka: spec.Kafka) -> bool:
    """Whether the group's offsets are behind the last record of every partition."""
    client = AdminClient({"bootstrap.servers": kafka.places, "log_level": 0})
    topics = client.list_topics(timeout=10).topics
    places = [TopicPartition(topic, number) for topic in kafka.topics for number in topics[topic].partitions]
    ends = client.list_offsets({place: OffsetSpec.latest() for place in places})
    (asked,) = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(kafka.group, places)]).values()
    committed = {(one.topic, one.partition): one.offset for one in asked.result().topic_partitions}
    return all(
        committed.get((place.topic, place.partition)) == future.result().offset for place, future in ends.items()
    )


class Fleet:
    """Members by name, each with its own state folder."""

    def __init__(self, folder: Path, platform: Path) -> None:
        self._folder, self._platform = folder, platform
        kafka = load.load_platform(platform).exporter.kafka
        assert kafka is not None
        self._kafka = kafka
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, int] = {}
        self.urls: dict[str, str] = {}
        self.names: set[str] = set()

    def state(self, name: str) -> Path:
        return self._folder / name

    def start(self, name: str) -> None:
        """Start a member; `wait` waits until it answers."""
        log = (self._folder / f"{name}.log").open("ab")
        command = modules.command("midwatch", "exporter", "serve", "-f", str(self._platform), "--listen", "127.0.0.1:0")
        command += ["--kafka", "--member", name, "--state", str(self.state(name))]
        self.urls.pop(name, None)
        self._begun[name] = log.tell()
        self._running[name] = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
        self.names.add(name)
        log.close()

    def kill(self, name: str) -> None:
        """End a member as a lost machine does."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all members as a rollout does."""
        for process in self._running.values():
            process.terminate()
        for name, process in self._running.items():
            assert process.wait(60) == 0, self.log(name)
        self._running.clear()

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def metrics(self, name: str) -> str:
        """What a member publishes; waits until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self._running[name].poll() is None, self.log(name)
            try:
                with urllib.request.urlopen(f"{self._url(name)}/metrics", timeout=10) as answer:
                    return str(answer.read().decode())
            except (OSError, LookupError):
                assert time.monotonic() < deadline, self.log(name)
                time.sleep(0.05)

    def ask(self, name: str, path: str, body: bytes | None = None) -> int:
        """Status of a request to a member, by POST where there is a body."""
        try:
            with urllib.request.urlopen(f"{self._url(name)}{path}", body, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def _url(self, name: str) -> str:
        if name not in self.urls:
            text = (self._folder / f"{name}.log").read_bytes()[self._begun[name] :].decode(errors="replace")
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
            self.urls[name] = next((line["url"] for line in lines if line["message"] == "ready"), "")
            if not self.urls[name]:
                raise LookupError(self.urls.pop(name))
        return self.urls[name]

    def running(self) -> list[str]:
        return list(self._running)

    def value(self, name: str, metric: str) -> float:
        """Sum of a metric's samples of one member."""
        lines = self.metrics(name).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{metric} ", f"{metric}{{")))

    def wait_until_counted(self, partitions: int, seconds: float = 120.0) -> None:
        """Wait until every partition is somebody's and no record waits."""
        deadline = time.monotonic() + seconds
        while not self._is_counted(partitions):
            assert time.monotonic() < deadline, "".join(map(self.log, self.running()))
            time.sleep(0.1)

    def _is_counted(self, partitions: int) -> bool:
        names = self.running()
        owned = sum(self.value(name, "midwatch_exporter_kafka_partitions") for name in names)
        return owned == partitions and is_counted(self._kafka)

    def counted(self) -> Counter[tuple[str, ...]]:
        """What the journals of all members that ever were add up to; what waits, of those that run alone.

        To be asked before `stop`, which is part of it: a journal is one process's.
        """
        last = set(self._running)
        self.stop()
        found: Counter[tuple[str, ...]] = Counter()
        for name in sorted(self.names):
            store = self._opened(name)
            found.update(dict(counts(store)))
            if name in last:
                found.update(dict(waiting(store)))
            store.journal.close()
        return found

    def _opened(self, name: str) -> MemberStore:
        """State of a member; one that was killed for ever finds out what it would find out if it came back."""
        platform = load.load_platform(self._platform)
        store = MemberStore(self.state(name), platform.exporter, platform.models)
        if store.pending is not None:
            head, _ = store.pending
            group = client.Group(self._kafka, name)
            group.connect()
            committed = group.committed({(span.topic, span.partition) for span in head.spans})
            group.close()
            taken = takeover.was_taken(store.member, head.number, committed.values())
            assert taken is not None, f"nobody knows whether {head} was counted"
            store.answer(0.0, is_taken=taken)()
        return store


def counts(store: MemberStore) -> Iterator[tuple[tuple[str, ...], int]]:
    """Counters of a member, under the ledger's names where it has them."""
    totals = store.state.live()
    for series in totals.series:
        yield from ((("predicted", name), count) for name, count in series.predicted.items())
        for predicted, actuals in series.outcomes.items():
            yield from ((("outcome", predicted, actual), count) for actual, count in actuals.items())
    for model in totals.models:
        yield ("expired",), model.expired
        yield ("orphaned",), model.orphaned
    for _, _, settled in totals.settled:
        yield ("unlabelled",), sum(settled.unlabelled.values())
        for predicted, actuals in settled.outcomes.pairs.items():
            yield from ((("settled", predicted, actual), count) for actual, count in actuals.items())
        yield ("late",), sum(settled.late.values())


def waiting(store: MemberStore) -> Iterator[tuple[tuple[str, ...], int]]:
    """What waits with a member."""
    for model in store.state.live().models:
        yield ("waiting",), model.waiting
        yield ("labels waiting",), model.labels_waiting
    for _, _, settled in store.state.live().settled:
        yield ("too young",), settled.waiting
