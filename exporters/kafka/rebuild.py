"""Reading back what waits in a partition that another member counted: the same records, counted for nobody.

As far back as twice the time that a prediction waits for its label: a label of that time may belong to a prediction
that was as old. The counters of the state that reads them are thrown away; what waits is kept,
and which ids are known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from exporters.events.state import State
from exporters.kafka import offering
from exporters.kafka.partitions import Head, Place, head_of
from exporters.kafka.records import Read, Record
from exporters.kafka.takeover import Takeover

MAX_HELD = 20_000
"""Records of one topic that wait for those of the other, at the most; then it is read no further."""


class Rebuild:
    """One partition on its way back. `ends` has, by place, the offset before which its records were counted."""

    def __init__(self, takeover: Takeover, state: State, read: Read, check: offering.Check) -> None:
        self.takeover = takeover
        self.state = state
        self._read, self._check = read, check
        self.begins: dict[Place, int] = {}
        self._next: dict[Place, int] = {}
        self._held: dict[Place, deque[Record]] = {place: deque() for place in takeover.counted}

    @property
    def ends(self) -> Mapping[Place, int]:
        """Where reading back ends."""
        return self.takeover.counted

    def begin(self, begins: Mapping[Place, int]) -> None:
        """Begin at offsets, of which none is behind the end."""
        self.begins = {place: min(begins[place], end) for place, end in self.ends.items()}
        self._next = dict(self.begins)

    @property
    def remaining(self) -> int:
        """Offsets that are still to be read."""
        return sum(max(0, end - self._next[place]) for place, end in self.ends.items())

    def is_full(self, place: Place) -> bool:
        """Whether a place is to be read no further for now."""
        return len(self._held[place]) >= MAX_HELD or self._next[place] >= self.ends[place]

    def add(self, records: Sequence[Record]) -> None:
        """Take records in the order of each place."""
        for record in records:
            place = record.topic, record.partition
            if record.offset < self.ends[place]:
                self._held[place].append(self._believed(record))
            self._next[place] = record.offset + 1
        self._apply(self._in_order())

    def _believed(self, record: Record) -> Record:
        """The record; one that is later than all that was counted was not believed, and moved no clock."""
        claim = self.takeover.claim
        if claim is None or math.floor(record.time) <= claim.time:
            return record
        held = self._held[record.topic, record.partition]
        return record._replace(time=held[-1].time if held else self.state.time)

    def skip_to(self, place: Place, offset: int) -> None:
        """Say up to where a place has been read: the last offsets before the end may have no records."""
        self._next[place] = max(self._next[place], offset)

    def finish(self) -> Head:
        """The partition as it stands at the claim's time; its state has what waits."""
        self._apply([record for held in self._held.values() for record in held])
        claim = self.takeover.claim
        if claim is not None:
            self.state.apply(max(claim.time, self.state.time), [])
        topics = {place[0]: claim.topic for place in self.ends} if claim is not None else {}
        offsets = {place[0]: begin for place, begin in self.takeover.begins.items()}
        return head_of(self.takeover.partition, offsets, topics, self.state)

    def _in_order(self) -> list[Record]:
        """Records of which no earlier one can come, oldest first: two topics are read as they were written."""
        ready: list[Record] = []
        open_places = [place for place, held in self._held.items() if self._next[place] < self.ends[place]]
        while any(self._held.values()) and all(self._held[place] for place in open_places):
            oldest = min((held for held in self._held.values() if held), key=lambda held: held[0].time)
            ready.append(oldest.popleft())
        return ready

    def _apply(self, records: Sequence[Record]) -> None:
        begin = 0
        offered = offering.offer(self.state, self.takeover.partition, records, self._read, self._check)
        for moment in offered.moments:
            self.state.apply(moment.time, offered.events[begin : begin + moment.count])
            begin += moment.count
