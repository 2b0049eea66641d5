"""A member of a fleet on a broker in memory: killed at each step, moved about, and with all that a log may lose."""

from __future__ import annotations

import errno
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kafka.fleet import counts, waiting
from exporters.events import journal, prepared, store
from exporters.kafka.client import KafkaUnavailableError, Outcome
from midwatch.spec import model
from tests.exporters.fake_kafka import Broker, Killed, Running

NOW = 1_700_000_000.0
TOPIC = "events"
EXPORTER = model.Exporter(
    label_retention="20m",
    remember="5m",
    kafka={"brokers": ["b:9092"], "topics": [TOPIC]},
)
MODEL = {
    "name": "fraud",
    "owner": "ml",
    "task": "classification",
    "positive": "yes",
    "label_maturity": "5m",
    "slos": [{"name": "availability", "sli": "availability", "objective": "99%"}],
}
MODELS = (model.Model.model_validate(MODEL),)


def prediction(name: str, time: float, predicted: str = "yes") -> bytes:
    event = {"event": "prediction", "id": name, "model": "fraud", "version": "v1", "ts": time, "prediction": predicted}
    return json.dumps(event).encode()


def label(name: str, time: float, actual: str = "yes") -> bytes:
    return json.dumps({"event": "label", "id": name, "model": "fraud", "ts": time, "label": actual}).encode()


def running(broker: Broker, folder: Path, exporter: model.Exporter = EXPORTER) -> Running:
    return Running(broker, folder, exporter, MODELS)


def total(*members: Running) -> Counter[tuple[str, ...]]:
    found: Counter[tuple[str, ...]] = Counter()
    for member in members:
        found.update(dict(counts(member.store)))
        found.update(dict(waiting(member.store)))
    return found


@pytest.fixture
def broker() -> Broker:
    return Broker({TOPIC: 2})


@pytest.fixture
def one(broker: Broker, tmp_path: Path) -> Running:
    """A member with both partitions, which has counted two predictions and a label."""
    member = running(broker, tmp_path / "one")
    broker.give({"one": [0, 1]})
    broker.send(TOPIC, 0, NOW, prediction("a", NOW))
    broker.send(TOPIC, 0, NOW + 1, label("a", NOW + 1))
    broker.send(TOPIC, 1, NOW + 1, prediction("b", NOW + 1))
    member.work()
    return member


def test_records_are_counted_once_and_behind_the_group_s_offset(one: Running, broker: Broker) -> None:
    assert total(one)["predicted", "yes"] == 2
    assert total(one)["outcome", "yes", "yes"] == 1
    assert total(one)["waiting",] == 1
    assert {place: committed.offset for place, committed in broker.committed.items()} == {(TOPIC, 0): 2, (TOPIC, 1): 1}


# Killed at each step ---------------------------------------------------------------------------------------------


def before_the_journal(member: Running) -> None:
    def append(*_: object) -> None:
        raise Killed

    member.store.append = append  # type: ignore[method-assign,assignment]


def behind_the_journal(member: Running) -> None:
    def fault(_: Callable[[], Outcome]) -> Outcome:
        raise Killed

    member.group.faults.append(fault)


def behind_the_group(member: Running) -> None:
    def fault(done: Callable[[], Outcome]) -> Outcome:
        done()
        raise Killed

    member.group.faults.append(fault)


def behind_the_answer(member: Running) -> None:
    answer = member.store.answer

    def killed(time: float, *, is_taken: bool) -> Callable[[], None]:
        answer(time, is_taken=is_taken)
        raise Killed

    member.store.answer = killed  # type: ignore[method-assign]


