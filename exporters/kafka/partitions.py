"""What a member of a fleet knows: one set of counters, and for each of its partitions what waits and its recent ids.

Counters add up over members, so what was counted stays where it was counted. What waits belongs to the partition: it
goes with it, and the next member reads it back from the log. Therefore what becomes of a partition's records depends on
nothing but the partition's log: the time of a record is the highest whole second of a record up to it, maturities are
not measured, and each partition has its own share of `max_waiting`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from exporters.events import journal
from exporters.events.prepared import Prepared
from exporters.events.recent_ids import Generation
from exporters.events.settling import Progress
from exporters.events.state import JournalEvent, Key, State
from exporters.events.store import chunks
from exporters.events.waiting import Names, Waiting
from midwatch.spec import model as spec

Place = tuple[str, int]
"""A topic and the number of a partition."""

_pack = msgspec.msgpack.Encoder().encode


class Head(msgspec.Struct, tag="head"):
    """Begin of a partition: whose records before `offsets` (by topic) are counted, at `time`."""

    partition: int
    offsets: dict[str, int]
    topics: dict[str, str]
    time: float
    names: list[Names] = []
    progress: dict[str, Progress] = {}


class Entries(msgspec.Struct, tag="entries"):
    """Some of what waits in a partition, packed, under packed hashes."""

    partition: int
    kind: str
    keys: bytes
    records: list[bytes]


class Ids(msgspec.Struct, tag="ids"):
    """Some of the ids that a partition knows."""

    partition: int
    generation: Generation


class End(msgspec.Struct, tag="end"):
    """A partition is whole: from here on its records are counted."""

    partition: int


class Given(msgspec.Struct, tag="given"):
    """A partition belongs to somebody else."""

    partition: int


class Standing(msgspec.Struct, tag="standing"):
    """What a snapshot keeps beside counters and partitions: the last number that was used, and what was lost."""

    number: int = 0
    lost: dict[str, int] = {}
    resets: dict[str, int] = {}


Part = Head | Entries | Ids | End | Given | Standing
_PART: msgspec.msgpack.Decoder[Part] = msgspec.msgpack.Decoder(Part)


def partition_state(settings: spec.Exporter, models: Sequence[spec.Model], part_of: State | None = None) -> State:
    """State of one partition; without another to add to it has counters of its own, which nobody looks at."""
    if settings.kafka is not None:
        settings = settings.model_copy(update={"max_waiting": settings.kafka.max_waiting})
    return State(settings, models, part_of=part_of, is_fixed=True)


class PartitionedState(State):
    """The fold of a member. `offsets` say up to where the records of each topic and partition are counted here."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        super().__init__(settings, models, is_fixed=True)
        self._all = settings, models
        self.partitions: dict[int, State] = {}
        self.offsets: dict[Place, int] = {}
        self.topics: dict[str, str] = {}
        self.standing = Standing()
        self._coming: dict[int, tuple[Head, State]] = {}

    # Records -----------------------------------------------------------------------------------------------------

    def take(self, head: Prepared, events: Sequence[JournalEvent], keys: Sequence[Key] | None = None) -> None:
        """Count prepared records, which the group has agreed to; `keys` are the events', where they have been made."""
        begin = 0
        for moment in head.moments:
            end = begin + moment.count
            state = self.partitions.get(moment.partition)
            if state is not None:  # it is always there: what is prepared is of a partition that is whole
                state.apply(moment.time, events[begin:end], keys=None if keys is None else keys[begin:end])
            begin = end
        for span in head.spans:
            self.offsets[span.topic, span.partition] = span.end
            if span.reason:
                lost, resets = self.standing.lost, self.standing.resets
                lost[span.reason] = lost.get(span.reason, 0) + span.lost
                resets[span.reason] = resets.get(span.reason, 0) + 1
        self.leave(head)

    def leave(self, head: Prepared) -> None:
        """Use up the number of records that are not to be counted here."""
        self.standing.number = max(self.standing.number, head.number)

    # Partitions --------------------------------------------------------------------------------------------------

    def read_part(self, body: bytes) -> None:
        """Take a part of a partition from the journal or a snapshot."""
        part = _PART.decode(body)
        match part:
            case Head():
                state = partition_state(*self._all, part_of=self)
                state.time = part.time
                state.predictions.restore(part.names)
                state.settling.progress = part.progress
                self._coming[part.partition] = part, state
            case Entries():
                waiting = _waiting(self._coming[part.partition][1])[part.kind]
                waiting.packed.update(zip(array("Q", part.keys), part.records, strict=True))
            case Ids():
                state = self._coming[part.partition][1]
                state.recent_ids.restore(part.generation, state.time)
            case End():
                self.adopt(*self._coming.pop(part.partition))
            case Given():
                self.give(part.partition)
            case Standing():
                self.standing = part

    def adopt(self, head: Head, state: State) -> None:
        """Count the records of a partition from now on, whose waiting ones a state has."""
        self.give(head.partition)
        self.partitions[head.partition] = state
        for topic, offset in head.offsets.items():
            self.offsets[topic, head.partition] = offset
        self.topics.update(head.topics)
        names = {name: self.counters.admit(*name) for name in state.predictions.versions() | state.settling.versions()}
        if any(name != known for name, known in names.items()):
            state.predictions.rename(names)
            state.settling.rename(names)
        self._gauge(state, 1)

    def give(self, partition: int) -> None:
        """Forget what waits in a partition: it waits elsewhere now."""
        state = self.partitions.pop(partition, None)
        for place in [place for place in self.offsets if place[1] == partition]:
            del self.offsets[place]
        if state is not None:
            self._gauge(state, -1)

    def _gauge(self, state: State, sign: int) -> None:
        """Add what waits in a partition to the numbers of what waits, or take it away."""
        predictions = Counter(map(state.predictions.model_of, state.predictions.packed.values()))
        labels = Counter(map(state.labels.model_of, state.labels.packed.values()))
        for name, count in predictions.items():
            self.counters.admit_model(name).waiting += sign * count
        for name, count in labels.items():
            self.counters.admit_model(name).labels_waiting += sign * count
        state.settling.add_waiting(sign)

    def parts(self, partition: int, head: Head, state: State, time: float) -> Iterator[bytes]:
        """Frames of a partition: what is in it is copied at once, and encoded as they are asked for."""
        copied = [
            (kind, list(waiting.packed), list(waiting.packed.values())) for kind, waiting in _waiting(state).items()
        ]
        begin = _frame(head, time)
        generations = [generation for generation in state.recent_ids.generations() if generation.packed]

        def frames() -> Iterator[bytes]:
            yield begin
            for kind, keys, records in copied:
                for start, end in chunks(records):
                    packed = array("Q", keys[start:end]).tobytes()
                    yield _frame(Entries(partition, kind, packed, records[start:end]), time)
            for generation in generations:
                yield _frame(Ids(partition, generation), time)
            yield _frame(End(partition), time)

        return frames()

    def forget_halves(self) -> None:
        """Forget partitions of which the journal has the begin alone: nothing of them was counted."""
        self._coming.clear()

    def snapshot_parts(self, time: float) -> Iterator[bytes]:
        """Frames of all that is not a counter."""
        each = [self.parts(number, self.head(number), state, time) for number, state in self.partitions.items()]
        return chain([_frame(self.standing, time)], *each)

    def head(self, partition: int) -> Head:
        """How far a partition is that is counted here."""
        offsets = {topic: offset for (topic, number), offset in self.offsets.items() if number == partition}
        topics = {topic: self.topics.get(topic, "") for topic in offsets}
        return head_of(partition, offsets, topics, self.partitions[partition])

    # What a scrape and a snapshot ask ----------------------------------------------------------------------------

    def restore_totals(self, packed: bytes) -> None:
        """Take the counters back; what waits is counted again with the partitions, which follow."""
        super().restore_totals(packed)
        for model in self.counters.models.values():
            model.waiting = model.labels_waiting = 0

    def oldest_waiting(self) -> float | None:
        """When the prediction that waits longest came."""
        oldest = (state.predictions.oldest() for state in self.partitions.values())
        return min((time for time in oldest if time is not None), default=None)

    def halves_waiting(self) -> int:
        """Halves of inference logs that wait for the other one."""
        return sum(len(state.halves) for state in self.partitions.values())


def head_of(partition: int, offsets: Mapping[str, int], topics: Mapping[str, str], state: State) -> Head:
    """Begin of a partition as a state has it."""
    return Head(
        partition, dict(offsets), dict(topics), state.time, list(state.predictions.names), state.settling.progress
    )


def _waiting(state: State) -> dict[str, Waiting[Any]]:
    """What waits in a partition, by kind."""
    return {"predictions": state.predictions, "labels": state.labels, "halves": state.halves}


def given(partition: int, time: float) -> bytes:
    """Frame that says that a partition belongs to somebody else."""
    return _frame(Given(partition), time)


def _frame(part: Part, time: float) -> bytes:
    return journal.encode(journal.PARTITION, time, _pack(part))
