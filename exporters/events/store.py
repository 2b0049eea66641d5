"""Journal and state as one durable thing: open it, commit groups of events, snapshot it now and then."""

from __future__ import annotations

import json
import logging
import os
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exporters.events import garbage, identity, journal, private_files
from exporters.events.journal_time import Reading
from exporters.events.recent_ids import Generation
from exporters.events.state import JournalEvent, Key, State, rekeyed
from exporters.events.waiting import Waiting
from midwatch.spec import model as spec

SNAPSHOT_EVERY = 64 * 2**20
"""Journal bytes between snapshots, at the least, unless there are many events in them."""

SNAPSHOT_EVENTS = 250_000
"""Events between snapshots, at the most: replaying as many takes about 1.5 seconds."""

SNAPSHOT_SHARE = 4
"""A fourth of what waits comes before the next snapshot, if that is more: writing takes longer the more waits."""

UNREAD_LIMIT = 2**30
"""Journal bytes kept for the drift judge when it does not keep up."""

CHUNK = 20_000
CHUNK_BYTES = 8 * 2**20
"""Entries and bytes encoded at a time by the snapshot's thread, so that it does not hold the interpreter for long."""

MAGIC = b"midwatch-snapshot 2\n"
"""How a snapshot begins; earlier releases began one like a segment, and refuse this."""
_MAGIC_NAME = b"midwatch-snapshot "

_TOTALS, _PREDICTIONS, _LABELS, _HALVES, _IDS, _END, _FOLLOWED, _EARLIER_IDS = range(16, 24)
"""Kinds of a snapshot's frames. `_FOLLOWED` has the link of the segment that follows; the last has ids of which the
model is not known."""

OF_KAFKA = frozenset({journal.PREPARED, journal.TAKEN, journal.LEFT, journal.PARTITION})
"""Frames of a member of a Kafka group."""

_log = logging.getLogger(__name__)
_pack = msgspec.msgpack.Encoder().encode
_CHUNK = msgspec.msgpack.Decoder(tuple[bytes, list[bytes]])
_READING = msgspec.msgpack.Decoder(Reading)
_GENERATION = msgspec.msgpack.Decoder(Generation)
_EVENTS = msgspec.msgpack.Decoder(list[JournalEvent])
_EVENT: msgspec.msgpack.Decoder[JournalEvent] = msgspec.msgpack.Decoder(JournalEvent)
_PARTS = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Group(NamedTuple):
    """Events of a frame, and how many of it are no events that this release knows."""

    events: list[JournalEvent]
    unreadable: int = 0


