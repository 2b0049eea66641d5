"""A fleet on a real Kafka broker: members that are killed, come back and are replaced, beside the sender's ledger."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks.kafka.fleet import Fleet, Sender, create_topics, delete_topic, platform_file
from midwatch import platform_files
from midwatch.app.up import addresses
from midwatch.client import EventLog, Label, Prediction
from midwatch.spec import load
from tests.conftest import free_port, midwatch_here, wait_for

PARTITIONS = 12


@pytest.mark.timeout(400)
def test_members_that_are_killed_add_up_to_what_was_sent(kafka: str, tmp_path: Path) -> None:
    topics = ["predictions", "labels"]
    create_topics(kafka, topics, PARTITIONS)
    fleet = Fleet(tmp_path, platform_file(tmp_path, kafka, topics, group="killed"))
    sender = Sender(kafka, topics, seed=7)
    try:
        for name in ("a", "b", "c"):
            fleet.start(name)
        sender.send(1000)
        # Two may have all partitions before the third has joined.
        while not all(fleet.value(name, "midwatch_exporter_kafka_partitions") for name in ("a", "b", "c")):
            time.sleep(0.05)
        fleet.wait_until_counted(PARTITIONS)
        sender.rubbish(20)
        for killed, started in (("a", "a"), ("b", "d"), ("c", "c")):
            sender.send(2000)
            fleet.kill(killed)
            sender.send(1000)
            fleet.start(started)
        sender.finish()
        fleet.wait_until_counted(PARTITIONS)
        found = fleet.counted()
        assert {name: found[name] for name in sender.ledger} == dict(sender.ledger)
        assert (found["waiting",], found["labels waiting",]) == (sender.unlabelled, 0)
        assert found["too young",] == sum(count for name, count in sender.ledger.items() if name[0] == "predicted")
    finally:
        fleet.kill_all()


@pytest.mark.timeout(300)
def test_a_member_says_how_far_it_is_and_takes_no_events_by_http(kafka: str, tmp_path: Path) -> None:
    create_topics(kafka, ["asked"], 2)
    fleet = Fleet(tmp_path, platform_file(tmp_path, kafka, ["asked"], group="asked"))
    sender = Sender(kafka, ["asked"], seed=1)
    try:
        sender.send(50)
        fleet.start("a")
        fleet.wait_until_counted(2)
        assert fleet.value("a", "midwatch_exporter_kafka_records_total") == sender.sent
        assert fleet.ask("a", "/readyz") == 200
        assert fleet.ask("a", "/events", b"{}") == 409
        fleet.start("b")
        while fleet.value("b", "midwatch_exporter_kafka_partitions") != 1:
            time.sleep(0.05)
        fleet.kill("b")
        fleet.wait_until_counted(2)  # the session of the killed one ends, and its partition comes back
        fleet.stop()
    finally:
        fleet.kill_all()


@pytest.mark.timeout(300)
def test_a_topic_is_waited_for_and_read_from_its_begin_when_it_is_made_anew(kafka: str, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, platform_file(tmp_path, kafka, ["anew"], group="anew"))
    before, after = Sender(kafka, ["anew"], seed=5), Sender(kafka, ["anew"], seed=6, first=10_000)
    try:
        fleet.start("a")
        while "does not exist" not in fleet.log("a"):
            fleet.metrics("a")
        create_topics(kafka, ["anew"], 1)
        before.send(100)
        fleet.wait_until_counted(1)
        delete_topic(kafka, "anew")
        create_topics(kafka, ["anew"], 1)
        after.send(80)
        while not fleet.value("a", "midwatch_exporter_kafka_resets_total"):
            time.sleep(0.05)
        fleet.wait_until_counted(1)
        found = fleet.counted()
        ledger = before.ledger + after.ledger
        assert {name: found[name] for name in ledger} == dict(ledger)
    finally:
        fleet.kill_all()


def test_without_topics_in_the_platform_file_the_command_says_what_is_missing(tmp_path: Path, make_document) -> None:
    import json

    file = tmp_path / "platform.yaml"
    file.write_text(json.dumps(make_document()))
    done = midwatch_here("exporter", "serve", "-f", file, "--kafka", "--state", tmp_path / "state")
    assert done.returncode == 2
    assert "exporter.kafka" in done.stderr


# The example ------------------------------------------------------------------------------------------------------

FLIGHTS = Path("examples/flights").resolve()


@contextmanager
def served(command: Sequence[str], words: dict[str, str], port: int) -> Iterator[str]:
    """A server of the example, with words for what stands in braces in its command; its URL once it is ready."""
    for name, word in words.items():
        command = [part.replace(f"{{{name}}}", word) for part in command]
    process = subprocess.Popen(command, cwd=FLIGHTS)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", 60.0)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)
def test_events_of_the_flights_reach_a_member_through_the_topic_of_their_overlay(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the example writes into Kafka, by its own programs; the broker is the tests'."""
    monkeypatch.syspath_prepend(str(FLIGHTS))
    kafka_log = importlib.import_module("kafka_log")
    files = [FLIGHTS / "platform.yaml", FLIGHTS / "kafka.yaml"]
    here = tmp_path / "here.yaml"
    here.write_text(yaml.safe_dump(addresses.overlay(load.read(files[1]).document.values, {"kafka:9092": kafka})))
    file = platform_files.path_of(map(str, [*files, here]))
    platform = load.load_platform(file)
    log = next(server for server in platform.local.servers if server.name == "log")
    model, port, fleet = platform.models[0].name, free_port(), Fleet(tmp_path, file)
    kafka_log.create_topic(kafka, *platform.exporter.kafka.topics, 12)
    words = {"python": sys.executable, "port": str(port), "server:kafka": f"http://{kafka}"}
    try:
        fleet.start("exporter")
        with served(log.command, words, port) as url, EventLog(url) as events:
            for number in range(20):
                name, common = f"flight-{number}", {"model": model, "ts": time.time()}
                events.send(Prediction(id=name, version="v1", prediction="late", score=0.9, **common))
                events.send(Label(id=name, label="late" if number % 4 else "on time", **common))
            assert events.close(60).acknowledged == 40
        fleet.wait_until_counted(12)
        assert fleet.value("exporter", "midwatch_exporter_kafka_records_total") == 40
        assert fleet.value("exporter", "ml_outcomes_total") == 20
        fleet.stop()
    finally:
        fleet.kill_all()
        sys.modules.pop("kafka_log", None)
