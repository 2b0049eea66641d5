"""The driver's counters: the exporter's own State, of which the parts that know ids and let events wait are elsewhere.

A bucket has found out which events count and what had waited for them. Here they are taken in the order of arrival, as
the exporter takes the frames of its journal, so caps, ages and everything that is counted are the exporter's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from exporters.events.recent_ids import RecentIds
from exporters.events.state import JournalEvent, State
from exporters.events.waiting import Entry, Names, Waiting, WaitingHalf, WaitingLabel, WaitingPrediction, received
from exporters.stream.bulk import Bulk
from exporters.stream.parcels import Finding, Findings
from midwatch.client.events import Label, Prediction
from midwatch.spec import model as spec

_decode_event = msgspec.msgpack.Decoder(JournalEvent).decode
_pack = msgspec.msgpack.Encoder().encode

Expired = tuple[float, str, bytes]
"""What waited too long: when it had arrived (seconds), its kind, and the entry."""

Read = tuple[JournalEvent, Finding]
"""An event, and what its bucket found of it."""


class Saved(msgspec.Struct):
    """Everything that the driver has to keep: the State's totals, and what belongs to them."""

    totals: bytes
    time: float
    results: list[tuple[str, str, str, int]]
    expired: list[Expired]
    late: int
    records: dict[str, int]
    watermark: float


_decode_saved = msgspec.msgpack.Decoder(Saved).decode


class Elsewhere(Waiting[Entry]):
    """Entries that wait in a bucket. Here is only what has ended its wait with the events that are being taken."""

    def __init__(self, kind: type[Any], counted: Callable[[Any], Any] | None = None) -> None:
        super().__init__(kind)
        self._counted = counted
        self.ended: deque[tuple[float, bytes]] = deque()
        self.names: list[Names] = []

    def restore(self, names: list[Names]) -> None:
        """Nothing: names are those that the events had."""

    def put(self, value: int, entry: Entry) -> None:
        """Nothing: it waits in its bucket."""

    def _unpack(self, record: bytes) -> Entry:
        entry: Any = super()._unpack(record)
        if self._counted is not None:
            entry = self._counted(entry)
        return entry  # type: ignore[no-any-return]

    def pop_expired(self, limit: float) -> Iterator[Entry]:
        """Entries that a bucket has given up, and that were received before `limit`, oldest first."""
        while self.ended and self.ended[0][0] < limit:
            yield self._unpack(self.ended.popleft()[1])


class KnownIds(RecentIds):
    """Ids that a bucket knows, of those that a half of an inference log brings."""

    def __init__(self) -> None:
        super().__init__([0.0])
        self.told: set[int] = set()

    def extend(self, values: Sequence[int], horizon: float, newest: float = 0.0) -> None:
        """Nothing: its bucket remembers it."""

    def known(self, values: Sequence[int]) -> set[int]:
        """Those of the hashes that were told."""
        return self.told.intersection(values)


