"""One member of a fleet at work: it is given partitions, reads what waits there back, and counts records exactly once.

Records go through four steps, one batch at a time: they become durable in the journal, the group moves its offsets
behind them, that they count is written down, and they are counted. A member that is killed after any of these finds out
at its next start what the group has (`claims`). The thread that does all that touches the state only through `on_loop`,
so that nothing changes while a scrape looks at it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from exporters.events import bounds, journal
from exporters.events.ingest import Ingest
from exporters.events.prepared import Moment, Prepared, Span
from exporters.events.state import JournalEvent, Key, State
from exporters.kafka import claims, offering, takeover
from exporters.kafka.client import Group, KafkaUnavailableError, Outcome, Reader
from exporters.kafka.member_store import MemberStore
from exporters.kafka.partitions import Place, partition_state
from exporters.kafka.rebuild import Rebuild
from exporters.kafka.records import Read, Record
from exporters.kafka.takeover import Bounds, Known, Log, Takeover
from midwatch.spec import model as spec

MOST_RECORDS = 10_000
"""Records of one batch."""

POLL_SECONDS = 0.2
"""How long a poll waits for records."""

PAUSE = 1.0
"""Seconds until brokers that do not answer, or a disk that takes nothing, are tried again."""

LOOK_SECONDS = 1.0
"""Seconds between two looks at what has waited long enough."""

IN_FLIGHT = 10.0
"""Seconds that a record may take from its timestamp to the log: a quiet partition's time runs so far behind."""

_log = logging.getLogger(__name__)


OnLoop = Callable[[Callable[[], Any]], Any]
"""Calls a function where nothing else looks at the state, and returns what it returns."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a member is told. `name` is its name in the group; `models` are those of the platform file."""

    name: str
    kafka: spec.Kafka
    exporter: spec.Exporter
    models: Sequence[spec.Model]
    read: Read


@dataclass(frozen=True, kw_only=True)
class Behind:
    """How far a place is behind: records that are not counted yet, and the age of the oldest (seconds)."""

    records: int
    seconds: float


