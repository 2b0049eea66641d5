"""Drivers and workers that are killed: what is counted in the end is what was sent, each event once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from midwatch import exposition
from tests.conftest import free_port, need_program

TOPIC = "killed"

PLATFORM = """
apiVersion: midwatch/v1
platform: p
owners: {{ml: {{page: [mail], ticket: [mail]}}}}
channels: {{mail: {{email: {{to: ml@example.com, from: p@example.com, smarthost: "mail:25"}}}}}}
models:
  - {{name: fraud, owner: ml, task: classification, positive: fraud}}
stream:
  listen: 127.0.0.1:{port}
  every: 200ms
  buckets: 8
  partitions: 2
  kafka: {{servers: ["{servers}"], topics: [{topic}]}}
"""


class Driver:
    """`midwatch stream run` in a process, which may be killed with all that it started."""

    def __init__(self, folder: Path, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        command = [sys.executable, "-P", "-m", "midwatch", "stream", "run", "-f", "platform.yaml", "--memory", "512m"]
        # What a JVM compiles for the long run never pays here.
        environment = os.environ | {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
        self._log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=self._log, stdout=self._log, start_new_session=True
        )

    def samples(self) -> dict[str, float]:
        """Sums of each metric; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(self._url, timeout=10) as answer:
                families = exposition.parse(answer.read().decode())
        except OSError:
            return {}
        found: dict[str, float] = {}
        for family in families:
            for sample in family.samples:
                if sample.labels.get("result") not in ("accepted", "malformed"):
                    found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    def wait(self, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        deadline = time.monotonic() + 180
        while not holds(samples := self.samples()):
            assert self.process.poll() is None, "the driver ended by itself"
            assert time.monotonic() < deadline, f"it does not come to pass: {samples}"
            time.sleep(0.05)
        return samples

    def kill(self) -> None:
        """As a machine that loses power: the driver, Spark and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def workers(self) -> list[int]:
        """Spark's Python workers: processes of its daemon."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                is_worker = b"pyspark.daemon" in (entry / "cmdline").read_bytes()
                if is_worker and os.getsid(int(entry.name)) == self.process.pid:
                    found.append(int(entry.name))
            except (OSError, ProcessLookupError):
                continue
        return found


@pytest.fixture
def driver(kafka: str, tmp_path: Path) -> Iterator[Callable[[], Driver]]:
    need_program("java")
    pytest.importorskip("pyspark")
    port = free_port()
    (tmp_path / "platform.yaml").write_text(PLATFORM.format(port=port, servers=kafka, topic=TOPIC))
    started: list[Driver] = []

    def start() -> Driver:
        started.append(Driver(tmp_path, port))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


class Sender:
    """Predictions with labels, a third of them sent twice; it knows what has to be counted."""

    def __init__(self, servers: str) -> None:
        client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        for created in client.create_topics([NewTopic(TOPIC, 2, 1)]).values():
            created.result()
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        self.predictions = self.records = 0

    def send(self, count: int) -> None:
        for number in range(self.predictions, self.predictions + count):
            common = {"id": f"id-{number}", "model": "fraud", "ts": time.time()}
            prediction = common | {"event": "prediction", "version": "v1", "prediction": "fine"}
            label = common | {"event": "label", "label": "fraud" if number % 2 else "fine"}
            for event in (prediction, label, *([prediction, label] if number % 3 == 0 else [])):
                self._producer.produce(TOPIC, json.dumps(event).encode(), partition=number % 2)
                self.records += 1
        self.predictions += count
        assert self._producer.flush(30) == 0


@pytest.mark.timeout(600)  # Java starts twice, on a machine that may be busy
def test_killed_workers_and_drivers_lose_nothing_and_count_nothing_twice(kafka: str, driver) -> None:
    sender = Sender(kafka)
    sender.send(300)
    running = driver()
    running.wait(lambda samples: samples.get("midwatch_stream_batches_total", 0) > 0)
    workers = running.workers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    sender.send(300)
    running.wait(lambda samples: samples.get("midwatch_stream_batches_total", 0) > 1)
    sender.send(300)  # the driver is killed with a batch under way, or before it
    running.kill()
    running = driver()
    counted = running.wait(lambda samples: samples.get("midwatch_stream_records_total", 0) >= sender.records)
    assert workers
    assert counted["midwatch_stream_records_total"] == sender.records
    assert counted["ml_requests_total"] == sender.predictions
    assert counted["ml_outcomes_total"] == sender.predictions
    assert counted["midwatch_exporter_predictions_waiting"] == counted["midwatch_exporter_labels_waiting"] == 0
    assert counted["midwatch_exporter_events_total"] == 2 * sender.predictions // 3, "retries"