STEPS = (before_the_journal, behind_the_journal, behind_the_group, behind_the_answer)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_member_that_was_killed_counts_each_record_once(
    one: Running, broker: Broker, step: Callable[[Running], None]
) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    broker.send(TOPIC, 1, NOW + 2, label("b", NOW + 2, "no"))
    step(one)
    with pytest.raises(Killed):
        one.step()
    one.restart()
    broker.give({"one": [0, 1]})
    one.work()
    found = total(one)
    assert (found["predicted", "yes"], found["outcome", "yes", "yes"], found["outcome", "yes", "no"]) == (3, 1, 1)
    assert found["waiting",] == 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_another_member_goes_on_where_the_killed_one_was_and_that_one_finds_out_later(
    one: Running, broker: Broker, tmp_path: Path, step: Callable[[Running], None]
) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    step(one)
    with pytest.raises(Killed):
        one.step()
    two = running(broker, tmp_path / "two")
    broker.give({"two": [0, 1]})
    broker.send(TOPIC, 1, NOW + 3, label("b", NOW + 3, "no"))
    two.work()
    broker.send(TOPIC, 0, NOW + 4, label("c", NOW + 4, "no"))
    two.work()
    one.restart()
    broker.give({"one": [0], "two": [1]})
    one.work()
    two.work()
    found = total(one, two)
    assert (found["predicted", "yes"], found["outcome", "yes", "yes"], found["outcome", "yes", "no"]) == (3, 1, 2)
    assert found["waiting",] == 0


def test_an_answer_that_is_lost_does_not_count_records_twice(one: Running, broker: Broker) -> None:
    def lost(done: Callable[[], Outcome]) -> Outcome:
        done()
        return Outcome.UNKNOWN

    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    one.group.faults.append(lost)
    one.work()
    assert total(one)["predicted", "yes"] == 3


