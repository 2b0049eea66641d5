"""What waits for its other half: predictions for a label, labels for a prediction, halves of an inference log.

An entry is kept packed, which takes a third of the memory, under the hash of its id, in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Generic, TypeVar

import msgspec

from exporters.events import inference_log
from midwatch.client.events import Value

SWEEP = 20_000
"""Expired entries taken with one group at the most, so that no group waits long."""

_pack = msgspec.msgpack.Encoder().encode


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
        self._unpack: Callable[[bytes], Entry] = msgspec.msgpack.Decoder(kind).decode

    def __len__(self) -> int:
        return len(self.packed)

    def put(self, value: int, entry: Entry) -> None:
        """Let an entry wait under a hash."""
        self.packed[value] = _pack(entry)

    def get(self, value: int) -> Entry | None:
        """The entry of a hash, which goes on waiting."""
        record = self.packed.get(value)
        return None if record is None else self._unpack(record)

    def pop(self, value: int) -> Entry | None:
        """The entry of a hash, which waits no longer."""
        record = self.packed.pop(value, None)
        return None if record is None else self._unpack(record)

    def pop_expired(self, limit: float) -> Iterator[Entry]:
        """Up to `SWEEP` entries that were received before `limit`, oldest first; they wait no longer."""
        expired = []
        for value, record in islice(self.packed.items(), SWEEP):
            if _received(record) >= limit:
                break
            expired.append(value)
        for value in expired:
            yield self._unpack(self.packed.pop(value))

    def oldest(self) -> float | None:
        """When the entry that waits longest was received."""
        record = next(iter(self.packed.values()), None)
        return None if record is None else _received(record)


def _received(record: bytes) -> float:
    """First element of a packed record: a msgpack array marker, a float64 marker, then the number."""
    return msgspec.msgpack.decode(b"\x91" + record[1:10], type=tuple[float])[0]


def is_of(record: bytes, model: str) -> bool:
    """Whether a packed prediction is of a model: its third element, behind the marker and two float64."""
    return record.startswith(_packed_name(model), 19)


@lru_cache(maxsize=1000)
def _packed_name(name: str) -> bytes:
    return _pack(name)
