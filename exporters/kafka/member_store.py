"""Journal and state of one member of a fleet: what is prepared, what was taken of it, and which partitions it has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from exporters.events import journal, prepared
from exporters.events.prepared import Prepared
from exporters.events.state import JournalEvent, Key, State
from exporters.events.store import Store
from exporters.kafka import partitions
from exporters.kafka.partitions import Head, PartitionedState
from midwatch.spec import model as spec

_log = logging.getLogger(__name__)


class MemberStore(Store):
    """A store whose `pending` records are durable, and of which it is not known yet whether they count.

    Raises journal.JournalError for the state of an exporter that was sent its events: it has no partitions.
    """

    state: PartitionedState

    def __init__(self, directory: Path, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        self.pending: tuple[Prepared, list[JournalEvent]] | None = None
        self._keys: Sequence[Key] | None = None
        super().__init__(directory, settings, models)
        self.state.forget_halves()

    @property
    def member(self) -> str:
        """Who has this state: no other has its name, also not one of the same pod that lost its volume."""
        return self.identity.instance[-12:]

    def _empty(self, settings: spec.Exporter, models: Sequence[spec.Model]) -> State:
        return PartitionedState(settings, models)

    # Starting ----------------------------------------------------------------------------------------------------

    def _take(self, frame: journal.Frame) -> None:
        if frame.kind == journal.PREPARED:
            self.pending = prepared.decode(frame.body)
        elif frame.kind in (journal.TAKEN, journal.LEFT):
            self._settle(is_taken=frame.kind == journal.TAKEN)
        elif frame.kind == journal.PARTITION:
            self.state.read_part(frame.body)
        elif frame.kind in (journal.EVENTS, journal.LOADED):
            why = "the state of an exporter that was sent its events; give a Kafka member its own --state"
            raise journal.JournalError(f"{self.directory}: {why}")
        else:
            super()._take(frame)

    def _settle(self, *, is_taken: bool) -> None:
        if self.pending is None:
            return
        head, events = self.pending
        keys, self._keys = self._keys, None
        self.pending = None
        if is_taken:
            self.state.take(head, events, keys)
            self._events_since_snapshot += len(events)
        else:
            self.state.leave(head)

    # Running -----------------------------------------------------------------------------------------------------

    def prepare(
        self, time: float, head: Prepared, events: Sequence[JournalEvent], keys: Sequence[Key] | None = None
    ) -> None:
        """Make records durable that do not count yet (blocks); OSError when they could not be made so."""
        frame = prepared.encode(time, head, events)
        self.append(frame)
        self._since_snapshot += len(frame)
        self.pending, self._keys = (head, list(events)), keys

    def answer(self, time: float, *, is_taken: bool) -> Callable[[], None]:
        """Write down whether the pending records count (blocks); what is returned takes them into the state.

        OSError when it could not be written: then it is still to be found out.
        """
        self.journal.append(journal.encode(journal.TAKEN if is_taken else journal.LEFT, time, b""))
        return lambda: self._settle(is_taken=is_taken)

    def adopt(self, head: Head, state: State, time: float) -> Callable[[], None]:
        """Keep what waits in a partition (blocks); what is returned has its records counted from here on."""
        return self._keep(list(self.state.parts(head.partition, head, state, time)))

    def give(self, partition: int, time: float) -> Callable[[], None]:
        """Keep that a partition belongs to somebody else (blocks); what is returned forgets it."""
        return self._keep([partitions.given(partition, time)])

    def _keep(self, frames: Sequence[bytes]) -> Callable[[], None]:
        for frame in frames:
            self.journal.append(frame)
            self._since_snapshot += len(frame)

        def take() -> None:
            for frame in frames:
                self.state.read_part(frame[journal.HEADER.size :])

        return take

    def mend(self, time: float) -> None:
        """Write everything anew when the journal's file was taken away."""
        super().mend(time)
        if self.pending is not None and not self.journal.is_gone:
            self.journal.append(prepared.encode(time, *self.pending))

    def close(self, time: float, *, snapshot: Callable[[], bool] = lambda: True) -> None:
        """Give the directory up; records that are pending stay in the journal, behind what a snapshot could have."""
        super().close(time, snapshot=lambda: self.pending is None and snapshot())

    def _more_of_snapshot(self, time: float) -> Iterable[bytes]:
        return self.state.snapshot_parts(time)