@pytest.mark.parametrize("frames", [0, 1], ids=["records", "that they count"])
def test_what_cannot_be_written_is_read_again(
    one: Running, broker: Broker, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    append, left = one.store.journal.append, [frames]

    def full(frame: bytes) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        append(frame)

    with monkeypatch.context() as patch:
        patch.setattr(one.store.journal, "append", full)
        with pytest.raises(OSError, match="No space"):
            one.step()
    broker.send(TOPIC, 0, NOW + 3, prediction("d", NOW + 3))
    one.work()
    assert total(one)["predicted", "yes"] == 4
    one.restart()
    assert total(one)["predicted", "yes"] == 4


@pytest.mark.parametrize("step", [behind_the_journal, behind_the_group], ids=lambda step: step.__name__)
def test_a_journal_that_was_taken_away_is_written_anew_with_what_is_pending(
    one: Running, broker: Broker, step: Callable[[Running], None]
) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    step(one)
    with pytest.raises(Killed):
        one.step()  # and the process lives: nobody answered
    for file in one.store.directory.glob("journal-*.log"):
        file.unlink()
    with pytest.raises(OSError, match="removed"):
        one.step()
    one.store.mend(NOW)
    one.work()
    one.restart()
    broker.give({"one": [0, 1]})
    one.work()
    assert total(one)["predicted", "yes"] == 3


def test_records_that_no_frame_takes_together_are_counted_in_several(
    one: Running, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(8):
        broker.send(TOPIC, 0, NOW + 2, prediction(f"c{place}", NOW + 2))
    monkeypatch.setattr(journal, "MAX_FRAME", 300)
    one.work()
    assert total(one)["predicted", "yes"] == 2 + 8
    assert broker.committed[TOPIC, 0].offset == 2 + 8


def test_a_request_that_is_lost_loses_no_record(one: Running, broker: Broker) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    one.group.faults.append(lambda _: Outcome.UNKNOWN)
    one.work()
    assert total(one)["predicted", "yes"] == 3


def test_a_member_whose_partitions_went_on_is_refused_and_counts_nothing_of_them(
    one: Running, broker: Broker, tmp_path: Path
) -> None:
    two = running(broker, tmp_path / "two")
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    epoch = one.group.epoch
    broker.give({"two": [0, 1]})
    assert one.group.epoch is epoch  # it has not heard of it yet
    one.step()
    two.work()
    assert one.member.commits["refused"] == 1
    assert total(one)["predicted", "yes"] == 2
    assert total(two)["predicted", "yes"] == 1


def test_what_waits_is_not_forgotten_by_a_member_that_keeps_its_partitions(one: Running, broker: Broker) -> None:
    broker.give({"one": [0, 1]})
    assert not one.member.reading_back
    broker.send(TOPIC, 1, NOW + 5, label("b", NOW + 5))
    one.work()
    assert total(one)["outcome", "yes", "yes"] == 2


def test_a_retry_is_known_to_the_member_that_takes_over(one: Running, broker: Broker, tmp_path: Path) -> None:
    two = running(broker, tmp_path / "two")
    broker.give({"two": [0, 1]})
    broker.send(TOPIC, 0, NOW + 3, prediction("a", NOW))
    broker.send(TOPIC, 0, NOW + 3, label("a", NOW + 1))
    two.work()
    assert not any(count for name, count in total(two).items() if name[0] in ("predicted", "outcome"))
    assert two.ingest.results["prediction", "duplicate", "id"] == 1
    assert two.ingest.results["label", "duplicate", "id"] == 1


def test_a_restart_while_partitions_are_read_back_begins_that_again(
    one: Running, broker: Broker, tmp_path: Path
) -> None:
    for number in range(50):
        broker.send(TOPIC, 0, NOW + 2, prediction(f"x{number}", NOW + 2))
    one.work()
    two = running(broker, tmp_path / "two")
    broker.give({"two": [0, 1]})
    two.step(3)
    assert two.member.reading_back
    assert not two.member.is_ready
    two.restart()
    broker.give({"two": [0, 1]})
    broker.send(TOPIC, 0, NOW + 9, label("x7", NOW + 9))
    two.work()
    assert total(two)["outcome", "yes", "yes"] == 1


# What a log may lose ---------------------------------------------------------------------------------------------


def test_records_that_were_deleted_unread_are_lost_loudly(
    one: Running, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        broker.send(TOPIC, 0, NOW + 2, prediction(f"x{number}", NOW + 2))
    broker.delete_before((TOPIC, 0), 5)
    one.work()
    assert one.store.state.standing.lost == {"retention": 3}
    assert total(one)["predicted", "yes"] == 4
    assert "3 records are lost" in caplog.text
    one.restart()
    assert one.store.state.standing.lost == {"retention": 3}


@pytest.mark.parametrize("keeps_offsets", [False, True], ids=["offsets went", "offsets stayed"])
def test_a_topic_that_is_made_anew_is_read_from_its_begin(one: Running, broker: Broker, *, keeps_offsets: bool) -> None:
    broker.recreate(TOPIC, keeps_offsets=keeps_offsets)
    broker.send(TOPIC, 0, NOW + 9, prediction("new", NOW + 9))
    broker.give({"one": [0, 1]})
    one.work()
    assert total(one)["predicted", "yes"] == 3
    assert one.store.state.standing.resets == {"recreated": 2}


@pytest.mark.parametrize("before", [1, 0], ids=["while it is idle", "with records that are new"])
def test_a_topic_that_is_made_anew_with_as_many_records_is_read_from_its_begin(
    one: Running, broker: Broker, *, before: int
) -> None:
    one.step()
    broker.recreate(TOPIC)
    for number in range(3 - before):  # two were counted in partition 0
        broker.send(TOPIC, 0, NOW + 9, prediction(f"new{number}", NOW + 9))
    one.step()
    broker.send(TOPIC, 0, NOW + 9, prediction("last", NOW + 9))
    one.work()
    assert total(one)["predicted", "yes"] == 2 + 4 - before
    assert one.store.state.standing.resets == {"recreated": 2}


def test_offsets_that_the_group_forgot_are_those_of_the_own_journal(one: Running, broker: Broker) -> None:
    broker.committed.clear()
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    broker.give({"one": [0, 1]})
    one.work()
    assert total(one)["predicted", "yes"] == 3
    assert one.store.state.standing.resets == {"forgotten": 2}


def test_a_log_that_became_shorter_is_read_from_its_end(one: Running, broker: Broker) -> None:
    broker.logs[TOPIC, 0].pop()
    broker.nexts[TOPIC, 0] -= 1
    broker.give({"one": [0, 1]})
    one.work()
    assert one.store.state.standing.resets == {"truncated": 1}


def test_records_that_are_no_events_are_counted_by_reason_and_passed_over(one: Running, broker: Broker) -> None:
    for value in (b"{rubbish", None, b"[1, 2", b'{"event": "prediction", "id": ""}', b"\xff"):
        broker.send(TOPIC, 0, NOW + 2, value)
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    one.work()
    assert total(one)["predicted", "yes"] == 3
    assert sum(one.ingest.results.values()) == 5
    assert {(kind, result) for kind, result, _ in one.ingest.results} == {("event", "malformed")}


def test_partitions_that_come_later_are_read_from_their_begin(broker: Broker, tmp_path: Path) -> None:
    latest = EXPORTER.model_copy(update={"kafka": EXPORTER.kafka.model_copy(update={"start": "latest"})})  # type: ignore[union-attr]
    broker.send(TOPIC, 0, NOW, prediction("before", NOW))
    member = running(broker, tmp_path / "one", latest)
    broker.give({"one": [0, 1]})
    member.work()
    broker.topics[TOPIC] = 3
    broker.logs[TOPIC, 2], broker.lows[TOPIC, 2], broker.nexts[TOPIC, 2] = [], 0, 0
    broker.send(TOPIC, 2, NOW + 1, prediction("later", NOW + 1))
    broker.give({"one": [0, 1, 2]})
    member.work()
    assert total(member)["predicted", "yes"] == 1


def test_topics_of_different_numbers_of_partitions_are_not_counted(tmp_path: Path) -> None:
    kafka = {"brokers": ["b:9092"], "topics": ["predictions", "labels"]}
    broker = Broker({"predictions": 2, "labels": 3})
    member = running(broker, tmp_path / "one", model.Exporter(kafka=kafka))
    broker.give({"one": [0, 1]})
    with pytest.raises(KafkaUnavailableError, match="different numbers of partitions"):
        member.work()


def test_two_topics_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    kafka = {"brokers": ["b:9092"], "topics": ["predictions", "labels"]}
    exporter = EXPORTER.model_copy(update={"kafka": model.Kafka.model_validate(kafka)})
    broker = Broker({"predictions": 1, "labels": 1})
    one, two = running(broker, tmp_path / "one", exporter), running(broker, tmp_path / "two", exporter)
    broker.give({"one": [0]})
    for number in range(60):
        broker.send("predictions", 0, NOW + number, prediction(f"x{number}", NOW + number))
        if number % 2:
            broker.send("labels", 0, NOW + number + 0.5, label(f"x{number}", NOW + number))
    one.work()
    broker.give({"two": [0]})
    for number in range(0, 60, 2):
        broker.send("labels", 0, NOW + 100, label(f"x{number}", NOW + 100, "no"))
    two.work()
    found = total(one, two)
    assert (found["outcome", "yes", "yes"], found["outcome", "yes", "no"], total(two)["waiting",]) == (30, 30, 0)


# Time --------------------------------------------------------------------------------------------------------------


def test_a_quiet_partition_settles_what_is_old_enough_and_the_next_member_does_not_again(
    one: Running, broker: Broker, tmp_path: Path
) -> None:
    one.wall = NOW + 400
    one.step()
    assert total(one)["unlabelled",] == 1
    two = running(broker, tmp_path / "two")
    broker.give({"two": [0, 1]})
    two.wall = NOW + 4000
    two.work()
    two.step(2)
    assert total(one, two)["unlabelled",] == 1
    assert total(one, two)["expired",] == 1


@pytest.mark.parametrize("time", [NOW * 1000, NOW + 7200.0], ids=["in microseconds", "two hours ahead"])
def test_a_timestamp_that_no_clock_can_have_had_ends_nothing_that_waits(
    one: Running, broker: Broker, tmp_path: Path, time: float
) -> None:
    one.wall = NOW + 2
    broker.send(TOPIC, 1, time, prediction("c", NOW + 2))
    broker.send(TOPIC, 1, NOW + 3, prediction("d", NOW + 3))
    broker.send(TOPIC, 1, NOW + 3, label("b", NOW + 3))
    one.work()
    two = running(broker, tmp_path / "two")
    broker.give({"two": [0, 1]})
    two.wall = NOW + 4
    broker.send(TOPIC, 1, NOW + 4, label("c", NOW + 4))
    two.work()
    found = total(one) + total(two)
    assert (found["predicted", "yes"], found["outcome", "yes", "yes"], found["expired",]) == (4, 3, 0)
    assert total(two)["waiting",] == 1  # d
    assert not one.ingest.results
    assert not two.ingest.results


def test_the_end_of_a_transaction_is_no_record_that_waits_to_be_counted(one: Running, broker: Broker) -> None:
    broker.mark((TOPIC, 1))
    one.wall = NOW + 2
    one.step()
    assert {place: behind.records for place, behind in one.member.behind.items()} == {(TOPIC, 0): 0, (TOPIC, 1): 0}
    one.wall = NOW + 400
    one.step()
    assert total(one)["unlabelled",] == 1  # a partition in which nothing comes is settled by the clock


@pytest.mark.parametrize("seed", range(4))
def test_members_that_take_turns_add_up_to_one_that_counted_all(seed: int, tmp_path: Path) -> None:
    source, folder = random.Random(seed), tmp_path
    log = written(source, 300)
    alone = Broker({TOPIC: 1})
    for time, value in log:
        alone.send(TOPIC, 0, time, value)
    single = running(alone, folder / "single")
    alone.give({"single": [0]})
    single.work()

    broker = Broker({TOPIC: 1})
    fleet = [running(broker, folder / name) for name in ("a", "b", "c")]
    cuts = sorted(source.sample(range(1, len(log)), source.randrange(1, 5)))
    for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        owner = source.choice(fleet)
        broker.give({owner.group_name: [0]})
        owner.group.most = source.choice((3, 10_000))
        for time, value in log[begin:end]:
            broker.send(TOPIC, 0, time, value)
        owner.work()
        if source.random() < 0.5:
            owner.restart()
    found = total(*fleet)
    for name in ("waiting", "labels waiting", "too young"):  # a member that was not given anything since keeps its own
        found[name,] = total(owner)[name,]
    assert +found == +total(single)
    assert all(found[name,] for name in ("late", "orphaned", "expired", "unlabelled"))
    for member in (single, *fleet):
        member.kill()


def written(source: random.Random, count: int) -> list[tuple[float, bytes]]:
    """An hour of predictions, retries, and labels that are early, late, or never come."""
    records: list[tuple[float, bytes]] = []
    for number in range(count):
        time = NOW + source.uniform(0, 3600)
        event = prediction(f"x{number}", time, source.choice(("yes", "no")))
        records += [(time + source.uniform(0, 2), event)] * source.choice((1, 1, 1, 2))
        if source.random() < 0.8:
            labelled = time + source.choice((-30, 1, 250, 320, 1100, 1300)) + source.uniform(0, 20)
            records.append((labelled, label(f"x{number}", labelled, source.choice(("yes", "no")))))
    return sorted(records)


# What others read of the journal -----------------------------------------------------------------------------------


def test_the_journal_is_read_as_events_once_they_count(one: Running, broker: Broker) -> None:
    broker.send(TOPIC, 0, NOW + 2, prediction("c", NOW + 2))
    behind_the_journal(one)
    with pytest.raises(Killed):
        one.step()
    folder = one.store.directory
    before = [event.id for event in followed(folder)]
    assert before == ["a", "a", "b"]
    one.restart()
    broker.give({"one": [0, 1]})
    one.work()
    assert [event.id for event in followed(folder)] == ["a", "a", "b", "c"]


def followed(folder: Path) -> list:
    frames = prepared.settled(journal.follow(folder, journal.Position(0, 0)))
    return [event for frame in frames for event in store.decode_events(frame)]


def test_a_snapshot_has_what_waits_and_which_ids_are_known(one: Running, broker: Broker) -> None:
    one.store.close(NOW)
    one.start()
    assert list(journal.snapshots(one.store.directory))
    broker.give({"one": [0, 1]})
    broker.send(TOPIC, 1, NOW + 5, prediction("b", NOW + 1))
    broker.send(TOPIC, 1, NOW + 5, label("b", NOW + 5))
    one.work()
    assert total(one)["predicted", "yes"] == 2
    assert total(one)["outcome", "yes", "yes"] == 2


def test_a_state_belongs_to_a_member_or_to_an_exporter_that_is_sent_its_events(one: Running, tmp_path: Path) -> None:
    one.kill()
    with pytest.raises(journal.JournalError, match="serve it with --kafka"):
        store.Store(one.store.directory, EXPORTER, MODELS)
    plain = store.Store(tmp_path / "plain", EXPORTER, MODELS)
    plain.append(plain.encode(NOW, []))
    plain.journal.close()
    with pytest.raises(journal.JournalError, match="its own --state"):
        Running(Broker({TOPIC: 1}), tmp_path / "plain", EXPORTER, MODELS)
