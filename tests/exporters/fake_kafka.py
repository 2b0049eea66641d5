"""A Kafka broker in memory, with one consumer group: what a member asks of it, and faults on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from exporters.events.ingest import Ingest
from exporters.kafka import records
from exporters.kafka.client import FencedError, KafkaUnavailableError, Outcome, Polled
from exporters.kafka.member import Member, Settings
from exporters.kafka.member_store import MemberStore
from exporters.kafka.records import Record
from exporters.kafka.takeover import Bounds, Committed
from midwatch.spec import model

Place = tuple[str, int]


class Killed(BaseException):
    """The process ends here, as by kill -9."""


@dataclass
class Broker:
    topics: dict[str, int]
    ids: dict[str, str] = field(default_factory=dict)
    logs: dict[Place, list[Record]] = field(default_factory=dict)
    lows: dict[Place, int] = field(default_factory=dict)
    nexts: dict[Place, int] = field(default_factory=dict)
    committed: dict[Place, Committed] = field(default_factory=dict)
    generation: int = 0
    groups: dict[str, Group] = field(default_factory=dict)
    is_down: bool = False

    def __post_init__(self) -> None:
        for topic, count in self.topics.items():
            self.ids.setdefault(topic, f"{topic}-1")
            for number in range(count):
                self.logs[topic, number] = []
                self.lows[topic, number] = self.nexts[topic, number] = 0

    def send(self, topic: str, partition: int, time: float, value: bytes | None) -> None:
        place = topic, partition
        self.logs[place].append(Record(topic, partition, self.nexts[place], time, value))
        self.nexts[place] += 1

    def delete_before(self, place: Place, offset: int) -> None:
        self.logs[place] = [record for record in self.logs[place] if record.offset >= offset]
        self.lows[place] = offset

    def recreate(self, topic: str, *, keeps_offsets: bool = False) -> None:
        """The topic anew; a broker deletes the group's offsets with the old one, and may be late with that."""
        self.ids[topic] += "-again"
        for number in range(self.topics[topic]):
            place = topic, number
            self.logs[place], self.lows[place], self.nexts[place] = [], 0, 0
            if not keeps_offsets:
                self.committed.pop(place, None)

    def give(self, shares: Mapping[str, Iterable[int]]) -> None:
        """Give partitions of all topics to members."""
        self.generation += 1
        for name, group in self.groups.items():
            numbers = shares.get(name)
            if numbers is not None:
                group.given(self.generation, frozenset((topic, number) for topic in self.topics for number in numbers))

    def mark(self, place: Place) -> None:
        """Write what a producer's transaction ends with: an offset that no record has."""
        self.nexts[place] += 1

    @property
    def newest(self) -> float:
        """Time of the last record that came anywhere."""
        return max((log[-1].time for log in self.logs.values() if log), default=0.0)

    def records(self, place: Place, begin: int) -> list[Record]:
        return [record for record in self.logs[place] if record.offset >= begin]