class Member:
    """The member. `commits` counts what became of batches, `undecided` records of which nobody knows any more."""

    def __init__(
        self,
        settings: Settings,
        store: MemberStore,
        ingest: Ingest,
        group: Group,
        reader: Callable[[], Reader],
        on_loop: OnLoop,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._store, self._ingest = settings, store, ingest
        self._group, self._make_reader, self._on_loop, self._wall = group, reader, on_loop, wall
        self._identity = store.member
        self._claims: dict[Place, claims.Claim] = {}
        self._topics: dict[str, str] = {}
        self._epoch: Any = None
        self._is_connected = False
        self._rebuilds: list[Rebuild] = []
        self._reader: Reader | None = None
        self._looked_at = 0.0
        self._newest: dict[Place, float] = {}
        self._bounds: dict[Place, Bounds] = {}
        self._ends: dict[Place, int] = {}
        self._doubted: set[str] = set()
        self.stopping = threading.Event()
        self.commits: Counter[str] = Counter()
        self.records = 0
        self.undecided = 0
        self.topic_partitions = 0
        self.behind: dict[Place, Behind] = {}

    # Life --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stopping` is set; FencedError when another process has the member's name."""
        try:
            self._group.join()
            while not self.stopping.is_set():
                self._try_step()
        finally:
            if self._reader is not None:
                self._reader.close()
            self._group.close()

    def _try_step(self) -> None:
        try:
            self.step()
            self._ingest.failing = None
        except (KafkaUnavailableError, OSError) as error:
            if self._ingest.failing is None:
                _log.error("records cannot be counted: %s", error)
            self._ingest.failing = str(error)
            self._store.mend(self._ingest.now())
            self.stopping.wait(PAUSE)

    def step(self) -> None:
        """Do what is next: find out what became of a batch, take partitions over, count records, read some back.

        After any error partitions are taken over anew: what was read, and is not counted, is read again.
        """
        try:
            self._step()
        except BaseException:
            self._epoch = None
            raise

    def _step(self) -> None:
        if not self._is_connected or self._store.pending is not None:
            self._connect()
        is_lost = False
        if self._epoch is not None and self._epoch is self._group.epoch:
            polled = self._group.poll(MOST_RECORDS, POLL_SECONDS if not self._rebuilds else 0.0)
            is_lost = polled.is_lost or (bool(polled.records) and self._is_another_log())
            if self._epoch is self._group.epoch and not is_lost:
                self._count_all(polled.records)
                self._ends.update(polled.ends)
        else:
            self._group.poll(MOST_RECORDS, POLL_SECONDS)
        if self._group.epoch is None:
            self._epoch = None
        elif self._epoch is not self._group.epoch or is_lost:
            self._take_over()
        if self._epoch is not None and self._rebuilds:
            self._read_back()
        now = self._wall()
        if self._epoch is not None and abs(now - self._looked_at) >= LOOK_SECONDS:
            self._looked_at = now
            if self._is_another_log():
                self._epoch = None
            else:
                self._look(now)

    def _is_another_log(self) -> bool:
        """Whether a topic was made anew under its name since its partitions were taken over.

        An offset of the old one may be in the new one too, and then no fetch fails. What was read before this is asked
        is of the topics that are there now.
        """
        return self._group.topic_ids() != self._topics

    @property
    def is_ready(self) -> bool:
        """Whether every record of the member's partitions is counted as it comes."""
        return self._epoch is not None and not self._rebuilds and self._ingest.failing is None

    @property
    def partitions(self) -> int:
        """How many partitions are counted here: none while they may be another's."""
        return 0 if self._epoch is None else len(self._store.state.partitions)

    @property
    def reading_back(self) -> dict[int, int]:
        """Offsets that are still to be read back, by partition."""
        return {rebuild.takeover.partition: rebuild.remaining for rebuild in self._rebuilds}

    @property
    def rebalances(self) -> int:
        """How often partitions were given."""
        return self._group.rebalances

    # Commits that were not answered ------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Take over what this member may have left behind: its transaction, and records that may count or not."""
        self._group.connect()
        self._is_connected = True
        pending = self._store.pending
        if pending is None:
            return
        head, events = pending
        committed = self._group.committed({(span.topic, span.partition) for span in head.spans})
        is_taken = takeover.was_taken(self._identity, head.number, committed.values())
        if is_taken is None and events:
            self.undecided += len(events)
            _log.error("nobody knows whether %d events were counted: they are not", len(events))
        self._answer(is_taken=bool(is_taken))
        self._epoch = None  # positions are those behind records that may not have been taken

    def _answer(self, *, is_taken: bool) -> None:
        self._on_loop(self._store.answer(self._ingest.now(), is_taken=is_taken))

    # Partitions --------------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Begin with the partitions that the group has given."""
        epoch, assigned = self._group.epoch, self._group.assigned
        numbers = sorted({number for _, number in assigned})
        topics = self._settings.kafka.topics
        every = {(topic, number) for topic in topics for number in numbers}
        if assigned != every:
            raise KafkaUnavailableError(f"the partitions of {' and '.join(topics)} were given to different members")
        plans = self._plans(every)
        for number in set(self._store.state.partitions) - set(numbers):
            self._on_loop(self._store.give(number, self._ingest.now()))
        unknown = [one for one in plans if not one.is_known]
        self._group.read_from(
            {place: begin for one in plans for place, begin in one.begins.items()},
            [place for one in unknown for place in one.begins],
        )
        self._epoch = epoch
        self._rebuilds = []
        self._newest.clear()
        self._ends.clear()
        self._begin_rebuilds([one for one in unknown if one.counted])
        self._begin_anew([one for one in unknown if not one.counted])
        for one in plans:
            if one.is_known:
                self._skip(one)

    def _plans(self, places: set[Place]) -> list[Takeover]:
        counts = self._group.counts()
        if len(set(counts.values())) > 1:
            raise KafkaUnavailableError(
                f"the topics have different numbers of partitions ({counts}): a label would be read by another member "
                "than its prediction; give them equally many"
            )
        self.topic_partitions = min(counts.values())
        self._topics = self._group.topic_ids()
        committed = self._group.committed(places)
        self._claims = {place: found.claim for place, found in committed.items() if found.claim is not None}
        every = {(topic, number) for topic, count in counts.items() for number in range(count)}
        self._bounds = {place: self._group.bounds(place) for place in places}
        log = Log(
            committed=committed,
            bounds=self._bounds,
            topics={topic: self._topics[topic] for topic in self._settings.kafka.topics},
            is_begun=bool(committed) or bool(self._group.committed(every)),
        )
        state = self._store.state
        known = Known(
            member=self._identity, offsets=state.offsets, topics=state.topics, partitions=set(state.partitions)
        )
        from_latest = self._settings.kafka.start == "latest"
        numbers = sorted({number for _, number in places})
        return [takeover.plan(number, known, log, from_latest=from_latest) for number in numbers]

    def _empty(self) -> State:
        return partition_state(self._settings.exporter, self._settings.models)

    def _begin_anew(self, taken: Sequence[Takeover]) -> None:
        """Count partitions of which nobody has counted anything; where that began stands in the group from now on."""
        spans = [Span(*place, begin, begin) for one in taken for place, begin in one.begins.items()]
        if spans and not self._commit_prepared(spans, []):
            self._epoch = None
            return
        for one in taken:
            self._adopt(Rebuild(one, self._empty(), self._settings.read, self._ingest.check))

    def _adopt(self, rebuild: Rebuild) -> None:
        head = self._on_loop(rebuild.finish)
        head.topics = dict(self._topics)
        self._on_loop(self._store.adopt(head, rebuild.state, self._ingest.now()))
        self._skip(rebuild.takeover)
        self._group.resume(rebuild.takeover.begins)

    def _skip(self, taken: Takeover) -> None:
        """Say loudly which records will never be counted, as durably as those that are."""
        if not taken.spans:
            return
        for span in taken.spans:
            where = f"{span.topic}[{span.partition}]"
            _log.error("%s goes on at %d (%s): %d records are lost", where, span.end, span.reason, span.lost)
        self._commit(Moment(taken.partition, self._store.state.partitions[taken.partition].time, 0), taken.spans)

    # Reading back ------------------------------------------------------------------------------------------------

    def _begin_rebuilds(self, taken: Sequence[Takeover]) -> None:
        if not taken:
            return
        self._reader = self._reader or self._make_reader()
        for one in taken:
            rebuild = Rebuild(one, self._empty(), self._settings.read, self._ingest.check)
            found = self._group.offsets_at(one.counted, (one.claim.time if one.claim else 0.0) - self._horizon())
            lows = {place: self._group.bounds(place).low for place in one.counted}
            begins = {place: end if found[place] is None else found[place] for place, end in one.counted.items()}
            rebuild.begin({place: max(lows[place], begin or 0) for place, begin in begins.items()})
            if any(0 < lows[place] >= rebuild.begins[place] for place in lows):
                _log.warning("the topic keeps records for less long than they are read back: see docs/kafka.md")
            self._rebuilds.append(rebuild)
        self._reader.read_from({place: begin for one in self._rebuilds for place, begin in one.begins.items()})

    def _horizon(self) -> float:
        """Seconds that records are read back: labels and the predictions they may belong to, and ids of retries."""
        lateness = self._store.state.lateness
        remembered = max(lateness.horizon(name) for name in ("", *(model.name for model in self._settings.models)))
        return max(2 * self._settings.exporter.label_retention, remembered)

    def _read_back(self) -> None:
        if self._reader is None:
            return
        records, ends = self._reader.poll(MOST_RECORDS, POLL_SECONDS)
        for rebuild in list(self._rebuilds):
            own = [record for record in records if (record.topic, record.partition) in rebuild.ends]
            for place, end in ends.items():
                if place in rebuild.ends:
                    rebuild.skip_to(place, end)
            self._on_loop(partial(rebuild.add, own))
            full = [place for place in rebuild.ends if rebuild.is_full(place)]
            self._reader.only([place for place in rebuild.ends if place not in full], full)
            if not rebuild.remaining:
                self._rebuilds.remove(rebuild)
                self._adopt(rebuild)

    # Counting ----------------------------------------------------------------------------------------------------

    def _count_all(self, records: Sequence[Record]) -> None:
        for part in _parts(records):
            if not self._count(part):
                self._epoch = None  # what was read is not counted here: it is read again, by whoever has it
                return

    def _count(self, records: Sequence[Record]) -> bool:
        """Count some records exactly once, in as many frames as they need, which compressed ones do not tell before.

        False when that could not be done, or is not known yet.
        """
        try:
            return self._count_together(records)
        except journal.FrameSizeError:
            if len(records) == 1:
                raise
        half = len(records) // 2
        return self._count(records[:half]) and self._count(records[half:])

    def _count_together(self, records: Sequence[Record]) -> bool:
        places: dict[Place, list[Record]] = {}
        numbers: dict[int, list[Record]] = {}
        now = self._wall()
        for read in records:
            place = read.topic, read.partition
            if read.offset < self._store.state.offsets[place]:
                continue
            record = self._believed(read, now)
            places.setdefault(place, []).append(record)
            numbers.setdefault(record.partition, []).append(record)
        if not places:
            return True
        spans = [self._span(place, of_place) for place, of_place in places.items()]
        offers = [self._offer(number, of_number) for number, of_number in numbers.items()]
        moments = [moment for offered in offers for moment in offered.moments]
        events = [event for offered in offers for event in offered.events]
        keys = [key for offered in offers for key in offered.keys]
        is_taken = self._commit_prepared(spans, moments, events, keys)
        if is_taken:
            self._on_loop(lambda: self._add_results(offers))
            self.records += len(records)
            self._newest.update({place: of_place[-1].time for place, of_place in places.items()})
        return is_taken

    def _believed(self, record: Record, now: float) -> Record:
        """The record; one of a time that no clock can have had comes now, or it would end all that waits."""
        ahead = record.time - now
        if ahead <= self._settings.exporter.future:
            return record
        if record.topic not in self._doubted:
            self._doubted.add(record.topic)
            where = f"{record.topic}[{record.partition}] at {record.offset}"
            _log.warning("%s has a timestamp %.0f s in the future: it is not believed", where, ahead)
        return record._replace(time=now)

    def _add_results(self, offers: Sequence[offering.Offered]) -> None:
        for offered in offers:
            self._ingest.results.update(offered.results)

    def _span(self, place: Place, records: Sequence[Record]) -> Span:
        return Span(*place, self._store.state.offsets[place], records[-1].offset + 1)

    def _offer(self, number: int, records: list[Record]) -> offering.Offered:
        if len(self._settings.kafka.topics) > 1:
            records.sort(key=lambda record: record.time)
        state = self._store.state.partitions[number]
        offered: offering.Offered = self._on_loop(
            lambda: offering.offer(state, number, records, self._settings.read, self._ingest.check)
        )
        return offered

    def _commit(self, moment: Moment, spans: Sequence[Span]) -> bool:
        return self._commit_prepared(spans, [moment])

    def _commit_prepared(
        self,
        spans: Sequence[Span],
        moments: Sequence[Moment],
        events: Sequence[JournalEvent] = (),
        keys: Sequence[Key] = (),
    ) -> bool:
        begun = time.perf_counter()
        number = self._store.state.standing.number + 1
        head = Prepared(number, list(spans), list(moments))
        self._store.prepare(self._ingest.now(), head, events, keys)
        outcome = self._group.commit(self._offsets(head), self._epoch)
        self.commits[outcome.value] += 1
        if outcome is Outcome.UNKNOWN:
            return False
        self._answer(is_taken=outcome is Outcome.TAKEN)
        self._ingest.measure(time.perf_counter() - begun)
        if outcome is Outcome.TAKEN:
            self._claims.update({place: claim for place, (_, claim) in self._offsets(head).items()})
        return outcome is Outcome.TAKEN

    def _offsets(self, head: Prepared) -> dict[Place, tuple[int, claims.Claim]]:
        times = {moment.partition: moment.time for moment in head.moments}
        return {
            (span.topic, span.partition): (
                span.end,
                claims.following(
                    self._claims.get((span.topic, span.partition)),
                    self._identity,
                    head.number,
                    times.get(span.partition, 0.0),
                    self._topics[span.topic],
                ),
            )
            for span in head.spans
        }

    # Time --------------------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Measure how far behind each place is, and let what has waited long enough go where nothing comes."""
        self.behind = {place: self._behind(place, now) for place in sorted(self._store.state.offsets)}
        quiet = float(math.floor(now - IN_FLIGHT))
        for number, state in list(self._store.state.partitions.items()):
            places = [(topic, number) for topic in self._settings.kafka.topics]
            is_quiet = all(place in self.behind and not self.behind[place].records for place in places)
            if is_quiet and quiet > state.time and state.has_expired(quiet):
                offset = self._store.state.offsets[places[0]]
                if not self._commit(Moment(number, quiet, 0), [Span(*places[0], offset, offset)]):
                    self._epoch = None
                    return

    def _behind(self, place: Place, now: float) -> Behind:
        found = self._group.fetched_bounds(place) or self._bounds.get(place)
        counted = self._store.state.offsets[place]
        read = max(counted, self._ends.get(place, 0))  # what is behind the last record may be no record
        records = 0 if found is None else max(0, found.high - read)
        since = self._newest.get(place, self._store.state.partitions[place[1]].time)
        return Behind(records=records, seconds=max(0.0, now - since) if records and since else 0.0)


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """Records in parts that one frame of the journal takes."""
    parts: list[list[Record]] = []
    size = 0
    for record in records:
        size += len(record.value or b"")
        if not parts or size > bounds.MAX_GROUP_BYTES:
            parts.append([])
            size = len(record.value or b"")
        parts[-1].append(record)
    return parts
