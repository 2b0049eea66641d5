"""Records of Kafka that are durable and do not count yet: they do once the consumer group has agreed, or never.

A member of a group writes a frame `PREPARED`, asks the group to move its offsets behind the records, and writes what
came of it: `TAKEN` or `LEFT`. There is one at a time, and nothing is written between, so that who reads the journal
needs to look at two frames in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from exporters.events import journal
from exporters.events.state import JournalEvent


class Span(msgspec.Struct, array_like=True, frozen=True):
    """Offsets of a topic's partition from `begin` to before `end`; `lost` of them are there no more, by `reason`."""

    topic: str
    partition: int
    begin: int
    end: int
    lost: int = 0
    reason: str = ""


class Moment(msgspec.Struct, array_like=True, frozen=True):
    """How many of the events came to a partition at a time (seconds since the epoch, by its log)."""

    partition: int
    time: float
    count: int


class Prepared(msgspec.Struct, array_like=True, frozen=True):
    """What a frame covers; `moments` are in the order of its events, `number` is higher than that of any before."""

    number: int
    spans: list[Span]
    moments: list[Moment]


_BODY = msgspec.msgpack.Decoder(tuple[Prepared, msgspec.Raw])
_EVENTS = msgspec.msgpack.Decoder(list[JournalEvent])
_pack = msgspec.msgpack.Encoder().encode


def encode(time: float, head: Prepared, events: Sequence[JournalEvent]) -> bytes:
    """The frame; OverflowError for a number beyond 64 bits, FrameSizeError for more than a frame may have."""
    return journal.encode(journal.PREPARED, time, _pack((head, events)))


def decode(body: bytes) -> tuple[Prepared, list[JournalEvent]]:
    """What a frame covers, and its events; msgspec.MsgspecError when it is no such frame."""
    head, events = _BODY.decode(body)
    return head, _EVENTS.decode(events)


def settled(frames: Iterable[journal.Frame]) -> Iterator[journal.Frame]:
    """Frames as another reader takes them: prepared records as events once they are taken, and never those left.

    A frame that waits for its answer is given with the answer, and until then no place behind it.
    """
    waiting: journal.Frame | None = None
    for frame in frames:
        if frame.kind == journal.PREPARED:
            waiting = frame
        elif waiting is not None and frame.kind in (journal.TAKEN, journal.LEFT):
            if frame.kind == journal.TAKEN:
                yield journal.Frame(journal.EVENTS, waiting.time, bytes(_BODY.decode(waiting.body)[1]), frame.end)
            waiting = None
        elif waiting is None:
            yield frame