class Group:
    """One member's part. `faults` are called before commits, in turn: what they return is what is answered."""

    def __init__(self, broker: Broker, name: str) -> None:
        self._broker = broker
        self._positions: dict[Place, int] = {}
        self._paused: set[Place] = set()
        self.epoch: Any = None
        self.assigned: frozenset[Place] = frozenset()
        self.rebalances = 0
        self.faults: list[Callable[[Callable[[], Outcome]], Outcome]] = []
        self.most = 10_000
        broker.groups[name] = self

    def given(self, generation: int, places: frozenset[Place]) -> None:
        self.epoch, self.assigned = SimpleNamespace(generation=generation), places
        self.rebalances += 1
        self._positions = {}

    def join(self) -> None:
        pass

    def close(self) -> None:
        pass

    def read_from(self, begins: Mapping[Place, int], paused: Iterable[Place]) -> None:
        self._positions, self._paused = dict(begins), set(paused)

    def resume(self, places: Iterable[Place]) -> None:
        self._paused -= set(places)

    def poll(self, most: int, _: float) -> Polled:
        found: list[Record] = []
        is_lost = False
        for place, position in self._positions.items():
            if not self._broker.lows[place] <= position <= self._broker.nexts[place]:
                is_lost = True
            elif place not in self._paused:
                taken = self._broker.records(place, position)[: min(most, self.most) - len(found)]
                found += taken
                if taken:
                    self._positions[place] = taken[-1].offset + 1
        ends = {place: self._broker.nexts[place] for place in self._positions if place not in self._paused}
        return Polled(found, is_lost, ends if len(found) < min(most, self.most) else {})

    def bounds(self, place: Place) -> Bounds:
        self._answer()
        return Bounds(self._broker.lows[place], self._broker.nexts[place])

    fetched_bounds = bounds

    def offsets_at(self, places: Iterable[Place], time: float) -> dict[Place, int | None]:
        return {
            place: next((record.offset for record in self._broker.logs[place] if record.time >= time), None)
            for place in places
        }

    def counts(self) -> dict[str, int]:
        self._answer()
        return dict(self._broker.topics)

    def topic_ids(self) -> dict[str, str]:
        return dict(self._broker.ids)

    def connect(self) -> None:
        self._answer()

    def committed(self, places: Iterable[Place]) -> dict[Place, Committed]:
        self._answer()
        return {place: self._broker.committed[place] for place in places if place in self._broker.committed}

    def commit(self, offsets: Mapping[Place, tuple[int, Any]], epoch: Any) -> Outcome:
        def done() -> Outcome:
            if epoch.generation != self._broker.generation:
                return Outcome.REFUSED
            self._broker.committed.update({place: Committed(*told) for place, told in offsets.items()})
            return Outcome.TAKEN

        return self.faults.pop(0)(done) if self.faults else done()

    def _answer(self) -> None:
        if self._broker.is_down:
            raise KafkaUnavailableError("Kafka: the brokers are down")


class Reader:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._positions: dict[Place, int] = {}
        self._stopped: set[Place] = set()

    def read_from(self, begins: Mapping[Place, int]) -> None:
        self._positions, self._stopped = dict(begins), set()

    def only(self, places: Iterable[Place], others: Iterable[Place]) -> None:
        self._stopped = (self._stopped - set(places)) | set(others)

    def poll(self, most: int, _: float) -> tuple[Sequence[Record], dict[Place, int]]:
        found: list[Record] = []
        for place, position in self._positions.items():
            if place not in self._stopped:
                taken = self._broker.records(place, position)[:7]
                found += taken
                self._positions[place] = taken[-1].offset + 1 if taken else position
        return found, {place: self._broker.nexts[place] for place in self._positions}

    def close(self) -> None:
        pass


class Running:
    """A member in this process. `kill` leaves its state as kill -9 does; `restart` opens it again.

    `wall` is its clock; 0 is one that shows when the last record came.
    """

    def __init__(self, broker: Broker, folder: Path, settings: model.Exporter, models: Sequence[model.Model]) -> None:
        self._broker, self._folder, self._settings, self._models = broker, folder, settings, models
        self.group_name = folder.name
        self.wall = 0.0
        self.start()

    def start(self) -> None:
        kafka = self._settings.kafka
        assert kafka is not None
        self.store = MemberStore(self._folder, self._settings, self._models)
        self.group = Group(self._broker, self._folder.name)
        told = Settings(
            name=self._folder.name,
            kafka=kafka,
            exporter=self._settings,
            models=self._models,
            read=records.read_events,
        )
        ingest = Ingest(self.store, self._settings, self._models, None)
        self.member = Member(
            told,
            self.store,
            ingest,
            self.group,  # type: ignore[arg-type]
            lambda: Reader(self._broker),  # type: ignore[arg-type,return-value]
            lambda function: function(),
            wall=lambda: self.wall or self._broker.newest,
        )
        self.ingest = ingest

    def kill(self) -> None:
        self.store._join_snapshot()
        self.store.journal.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.member.step()

    def work(self) -> None:
        """Step until all that is there is counted."""
        for _ in range(500):
            self.step()
            offsets = self.store.state.offsets
            places = self.group.assigned
            if (
                self.store.pending is None
                and self.member.is_ready
                and all(offsets.get(place) == self._broker.nexts[place] for place in places)
            ):
                return
        raise AssertionError("it does not end")


__all__ = ["Broker", "FencedError", "Killed", "Running"]
