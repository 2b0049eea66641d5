"""What waits for its other half: predictions for a label, labels for a prediction, halves of an inference log.

An entry is kept packed, which takes a third of the memory, under the hash of its id, in the order of arrival.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from exporters.events import inference_log
from midwatch.client.events import Value

SWEEP = 20_000
"""Expired entries taken with one group at the most, so that no group waits long."""

Names = tuple[str, str, str]
"""Model, version and class of a prediction."""

MAX_NAMES = 60_000
"""Sets of names that have a number of two bytes."""

_COMPACT = struct.Struct("<BdddH")
_IS_COMPACT = 0xC1
"""First byte of a compact record, which no msgpack document begins with."""

_encode = msgspec.msgpack.Encoder().encode


class WaitingPrediction(msgspec.Struct, array_like=True, gc=False):
    """What a prediction's label will need; `received` and `ts` are seconds since the epoch."""

    received: float
    ts: float
    model: str
    version: str
    predicted: Value
    score: float | None
    groups: dict[str, Value] | None


class WaitingLabel(msgspec.Struct, array_like=True, gc=False):
    """A label that came before its prediction."""

    received: float
    ts: float
    model: str
    label: Value


class WaitingHalf(msgspec.Struct, array_like=True):
    """A request or response of an inference log."""

    received: float
    half: inference_log.Half


Entry = TypeVar("Entry", WaitingPrediction, WaitingLabel, WaitingHalf)


class Waiting(Generic[Entry]):
    """Entries of one kind; `packed` holds them by hash, for a snapshot to read and to fill."""

    def __init__(self, kind: type[Entry]) -> None:
        self.packed: dict[int, bytes] = {}
        self._decode: Callable[[bytes], Entry] = msgspec.msgpack.Decoder(kind).decode

    def __len__(self) -> int:
        return len(self.packed)

    def _pack(self, entry: Entry) -> bytes:
        return _encode(entry)

    def _unpack(self, record: bytes) -> Entry:
        return self._decode(record)

    def model_of(self, record: bytes) -> str:
        """The model of a record, as it is counted."""
        model: str = self._unpack(record).model  # type: ignore[attr-defined]
        return model

    def put(self, value: int, entry: Entry) -> None:
        """Let an entry wait under a hash."""
        self.packed[value] = self._pack(entry)

    def pop(self, value: int) -> Entry | None:
        """The entry of a hash, which waits no longer."""
        record = self.packed.pop(value, None)
        return None if record is None else self._unpack(record)

    def expired(self, limit: float) -> list[int]:
        """Hashes of up to `SWEEP` entries that were received before `limit`, oldest first."""
        found = []
        for value, record in islice(self.packed.items(), SWEEP):
            if received(record) >= limit:
                break
            found.append(value)
        return found

    def pop_expired(self, limit: float) -> Iterator[Entry]:
        """Up to `SWEEP` entries that were received before `limit`, oldest first; they wait no longer."""
        for value in self.expired(limit):
            yield self._unpack(self.packed.pop(value))

    def oldest(self) -> float | None:
        """When the entry that waits longest was received."""
        record = next(iter(self.packed.values()), None)
        return None if record is None else received(record)


class WaitingPredictions(Waiting[WaitingPrediction]):
    """Predictions that wait: a million of them are most of the exporter's memory.

    One with a class and without groups, which is almost every one, is packed with a number for its model, version and
    class; `names` has them by number. The others, and those of an earlier release, are packed like any entry.
    """

    def __init__(self) -> None:
        super().__init__(WaitingPrediction)
        self.names: list[Names] = []
        self._numbers: dict[Names, int] = {}

    def restore(self, names: list[Names]) -> None:
        """Take the names of a snapshot back, before its entries."""
        self.names = names
        self._numbers = {name: number for number, name in enumerate(names)}

    def versions(self) -> set[tuple[str, str]]:
        """Models and versions of what waits."""
        compact = {_COMPACT.unpack(record)[4] for record in self.packed.values() if record[0] == _IS_COMPACT}
        entries = (self._decode(record) for record in self.packed.values() if record[0] != _IS_COMPACT)
        return {self.names[number][:2] for number in compact} | {(entry.model, entry.version) for entry in entries}

    def rename(self, names: Mapping[tuple[str, str], tuple[str, str]]) -> None:
        """Give entries of some models and versions other ones."""
        for value, record in list(self.packed.items()):
            entry = self._unpack(record)
            if (entry.model, entry.version) in names:
                model, version = names[entry.model, entry.version]
                self.put(value, msgspec.structs.replace(entry, model=model, version=version))

    def _pack(self, entry: WaitingPrediction) -> bytes:
        if entry.groups or type(entry.predicted) is not str:
            return _encode(entry)
        names = (entry.model, entry.version, entry.predicted)
        number = self._numbers.get(names)
        if number is None:
            if len(self.names) >= MAX_NAMES:
                return _encode(entry)
            number = self._numbers[names] = len(self.names)
            self.names.append(names)
        score = math.nan if entry.score is None else entry.score
        return _COMPACT.pack(_IS_COMPACT, entry.received, entry.ts, score, number)

    def _unpack(self, record: bytes) -> WaitingPrediction:
        if record[0] != _IS_COMPACT:
            return self._decode(record)
        _, received, ts, score, number = _COMPACT.unpack(record)
        model, version, predicted = self.names[number]
        known_score = None if math.isnan(score) else score
        return WaitingPrediction(received, ts, model, version, predicted, known_score, None)

    def model_of(self, record: bytes) -> str:
        """The model of a record, as it is counted."""
        if record[0] != _IS_COMPACT:
            return self._decode(record).model
        number: int = _COMPACT.unpack(record)[4]
        return self.names[number][0]


def received(record: bytes) -> float:
    """When a record's entry was received: the number behind a marker, little-endian or as msgpack has it."""
    if record[0] == _IS_COMPACT:
        return float(_COMPACT.unpack(record)[1])
    return msgspec.msgpack.decode(b"\x91" + record[1:10], type=tuple[float])[0]