def read_group(frame: journal.Frame) -> Group:
    """Events of a frame of the journal; one that cannot be read leaves the others readable."""
    if frame.kind not in (journal.EVENTS, journal.LOADED):
        return Group([])
    try:
        return Group(_EVENTS.decode(frame.body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_one_by_one(frame.body)


def _read_one_by_one(body: bytes) -> Group:
    try:
        parts = _PARTS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Group([], 1)
    events = []
    for part in parts:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            events.append(_EVENT.decode(part))
    return Group(events, len(parts) - len(events))


def decode_events(frame: journal.Frame) -> list[JournalEvent]:
    """Events of a frame of the journal that can be read."""
    return read_group(frame).events


class Store:
    """State that survives: what `commit` has returned from is on disk.

    Raises journal.JournalError when the directory cannot be used or its contents cannot be trusted.
    """

    def __init__(self, directory: Path, settings: spec.Exporter, models: Sequence[spec.Model] = ()) -> None:
        self.directory = directory
        self.journal = journal.Journal(directory)
        self.state = self._empty(settings, models)
        self._since_snapshot = self._events_since_snapshot = 0
        self._snapshot_size = 0
        self._snapshot: threading.Thread | None = None
        self._follows: journal.Link | None = None
        self.skipped_bytes = 0
        """Bytes of the journal that were deleted before the drift judge had read them, since the process began."""
        try:
            self.identity = identity.of_folder(directory)
            with garbage.without_collection():
                self._restore()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self.journal.close()
            raise journal.JournalError(f"{directory}: the state cannot be read: {error}") from error
        except journal.JournalError:
            self.journal.close()
            raise

    def _empty(self, settings: spec.Exporter, models: Sequence[spec.Model]) -> State:
        """The state before any frame."""
        return State(settings, models)

    # Starting ----------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        first = self._load_snapshot()
        damaged = 0
        for frame in self.journal.recover(first, self._follows):
            if frame.kind == journal.DAMAGE:
                damaged += frame.time == 0.0
                self.state.corruptions += 1
            else:
                self._take(frame)
            self._since_snapshot += len(frame.body)
        self.journal.start_segment()
        for _ in range(damaged):
            self.journal.append(journal.encode(journal.DAMAGE, 1.0, b""))

    def _take(self, frame: journal.Frame) -> None:
        """Take a frame of the journal into the state; JournalError for one that only another kind of store reads."""
        if frame.kind == journal.CLOCK:
            self._take_clock(frame.body)
        elif frame.kind in (journal.EVENTS, journal.LOADED):
            group = read_group(frame)
            self.state.apply(frame.time, group.events, loaded=frame.kind == journal.LOADED)
            self.state.count_unreadable(group.unreadable)
            self._events_since_snapshot += len(group.events)
        elif frame.kind in OF_KAFKA:
            raise journal.JournalError(f"{self.directory}: the state is a Kafka member's; serve it with --kafka")

    def _take_clock(self, body: bytes) -> None:
        try:
            self.state.clock = _READING.decode(body)
        except msgspec.MsgspecError:
            self.state.count_unreadable(1)

    def _load_snapshot(self) -> int:
        """Newest snapshot into the state; returns the first segment it does not contain, or 0 without one."""
        for leftover in self.directory.glob("snapshot-*.partial"):
            leftover.unlink()
        number = max(journal.snapshots(self.directory), default=0)
        if not number:
            return 0
        path = self._snapshot_path(number)
        ended = False
        magic = _magic(path)
        load = self._load_frame if magic == MAGIC else self._load_earlier_frame
        for frame in journal.read_file(path, magic=magic):
            ended = load(frame)
        if not ended:
            raise journal.JournalError(f"{path}: damaged; restore the state folder from a backup")
        self._snapshot_size = path.stat().st_size
        return number

    def _snapshot_path(self, number: int) -> Path:
        return self.directory / f"snapshot-{number:010d}.log"

    def _load_frame(self, frame: journal.Frame) -> bool:
        waiting = {kind: entries.packed for kind, entries in self._waiting()}
        if frame.kind == _FOLLOWED:
            self._follows = msgspec.msgpack.decode(frame.body, type=journal.Link)
        elif frame.kind == _TOTALS:
            self.state.restore_totals(frame.body)
        elif frame.kind in (_IDS, _EARLIER_IDS):
            ids = self.state.recent_ids if frame.kind == _IDS else self.state.earlier_ids
            ids.restore(_GENERATION.decode(frame.body), frame.time)
        elif frame.kind in waiting:
            keys, values = _CHUNK.decode(frame.body)
            waiting[frame.kind].update(zip(array("Q", keys), values, strict=True))
        elif frame.kind in OF_KAFKA:
            self._take(frame)
        self.state.time = max(self.state.time, frame.time)
        return frame.kind == _END

    def _load_earlier_frame(self, frame: journal.Frame) -> bool:
        """A frame of an earlier release's snapshot, in which hashes are those of ids without their models."""
        if frame.kind == _IDS:
            return self._load_frame(frame._replace(kind=_EARLIER_IDS))
        if frame.kind not in (_PREDICTIONS, _LABELS):
            return self._load_frame(frame)
        keys, values = _CHUNK.decode(frame.body)
        state = self.state
        for value, record in zip(array("Q", keys), values, strict=True):
            if frame.kind == _PREDICTIONS:
                state.predictions.packed[rekeyed(value, state.predictions.model_of(record))] = record
            else:
                state.labels.packed[rekeyed(value, state.labels.model_of(record))] = record
        return False

    def _waiting(self) -> tuple[tuple[int, Waiting[Any]], ...]:
        state = self.state
        return (_PREDICTIONS, state.predictions), (_LABELS, state.labels), (_HALVES, state.halves)

    # Running -----------------------------------------------------------------------------------------------------

    def encode(self, time: float, events: Sequence[JournalEvent], *, loaded: bool = False) -> bytes:
        """Bytes to append for a group that `State.admit` let through; OverflowError for a number beyond 64 bits."""
        return journal.encode(journal.LOADED if loaded else journal.EVENTS, time, _pack(events))

    def append(self, frame: bytes) -> None:
        """Make a group durable (blocks); OSError when it could not be, and then nothing of it is kept.

        Before it a snapshot is begun when enough has been written: nothing is applied meanwhile, and nobody waits.
        """
        self._snapshot_when_due()
        self.journal.append(frame)

    def set_clock(self, reading: Reading) -> None:
        """Keep what the clocks say, and take it into the state; OSError when it could not be kept."""
        self.journal.append(journal.encode(journal.CLOCK, reading.at, _pack(reading)))
        self.state.clock = reading

    def mend(self, time: float) -> None:
        """Write everything anew when the journal's file was taken away: the state has all that was acknowledged."""
        if not self.journal.is_gone:
            return
        _log.error("the journal's file was removed or changed: the state is written anew")
        self._join_snapshot()
        self.state.corruptions += 1
        try:
            self.snapshot(time)
        except OSError as error:
            self.state.corruptions -= 1
            _log.error("the state cannot be written anew: %s", error)

    def applied(
        self,
        time: float,
        events: Sequence[JournalEvent],
        frame_size: int,
        *,
        loaded: bool = False,
        keys: Sequence[Key] | None = None,
    ) -> None:
        """Take a durable group into the state."""
        self.state.apply(time, events, loaded=loaded, keys=keys)
        self._since_snapshot += frame_size
        self._events_since_snapshot += len(events)

    def _snapshot_when_due(self) -> None:
        is_long = self._since_snapshot > max(SNAPSHOT_EVERY, self._snapshot_size)
        most = max(SNAPSHOT_EVENTS, len(self.state.predictions) // SNAPSHOT_SHARE)
        if not (is_long or self._events_since_snapshot > most) or self.is_snapshotting:
            return
        try:
            self.snapshot(self.state.time)
        except OSError as error:
            _log.warning("no snapshot: %s", error)
            self._since_snapshot = self._events_since_snapshot = 0

    @property
    def is_snapshotting(self) -> bool:
        """Whether a snapshot is being written."""
        return self._snapshot is not None and self._snapshot.is_alive()

    def snapshot(self, time: float) -> None:
        """Begin a segment and write the state before it, in a thread; the journal it makes needless goes."""
        segment = self.journal.start_segment()
        link = self.journal.link
        parts = [(kind, list(entries.packed), list(entries.packed.values())) for kind, entries in self._waiting()]
        head = self.state.totals()
        generations = {
            _IDS: self.state.recent_ids.generations(),
            _EARLIER_IDS: [part for part in self.state.earlier_ids.generations() if part.packed],
        }
        more = self._more_of_snapshot(time)
        self._since_snapshot = self._events_since_snapshot = 0

        def write() -> None:
            path = self._snapshot_path(segment)
            try:
                self._write_snapshot(path, time, link, head, generations, parts, more)
                self._snapshot_size = path.stat().st_size
                for older in journal.snapshots(self.directory):
                    if older < segment:
                        self._snapshot_path(older).unlink(missing_ok=True)
                self.journal.drop_before(min(segment, self._unread_segment(segment)))
            except (OSError, journal.FrameSizeError) as error:
                path.with_suffix(".partial").unlink(missing_ok=True)
                _log.warning("no snapshot: %s", error)

        self._snapshot = threading.Thread(target=write, name="snapshot", daemon=True)
        self._snapshot.start()

    def _write_snapshot(
        self,
        path: Path,
        time: float,
        link: journal.Link,
        head: bytes,
        generations: dict[int, list[Generation]],
        parts: list[tuple[int, list[int], list[bytes]]],
        more: Iterable[bytes],
    ) -> None:
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with private_files.creating(partial) as file:
            file.write(MAGIC + journal.encode(_FOLLOWED, time, _pack(link)))
            file.write(journal.encode(_TOTALS, time, head))
            for kind, ids in generations.items():
                for generation in ids:
                    file.write(journal.encode(kind, time, _pack(generation)))
            for kind, keys, values in parts:
                for start, end in chunks(values):
                    packed = array("Q", keys[start:end]).tobytes()
                    file.write(journal.encode(kind, time, _pack((packed, values[start:end]))))
            file.writelines(more)
            file.write(journal.encode(_END, time, b""))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        private_files.sync_folder(self.directory)

    def _more_of_snapshot(self, time: float) -> Iterable[bytes]:  # noqa: ARG002 - a Kafka member's frames carry it
        """Further frames of a snapshot: what they are made of is copied now, and encoded by the snapshot's thread."""
        return ()

    def _unread_segment(self, newest: int) -> int:
        """First segment the drift judge still has to read; `newest` without one, or when it is too far behind."""
        position = read_position(self.directory / "drift" / "position.json")
        if position is None:
            return newest
        if backlog(self.directory, position) > UNREAD_LIMIT:
            unread = backlog(self.directory, position, newest)
            self.skipped_bytes += unread
            _log.error("the drift judge is too far behind: %d bytes of journal it has not read are deleted", unread)
            return newest
        return position.segment

    def close(self, time: float, *, snapshot: Callable[[], bool] = lambda: True) -> None:
        """Finish a running snapshot, write a last one, and give the directory up."""
        self._join_snapshot()
        if snapshot():
            try:
                self.snapshot(time)
            except OSError as error:
                _log.warning("no snapshot: %s", error)
            else:
                self._join_snapshot()
        self.journal.close()

    def _join_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.join()


def chunks(records: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """First and end of parts of at most `CHUNK` records, each of which ends with what makes it `CHUNK_BYTES` large."""
    start = size = 0
    for place, record in enumerate(records, 1):
        size += len(record)
        if size >= CHUNK_BYTES or place - start == CHUNK:
            yield start, place
            start, size = place, 0
    if start < len(records):
        yield start, len(records)


def _magic(path: Path) -> bytes:
    """How a snapshot of this release or an earlier one begins; JournalError for one of a later release."""
    with private_files.reading(path) as file:
        begin = file.readline(len(MAGIC) + 9)
    if begin.startswith(_MAGIC_NAME) and begin.endswith(b"\n") and begin != MAGIC:
        form, known = (text.decode(errors="replace").strip() for text in (begin, MAGIC))
        raise journal.JournalError(f"{path}: it is a {form}, of a later release, and this one reads {known}")
    return MAGIC if begin == MAGIC else journal.MAGIC


def form_of(directory: Path) -> str:
    """The form of a state, looked at without a change to it; JournalError when this release does not open it."""
    number = max(journal.snapshots(directory), default=0)
    path = directory / f"snapshot-{number:010d}.log"
    magic = _magic(path) if number else journal.MAGIC
    if number and not any(frame.kind == _END for frame in journal.read_file(path, magic=magic)):
        raise journal.JournalError(f"{path}: damaged; restore the state folder from a backup")
    for segment in journal.segments(directory):
        with private_files.reading(journal.segment_path(directory, segment)) as file:
            begin = file.read(len(journal.MAGIC))
        if begin and begin != journal.MAGIC:
            known = journal.MAGIC.decode().strip()
            raise journal.JournalError(f"{journal.segment_path(directory, segment)}: it is no {known}")
    _ensure_whole(directory, number)
    return magic.decode().strip()


def _ensure_whole(directory: Path, snapshot: int) -> None:
    """JournalError when segments after a snapshot are missing, unless a running exporter has written a newer one."""
    head = journal.read_head(directory)
    try:
        journal.chain(directory, snapshot, head)
    except (journal.JournalError, FileNotFoundError):
        if max(journal.snapshots(directory), default=0) == snapshot:
            raise


def read_position(path: Path) -> journal.Position | None:
    """Where a reader of the journal is, from its file; None when there is none."""
    try:
        document = json.loads(path.read_text())
        return journal.Position(int(document["segment"]), int(document["offset"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def backlog(directory: Path, position: journal.Position, before: int | None = None) -> int:
    """Journal bytes after a position, up to the segment `before`."""
    total = 0
    for number in journal.segments(directory):
        if number >= position.segment and (before is None or number < before):
            size = journal.segment_path(directory, number).stat().st_size
            total += size - (position.offset if number == position.segment else 0)
    return total
