"""Buckets in Spark's state store: a snapshot of each, and what every batch has changed since.

A worker keeps the buckets that it had last in memory. The state store says which version of a bucket holds, by a mark
that each attempt at a batch makes anew; a bucket in memory with another mark is brought up to it or built anew. So a
batch that is run again finds every bucket as it was, and a batch costs what it brings, however much waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from pyspark.sql import Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor

from exporters.events import garbage
from exporters.stream.buckets import Bucket, Change, Part
from exporters.stream.parcels import FINDINGS, Featured, Parcel
from midwatch.spec import model as spec

LEAST_SNAPSHOT = 2**20
"""Bytes of changes, at least, before a snapshot takes their place; after that, as many as the snapshot has."""

_pack = msgspec.msgpack.Encoder().encode
_decode_parcel = msgspec.msgpack.Decoder(Parcel).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_decode_part = msgspec.msgpack.Decoder(Part).decode


class Head(NamedTuple):
    """Which version of a bucket holds: its mark and number; bytes of the snapshot, its number, and bytes since."""

    mark: str
    number: int
    snapshot: int
    snapshot_bytes: int
    changed_bytes: int


class Remembered(NamedTuple):
    """A bucket in a worker's memory, and which version of it this is."""

    mark: str
    number: int
    bucket: Bucket


class Follower(Protocol):
    """Whoever else looks at the predictions that count, in the workers; Spark sends it there."""

    def follow(self, bucket: int, featured: Sequence[Featured]) -> Iterator[tuple[str, bytes]]:
        """What is told of a bucket's predictions, as kinds and bytes of rows for the driver."""


_remembered: dict[int, Remembered] = {}
"""Buckets that this process had last; marks tell those of several streams apart."""


class KeptBuckets(StatefulProcessor):
    """Spark's processor of a bucket's parcels."""

    def __init__(
        self, settings: spec.Exporter, models: Sequence[spec.Model], buckets: int, followers: Sequence[Follower] = ()
    ) -> None:
        self._settings, self._models, self._buckets = settings, models, buckets
        self._followers = followers

    def init(self, handle: Any) -> None:
        """Open the state."""
        self._head = handle.getValueState(
            "head", "mark string, number bigint, snapshot bigint, snapshot_bytes bigint, changed_bytes bigint"
        )
        self._changes = handle.getMapState("changes", "number bigint", "before string, change binary")
        self._parts = handle.getListState("parts", "part binary")

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803 - Spark's names
        """Take the parcels of a bucket: its findings, and what the followers tell."""
        number = int(key[0])
        with garbage.without_collection():
            parcels = [_decode_parcel(bytes(row["parcel"])) for row in rows]
            head, bucket = self._current(number)
            findings, featured, change = bucket.take(parcels)
        mark = uuid.uuid4().hex
        self._keep(head, mark, bucket, _pack(change))
        _remembered[number] = Remembered(mark, head.number + 1, bucket)
        yield Row(bucket=number, kind=FINDINGS, found=_pack(findings))
        for follower in self._followers:
            for kind, told in follower.follow(number, featured):
                yield Row(bucket=number, kind=kind, found=told)

    def close(self) -> None:
        """Nothing is held open."""

    def _current(self, number: int) -> tuple[Head, Bucket]:
        """A bucket as the state store has it."""
        found = self._head.get()
        remembered = _remembered.pop(number, None)
        if found is None:
            return Head("", 0, 0, 0, 0), self._empty()
        head = Head(*found)
        if remembered is not None and (bucket := self._brought_up(remembered, head)) is not None:
            return head, bucket
        return head, self._built(head)

    def _empty(self) -> Bucket:
        return Bucket(self._settings, self._models, self._buckets)

    def _brought_up(self, remembered: Remembered, head: Head) -> Bucket | None:
        """The bucket in memory with what another worker has changed since; None when it is no version of this one."""
        if remembered.mark == head.mark:
            return remembered.bucket
        if not head.snapshot <= remembered.number < head.number:
            return None
        before, first = self._changes.getValue((remembered.number + 1,))
        if before != remembered.mark:
            return None
        remembered.bucket.redo(_decode_change(bytes(first)))
        self._redo(remembered.bucket, remembered.number + 2, head)
        return remembered.bucket

    def _built(self, head: Head) -> Bucket:
        bucket = self._empty()
        for (part,) in self._parts.get():
            bucket.restore(_decode_part(bytes(part)))
        self._redo(bucket, head.snapshot + 1, head)
        return bucket

    def _redo(self, bucket: Bucket, first: int, head: Head) -> None:
        for number in range(first, head.number + 1):
            _, change = self._changes.getValue((number,))
            bucket.redo(_decode_change(bytes(change)))

    def _keep(self, head: Head, mark: str, bucket: Bucket, change: bytes) -> None:
        """Put the change of a batch into the state store, or a snapshot in the place of all changes."""
        number, changed = head.number + 1, head.changed_bytes + len(change)
        if changed <= max(LEAST_SNAPSHOT, head.snapshot_bytes):
            self._changes.updateValue((number,), (head.mark, change))
            self._head.update(tuple(head._replace(mark=mark, number=number, changed_bytes=changed)))
            return
        parts = [_pack(part) for part in bucket.parts()]
        self._parts.put([(part,) for part in parts])
        self._changes.clear()
        self._head.update(tuple(Head(mark, number, number, sum(map(len, parts)), 0)))