class Fold(State):
    """Counters of a stream; `results` counts what was not accepted, by kind, result and reason."""

    def __init__(self, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        super().__init__(settings, models)
        self.recent_ids: KnownIds = KnownIds()
        self.predictions: Elsewhere[WaitingPrediction] = Elsewhere(WaitingPrediction, self.counters.as_counted)  # type: ignore[assignment]
        self.labels: Elsewhere[WaitingLabel] = Elsewhere(WaitingLabel)
        self.halves: Elsewhere[WaitingHalf] = Elsewhere(WaitingHalf)
        self.results: Counter[tuple[str, str, str]] = Counter()
        self.late = 0
        """Events that came when their time had been passed: a partition that is behind the others has them."""
        self.records: Counter[str] = Counter()
        """Records that were read, by source."""
        self.watermark = 0.0
        """Seconds up to which everything was read of every partition that had anything in the last batch."""
        self._is_full = False
        self._bulk = Bulk(self, settings)

    @property
    def _elsewhere(self) -> dict[str, Elsewhere[Any]]:
        return {"prediction": self.predictions, "label": self.labels, "half": self.halves}

    # A batch -----------------------------------------------------------------------------------------------------

    def take(self, batch: Sequence[Findings]) -> None:
        """Take what the buckets found in a batch."""
        for findings in batch:
            for kind, result, reason, count in findings.refused:
                self.results[kind, result, reason] += count
        self._expect(
            (received(record), kind, record)
            for findings in batch
            for kind, records in findings.expired.items()
            for record in records
        )
        passed, self.watermark = self.watermark, max(self.watermark, self._read(batch))
        found = sorted((finding for findings in batch for finding in findings.found), key=attrgetter("place"))
        for second, run in groupby(found, key=lambda finding: finding.place[0] // 1000):
            events = list(run)
            self.late += len(events) if second < passed else 0
            self._take_second(float(second), events)
        self.advance(self.watermark)

    def _expect(self, expired: Iterable[Expired]) -> None:
        """Let entries end their wait when their time has come; they are told once a bucket has passed it."""
        for arrived, kind, record in sorted(expired, key=lambda one: one[0]):
            self._elsewhere[kind].ended.append((arrived, record))

    def _read(self, batch: Sequence[Findings]) -> float:
        """Note how far each partition was read; how far all of those were that had anything (seconds)."""
        read: dict[tuple[str, int], int] = {}
        for findings in batch:
            for source, partition, until, records in findings.read:
                read[source, partition] = max(read.get((source, partition), 0), until)
                self.records[source] += records
        return float(min(read.values(), default=0) // 1000)

    def _take_second(self, second: float, run: Sequence[Finding]) -> None:
        for is_alone, part in groupby(run, key=_is_alone):
            together = [(_decode_event(finding.event), finding) for finding in part]
            if is_alone:
                for one in together:
                    self._take_group(second, [one])
            else:
                self._take_together(second, together)

    def _take_together(self, second: float, run: Sequence[Read]) -> None:
        """Take events in their order: ordinary ones are noted, and counted before the next one that is not."""
        self.apply(second, [])
        for is_candidate, part in groupby(run, key=lambda read: self._bulk.is_candidate(read[0])):
            if not is_candidate:
                self._bulk.count(second)
                self._take_group(second, list(part))
                continue
            for event, finding in part:
                if not self._bulk.note(event, finding.partner):  # type: ignore[arg-type]
                    self._bulk.count(second)
                    self._take_group(second, [(event, finding)])
        self._bulk.count(second)

    def _take_group(self, second: float, group: Sequence[Read]) -> None:
        """Take events as a group of the exporter's journal, with what had waited for them."""
        for event, finding in group:
            if finding.partner is not None:
                self._partners(event).packed[finding.value] = finding.partner
            self.labels.packed.update(finding.early)
        _, first = group[0]
        self.recent_ids.told = set(first.known)
        self._is_full = not first.has_room
        self.apply(second, [event for event, _ in group], keys=[(0, finding.value) for _, finding in group])

    def _partners(self, event: JournalEvent) -> Elsewhere[Any]:
        if type(event) is Prediction:
            return self.labels
        return self.predictions if type(event) is Label else self.halves

    def _has_room(self, value: int) -> bool:  # noqa: ARG002 - the bucket knows, and has told
        return not self._is_full

    def _expire(self, time: float) -> None:
        """Nothing is settled at a time that some partition has not reached: what it still has counts with the rest."""
        super()._expire(min(time, self.watermark))

    def advance(self, time: float) -> None:
        """Let what is old enough be settled and given up at a time, though nothing came."""
        self.watermark = max(self.watermark, time)
        self.apply(self.watermark, [])

    # What is kept ------------------------------------------------------------------------------------------------

    def saved(self) -> bytes:
        """Everything to keep, packed."""
        expired = [
            (arrived, kind, record) for kind, entries in self._elsewhere.items() for arrived, record in entries.ended
        ]
        return _pack(
            Saved(
                totals=self.totals(),
                time=self.time,
                results=[(*names, count) for names, count in self.results.items()],
                expired=expired,
                late=self.late,
                records=self.records,
                watermark=self.watermark,
            )
        )

    def restore(self, packed: bytes) -> None:
        """Go on where `saved` stood."""
        saved = _decode_saved(packed)
        self.restore_totals(saved.totals)
        self._bulk = Bulk(self, self._settings)
        self.time, self.late, self.watermark = saved.time, saved.late, saved.watermark
        self.results = Counter({(kind, result, reason): count for kind, result, reason, count in saved.results})
        self.records = Counter(saved.records)
        self._expect(saved.expired)


def _is_alone(finding: Finding) -> bool:
    """Whether what a bucket tells of an event holds for it and for none beside it."""
    return finding.is_half or not finding.has_room
