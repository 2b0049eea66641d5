"""A fleet on a real Kafka broker: members that are killed, come back and are replaced, beside the sender's ledger."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.kafka.fleet import Fleet, Sender, create_topics, delete_topic, platform_file
from tests.conftest import midwatch_here

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
