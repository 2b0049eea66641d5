"""A wall clock that is set ahead and back lets nothing expire, and no retry count twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exporters.events import ingest
from exporters.events.journal_time import JournalTime, Reading
from exporters.events.store import Store
from midwatch.client import events
from midwatch.spec import model as spec

NOW = 1_700_000_000.0
DAY = 86_400.0


class Machine:
    """A wall clock that can be set, and the time since boot, which cannot."""

    def __init__(self) -> None:
        self.set_ahead, self.up = 0.0, 1000.0

    def wall(self) -> float:
        return NOW + self.up - 1000 + self.set_ahead

    def elapsed(self) -> float:
        return self.up


class Exporter:
    def __init__(self, folder: Path, machine: Machine) -> None:
        self.machine = machine
        self.store = Store(folder, spec.Exporter())
        self.ingest = ingest.Ingest(self.store, spec.Exporter(), (), None, clock=machine.wall, elapsed=machine.elapsed)

    def take(self, *given: events.Event) -> ingest.Answer:
        answers: list[ingest.Answer] = []
        batch = ingest.Batch(items=list(enumerate(given, 1)), reply=answers.append)

        async def run() -> None:
            self.ingest.submit(batch)
            await self.ingest._commit(self.ingest._take())
            await self.ingest._commit([])

        asyncio.run(run())
        return answers[0]

    def stop(self, *, cleanly: bool = False) -> None:
        self.store.close(self.ingest.now(), snapshot=lambda: cleanly)


def prediction(identifier: str, machine: Machine, **changes) -> events.Prediction:
    values = {"model": "m", "version": "v", "ts": machine.wall(), "prediction": "a"}
    return events.Prediction(id=identifier, **(values | changes))


@pytest.fixture
def exporter(tmp_path: Path):
    made = Exporter(tmp_path / "s", Machine())
    yield made
    made.stop()


def test_a_clock_two_days_ahead_and_back_expires_nothing_and_counts_no_retry_twice(exporter: Exporter) -> None:
    machine = exporter.machine
    first = prediction("a", machine)
    assert exporter.take(first).accepted == 1
    for ahead in (2 * DAY, 0.0, -2 * DAY, 0.0):
        machine.set_ahead = ahead
        machine.up += 60
        assert exporter.take(prediction(f"at {ahead} {machine.up}", machine)).accepted == 1
    assert exporter.take(prediction("a", machine, ts=first.ts)).duplicates == 1
    assert exporter.store.state.counters.models["m"].expired == 0
    assert len(exporter.store.state.predictions) == 5
    machine.up += DAY + 1
    exporter.take(prediction("later", machine))
    assert exporter.store.state.counters.models["m"].expired == 5, "what waited a day by the machine's own time"


def test_an_id_is_remembered_while_a_clock_that_was_set_back_would_still_take_it(exporter: Exporter) -> None:
    machine = exporter.machine
    event = prediction("a", machine)
    exporter.take(event)
    for _ in range(4):  # by the machine's time the id would be forgotten
        machine.up += 1200
        exporter.take(prediction(f"other {machine.up}", machine))
        machine.set_ahead -= 1200
    assert exporter.take(prediction("a", machine, ts=event.ts)).duplicates == 1
    machine.set_ahead = 0
    answer = exporter.take(prediction("a", machine, ts=event.ts))
    assert (answer.accepted, [one.reason for one in answer.refused]) == (0, ["too_old"])


@pytest.mark.parametrize("cleanly", [False, True], ids=["killed", "stopped"])
def test_a_restart_while_the_clock_is_ahead_expires_nothing(tmp_path: Path, cleanly: bool) -> None:
    machine = Machine()
    first = Exporter(tmp_path, machine)
    event = prediction("a", machine)
    first.take(event)
    first.stop(cleanly=cleanly)
    for ahead in (2 * DAY, 0.0):
        machine.set_ahead = ahead
        machine.up += 30
        again = Exporter(tmp_path, machine)
        again.take(prediction(f"at {ahead}", machine))
        assert again.store.state.counters.models["m"].expired == 0
        again.stop(cleanly=cleanly)
    last = Exporter(tmp_path, machine)
    assert last.take(prediction("a", machine, ts=event.ts)).duplicates == 1
    assert len(last.store.state.predictions) == 3
    last.stop()


def test_a_replay_forgets_exactly_what_the_live_exporter_forgot(tmp_path: Path) -> None:
    machine = Machine()
    live = Exporter(tmp_path, machine)
    for number in range(12):
        machine.up += 1000
        machine.set_ahead = [0.0, DAY, -DAY][number % 3]
        live.take(prediction(str(number), machine))
    live.stop()
    again = Exporter(tmp_path, machine)
    assert again.store.state.recent_ids.generations() == live.store.state.recent_ids.generations()
    assert again.store.state.predictions.packed == live.store.state.predictions.packed
    again.stop()


READING = Reading(at=NOW, wall=NOW + 5, since_boot=1000.0, boot="this")


@pytest.mark.parametrize(
    ("boot", "up", "wall", "resumed"),
    [
        ("this", 1600.0, NOW + 10**7, NOW + 600),
        ("this", 1600.0, NOW - 10**7, NOW + 600),
        ("another", 5.0, NOW + 605, NOW + 600),
        ("another", 5.0, NOW - 10**7, NOW),
        ("", 1600.0, NOW + 605, NOW + 600),
    ],
    ids=["ahead", "back", "rebooted", "rebooted with a clock that is behind", "a system that names no boot"],
)
def test_time_goes_on_with_the_machine_and_after_a_reboot_with_the_wall_clock(boot, up, wall, resumed) -> None:
    reading = READING if boot else Reading(READING.at, READING.wall, READING.since_boot, "")
    made = JournalTime(NOW - 50, reading, wall=lambda: wall, elapsed=lambda: up, boot_id=boot)
    assert made.now() == resumed


def test_time_begins_at_the_wall_clock_and_never_before_what_the_journal_has() -> None:
    assert JournalTime(0.0, None, wall=lambda: NOW).now() == pytest.approx(NOW, abs=5)
    assert JournalTime(NOW + 100, None, wall=lambda: NOW).now() >= NOW + 100
