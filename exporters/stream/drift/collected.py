"""Rows of a bucket that count, by model and version, as columns: what Spark carries to who counts them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from exporters.drift.counted import Rows
from exporters.drift.rows import Numbers
from exporters.stream.drift.row_bytes import Row, Watched
from exporters.stream.parcels import Featured, Place

ROWS, SEEN = "drift", "drift-seen"
"""Kinds of what a bucket gives: columns of rows, and which versions it has rows of."""

Version = tuple[str, str]
"""Model and version."""


class Columns(msgspec.Struct, array_like=True):
    """Rows of one version in one bucket. Arrays are bytes of float64 (times, numbers), uint64 (keys) or int32.

    `numbers` is row by row; `wrong` has the bits of rows with a value that is no number, by the row's place; `texts`
    has of each categorical feature the distinct ones, and which of them each row has: -1 for none.
    """

    bucket: int
    model: str
    version: str
    times: bytes
    keys: bytes
    numbers: bytes
    wrong: dict[int, int]
    texts: list[tuple[list[str], bytes]]


class Seen(msgspec.Struct, array_like=True):
    """A version in a bucket: where its first row stands; where all of them do, when windows count rows."""

    bucket: int
    model: str
    version: str
    first: Place
    places: list[Place] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(Row).decode
decode_columns = msgspec.msgpack.Decoder(Columns).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode


class _OfVersion:
    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.first: Place | None = None
        self.places: list[Place] = []
        self.times, self.keys, self.numbers = array("d"), array("Q"), bytearray()
        self.wrong: dict[int, int] = {}
        self.known: list[dict[str | None, int]] = [{None: -1} for _ in watched.categorical]
        self.texts = [array("i") for _ in watched.categorical]

    def add(self, place: Place, ts: float, row: Row) -> None:
        if self.first is None or place < self.first:
            self.first = place
        if self.watched.is_by_count:
            self.places.append(place)
        if row.wrong:
            self.wrong[len(self.times)] = row.wrong
        self.times.append(ts)
        self.keys.append(row.key)
        self.numbers += row.numbers
        for known, texts, text in zip(self.known, self.texts, row.texts, strict=True):
            texts.append(known.setdefault(text, len(known) - 1))

    def found(self, bucket: int, model: str, version: str) -> Iterator[tuple[str, bytes]]:
        if self.first is None:
            return
        places = self.places if self.watched.is_by_count else None
        yield SEEN, _encode(Seen(bucket, model, version, self.first, places))
        texts = [
            ([text for text in known if text is not None], held.tobytes())
            for known, held in zip(self.known, self.texts, strict=True)
        ]
        columns = Columns(
            bucket, model, version, self.times.tobytes(), self.keys.tobytes(), bytes(self.numbers), self.wrong, texts
        )
        yield ROWS, _encode(columns)


@dataclass(frozen=True)
class Follower:
    """Puts the rows of a bucket together, in Spark's workers; by model what is watched of it."""

    watched: Mapping[str, Watched]

    def follow(self, bucket: int, featured: Iterable[Featured]) -> Iterator[tuple[str, bytes]]:
        """Which versions a bucket has rows of in a batch, and these, as kinds and bytes."""
        versions: dict[Version, _OfVersion] = {}
        for one in featured:
            key = one.model, one.version
            if key not in versions:
                versions[key] = _OfVersion(self.watched[one.model])
            versions[key].add(one.place, one.ts, _decode_row(one.row))
        for (model, version), rows in versions.items():
            yield from rows.found(bucket, model, version)


def rows_of(columns: Columns, watched: Watched, ranks: Any) -> Rows:
    """Rows as they are counted; `ranks` are by row, in the order of arrival."""
    times = np.frombuffer(columns.times, np.float64)
    numbers = np.frombuffer(columns.numbers, np.float64).reshape(len(times), len(watched.numeric))
    features: dict[str, Any] = {
        name: Numbers(numbers[:, place], _wrong(columns.wrong, place, len(times)))
        for place, name in enumerate(watched.numeric)
    }
    for name, (known, held) in zip(watched.categorical, columns.texts, strict=True):
        places = np.frombuffer(held, np.int32)
        indices = pa.array(places, mask=places < 0)
        features[name] = pa.DictionaryArray.from_arrays(indices, pa.array(known, pa.large_string()))
    return Rows(times=times, ranks=ranks, keys=np.frombuffer(columns.keys, np.uint64), features=features)


def _wrong(wrong: Mapping[int, int], place: int, rows: int) -> Any:
    """Which rows have no number of a feature; None where none has."""
    found = [row for row, bits in wrong.items() if bits >> place & 1]
    if not found:
        return None
    mask = np.zeros(rows, np.bool_)
    mask[found] = True
    return mask
