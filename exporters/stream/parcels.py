"""What passes between Spark's workers and the driver: events on their way to a bucket, and what a bucket found of them.

Spark carries each as the bytes of a row, so an event costs Spark nothing. Both are MessagePack arrays.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

PARCEL_SCHEMA = "bucket int, parcel binary"
"""Columns of what goes to the buckets."""

FOUND_SCHEMA = "bucket int, kind string, found binary"
"""Columns of what the buckets give: `kind` says who reads it at the driver."""

FINDINGS = "findings"
"""Kind of a row whose bytes are `Findings`."""

Result = tuple[str, str]
"""What became of an event that is not counted, and the reason: label values of `midwatch_exporter_events_total`."""

Place = tuple[int, str, int, int, int]
"""Where an event stands among all of a batch: arrival, source, partition, offset, and its number in the record."""


class Arrived(msgspec.Struct, array_like=True, gc=False):
    """An event that was read, checked and stripped.

    `arrived` is milliseconds since the epoch, and `row` the event's number in its record. `identity` and `value` are
    its keys (`exporters.events.state.Key`). `event` is the event as MessagePack, without its features. `waits` is what
    the waiting ones of the exporter keep of it, packed; None when it never waits. `unfit` says why it is not counted,
    unless it is a retry. `features` is its row (`drift.row_bytes`), where drift of the model is judged; `ts` is the
    event's own time in seconds.
    """

    arrived: int
    offset: int
    row: int
    identity: int
    value: int
    kind: str
    model: str
    version: str
    ts: float
    event: msgspec.Raw
    waits: bytes | None
    unfit: Result | None
    features: bytes | None


class Parcel(msgspec.Struct, array_like=True):
    """Events of one bucket that one task read of one partition, in order.

    `until` is the latest arrival that the task has read, whichever bucket it is of. `records` is how many records it
    has read, and `refused` counts events that could not be taken, by kind, result and reason: one parcel tells them.
    """

    source: str
    partition: int
    until: int
    is_loaded: bool
    events: list[Arrived]
    records: int = 0
    refused: list[tuple[str, str, str, int]] = []


class Finding(msgspec.Struct, array_like=True, gc=False):
    """An event that counts, and what had waited for it.

    `partner` is what waited, as `Arrived.waits` of the other event. A half of an inference log (`is_half`) that
    completes it makes predictions: `known` are the identities of those that were counted before, and `early` the labels
    that waited for them. `has_room` is false when there was no room for it to wait.
    """

    place: Place
    value: int
    event: msgspec.Raw
    partner: bytes | None = None
    is_half: bool = False
    has_room: bool = True
    known: list[int] = []
    early: dict[int, bytes] = {}


class Featured(msgspec.Struct, array_like=True, gc=False):
    """A prediction that counts, where it stood, its time in seconds, and its row (`drift.row_bytes`)."""

    place: Place
    model: str
    version: str
    ts: float
    row: bytes


class Findings(msgspec.Struct, array_like=True):
    """What a bucket found in a batch, in the order of places.

    `expired` is what waited too long, by kind (prediction, label, half), as `Arrived.waits`. `refused` is as in a
    parcel. `read` has source and partition, the latest arrival that was read of it, and records. `waiting` and `held`
    are how much waits in the bucket and about how many bytes it takes; `oldest` is the arrival of what waits longest
    (seconds).
    """

    found: list[Finding]
    expired: dict[str, list[bytes]]
    refused: list[tuple[str, str, str, int]]
    read: list[tuple[str, int, int, int]]
    waiting: dict[str, int]
    held: int
    oldest: float | None


class _Read(msgspec.Struct, array_like=True):
    """The first parts of `Findings`, of which only how far was read is looked at."""

    found: msgspec.Raw
    expired: msgspec.Raw
    refused: msgspec.Raw
    read: list[tuple[str, int, int, int]]


_decode_read = msgspec.msgpack.Decoder(_Read).decode


def read_until(findings: Iterable[bytes]) -> float:
    """How far all partitions were read that a batch read anything of (seconds since the epoch); 0 without any.

    `findings` are the `Findings` of its buckets, packed.
    """
    until: dict[tuple[str, int], int] = {}
    for packed in findings:
        for source, partition, latest, _ in _decode_read(packed).read:
            until[source, partition] = max(until.get((source, partition), 0), latest)
    return float(min(until.values(), default=0) // 1000)
