"""Rows that an engine's workers count for the judge: by model and version, by pane, and packed for the way to it.

Workers keep nothing between two batches: a version's rule says what a row falls into, and what they counted adds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow

from exporters.drift.rows import PackedRows, Schema, Tally
from exporters.drift.windows import Part, Rule
from midwatch.client.events import Prediction
from monitors.drift import columns
from monitors.drift.counts import Floats, Integers
from monitors.drift.sample import Keys, Sample

CHUNK = 1 << 16
"""Rows that are counted together: columns of as many stay in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class Counting:
    """How a version's rows are counted: on which cells, whose `identity` this is, and in which panes."""

    schema: Schema
    identity: str
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one version as columns: their times, their ranks in the order of arrival, and features.

    Features are as `Schema.pack_columns` has them; `keys` the hashes of the rows' ids, where they are sampled.
    """

    times: Floats
    ranks: Integers
    keys: Keys
    features: Mapping[str, Any]

    def take(self, places: Integers) -> Rows:
        """Some of the rows; all of them in their order are the rows themselves."""
        if len(places) == len(self.times):
            return self
        return Rows(
            times=self.times[places],
            ranks=self.ranks[places],
            keys=self.keys[places],
            features={name: columns.taken(column, places) for name, column in self.features.items()},
        )


class Pane:
    """Rows of one pane as they are counted."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.rank, self.first, self.newest, self.samples = 0, 0.0, 0.0, 0
        self.tally = schema.tally()
        self.rows: Sample | None = None

    def add(self, times: Floats, ranks: Integers, packed: PackedRows) -> None:
        """Count packed rows of these times and ranks."""
        place = int(np.argmin(ranks))
        if not self.samples or ranks[place] < self.rank:
            self.rank, self.first = int(ranks[place]), float(times[place])
        self.newest = max(self.newest, float(times.max()))
        self.samples += packed.rows
        self.rows = self._schema.sampled(packed, self.rows)
        self._schema.count(packed, self.tally)

    def part(self, pane: float) -> Part:
        """What was counted."""
        return Part(
            pane=pane,
            rank=self.rank,
            first=self.first,
            newest=self.newest,
            samples=self.samples,
            tally=self.tally,
            rows=self.rows,
        )


class Counter:
    """Counts rows of one version."""

    def __init__(self, schema: Schema, rule: Rule) -> None:
        self._schema, self._rule = schema, rule
        self._panes: dict[float, Pane] = {}

    def take_events(self, events: Sequence[Prediction], ranks: Integers) -> None:
        """Count predictions."""
        times = np.array([event.ts for event in events], np.float64)
        for pane, places in self._by_pane(times, ranks):
            packed = self._schema.packed()
            self._schema.pack([events[place] for place in places.tolist()], packed)
            self._pane(pane).add(times[places], ranks[places], packed)

    def take_columns(self, rows: Rows) -> None:
        """Count rows as columns."""
        for pane, places in self._by_pane(rows.times, rows.ranks):
            for start in range(0, len(places), CHUNK):
                part = rows.take(places[start : start + CHUNK])
                packed = self._schema.packed()
                self._schema.pack_columns(part.features, len(part.times), part.keys, packed)
                self._pane(pane).add(part.times, part.ranks, packed)

    def _by_pane(self, times: Floats, ranks: Integers) -> Iterator[tuple[float, Integers]]:
        panes = self._rule.panes(times, ranks)
        for pane in np.unique(panes).tolist():
            yield pane, np.flatnonzero(panes == pane)

    def _pane(self, pane: float) -> Pane:
        return self._panes.setdefault(pane, Pane(self._schema))

    def parts(self) -> Iterator[Part]:
        """What was counted, by pane."""
        for pane, counted in self._panes.items():
            yield counted.part(pane)


# On the way ----------------------------------------------------------------------------------------------------------


class _Sent(msgspec.Struct, array_like=True):
    """A part with cells and rows as bytes."""

    pane: float
    rank: int
    first: float
    newest: float
    samples: int
    size: int
    cells: bytes
    missing: list[int]
    wrong: list[int]
    rows: tuple[bytes, bytes] | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Sent).decode


def sent(part: Part) -> bytes:
    """A part for the way to the judge: most cells are empty, so they are compressed."""
    cells = np.zeros(0, np.int64) if part.tally.cells is None else part.tally.cells.astype(np.int64)
    return _encode(
        _Sent(
            pane=part.pane,
            rank=part.rank,
            first=part.first,
            newest=part.newest,
            samples=part.samples,
            size=cells.nbytes,
            cells=pyarrow.compress(cells.tobytes(), codec="lz4_raw", asbytes=True) if cells.size else b"",
            missing=part.tally.missing,
            wrong=part.tally.wrong,
            rows=None if part.rows is None else (part.rows.keys.tobytes(), part.rows.rows.tobytes()),
        )
    )


def received(body: bytes) -> Part:
    """A part as it was sent."""
    found = _decode(body)
    tally = Tally(len(found.missing))
    tally.missing, tally.wrong = found.missing, found.wrong
    if found.size:
        plain = pyarrow.decompress(found.cells, found.size, codec="lz4_raw", asbytes=True)
        tally.cells = np.frombuffer(plain, np.int64)
    rows = None
    if found.rows is not None:
        keys = np.frombuffer(found.rows[0], np.uint64)
        rows = Sample(keys, np.frombuffer(found.rows[1], np.float32).reshape(len(keys), -1))
    return Part(
        pane=found.pane,
        rank=found.rank,
        first=found.first,
        newest=found.newest,
        samples=found.samples,
        tally=tally,
        rows=rows,
    )
