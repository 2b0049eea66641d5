"""Records into parcels for the buckets of ids: read, checked and stripped by the exporter's own code.

It runs in Spark's Python workers, over Arrow batches, and keeps nothing from one task to the next.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from exporters.events import garbage, kserve, state
from exporters.events.bodies import Refused
from exporters.events.checks import Checks
from exporters.events.counters import Counters
from exporters.events.inference_log import Half
from exporters.events.privacy import Privacy
from exporters.events.waiting import WaitingHalf, WaitingLabel
from exporters.stream import reading
from exporters.stream.drift import row_bytes
from exporters.stream.parcels import Arrived, Parcel
from exporters.stream.waits import Fitness, WaitingPredictions
from midwatch.client.events import Event, Label, Prediction
from midwatch.spec import model as spec

PARCELS = pa.schema([("bucket", pa.int32()), ("parcel", pa.binary())])

_ROWS = re.compile(r"(/\d+)+$")
"""What an inference log adds to the id of a request for each of its rows: all of them have one bucket."""

_pack = msgspec.msgpack.Encoder().encode
_digest = xxhash.xxh3_64_intdigest


def bucket_of(identifier: str, buckets: int) -> int:
    """Bucket of an id: the same for an inference, for each of its rows and for their labels.

    >>> len({bucket_of(name, 64) for name in ("r-1", "r-1/0", "r-1/12", "r-1/0/3")})
    1
    """
    base = _ROWS.sub("", identifier) if "/" in identifier else identifier
    return _digest(b"\0bucket\0" + base.encode()) % buckets


class _Record(NamedTuple):
    """A record of a partition: columns of `records` that differ from one to the next."""

    offset: int
    arrived: int
    value: bytes
    headers: reading.Headers | None


_OF_PARTITION = ("source", "partition", "is_loaded")
"""Columns of `records` that do not."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What a worker needs to decode; Spark sends it there."""

    settings: spec.Exporter
    models: Sequence[spec.Model]
    privacy: Privacy | None
    buckets: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Parcels of the records of one task; a last one to each bucket says how far it has read."""
        decoder = Decoder(self)
        for batch in batches:
            with garbage.without_collection():
                for run in _runs(batch):
                    source, partition, is_loaded = (run.column(name)[0].as_py() for name in _OF_PARTITION)
                    decoder.read(source, partition, _records(run), is_loaded=is_loaded)
            yield _rows(decoder.parcels())
        yield _rows(decoder.last_parcels())


def _runs(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Parts of a batch whose rows are of one partition."""
    columns = [batch.column(name) for name in _OF_PARTITION]
    ends = sorted({end for column in columns for end in pc.run_end_encode(column).run_ends.to_pylist()})
    return (batch.slice(start, end - start) for start, end in pairwise([0, *ends]))


def _records(run: pa.RecordBatch) -> list[_Record]:
    nothing = [None] * run.num_rows
    columns = [run.column(name) for name in _Record._fields]
    told = [nothing if _is_empty(column) else column.to_pylist() for column in columns]
    return list(map(_Record._make, zip(*told, strict=True)))


def _is_empty(column: pa.Array) -> bool:
    """Whether a column has nothing, in any row: Kafka records have no headers, but for CloudEvents."""
    return column.null_count == len(column) or (pa.types.is_list(column.type) and not len(column.flatten()))


def _rows(parcels: Iterable[tuple[int, Parcel]]) -> pa.RecordBatch:
    made = [(bucket, _pack(parcel)) for bucket, parcel in parcels]
    numbers, packed = zip(*made, strict=True) if made else ((), ())
    return pa.record_batch([pa.array(numbers, pa.int32()), pa.array(packed, pa.binary())], schema=PARCELS)


@dataclass(kw_only=True)
class _Open:
    """What was read of a partition: records, their latest arrival, and the events since the last parcels by bucket."""

    records: int = 0
    until: int = 0
    by_bucket: dict[int, list[Arrived]] = field(default_factory=dict)


class Decoder:
    """Decodes the records of one task. A parcel's events are in the order of the records."""

    def __init__(self, decoding: Decoding) -> None:
        settings, models = decoding.settings, decoding.models
        self._buckets, self._limit = decoding.buckets, settings.max_body
        self._counters = Counters(settings.caps, models, settings.personal.hash)
        self._checks = Checks(settings, models, decoding.privacy, self._counters)
        self._models = kserve.Models.of(models)
        self._row_of = row_bytes.Packer(row_bytes.watched(models))
        self._fitness = Fitness(settings, models)
        self._waiting_predictions = WaitingPredictions(self._counters)
        self._partitions: dict[tuple[str, int, bool], _Open] = {}
        self._refused: Counter[tuple[str, str, str]] = Counter()

    def read(self, source: str, partition: int, rows: Sequence[_Record], *, is_loaded: bool) -> None:
        """Take consecutive records of a partition."""
        opened = self._partitions.setdefault((source, partition, is_loaded), _Open())
        opened.records += len(rows)
        opened.until = max(opened.until, max((row.arrived for row in rows), default=0))
        for second, run in groupby(rows, key=lambda row: row.arrived // 1000):
            places: list[tuple[int, int, int]] = []
            items: list[tuple[int, Event | Half]] = []
            for row in run:
                for number, event in self._events(row):
                    items.append((len(places), event))
                    places.append((row.arrived, row.offset, number))
            self._sort(opened, float(second), places, items, is_loaded=is_loaded)

    def _events(self, row: _Record) -> list[tuple[int, Event | Half]]:
        try:
            items, refused = reading.read(
                row.value or b"", row.headers, float(row.arrived // 1000), self._models, self._limit
            )
        except reading.UnreadableRecordError as error:
            self._refused[error.kind, "malformed", error.reason] += 1
            return []
        self._count("event", refused)
        return items

    def _count(self, kind: str, refused: Iterable[Refused]) -> None:
        for one in refused:
            self._refused[kind, "malformed", one.reason] += 1

    def _sort(
        self,
        opened: _Open,
        now: float,
        places: Sequence[tuple[int, int, int]],
        items: Sequence[tuple[int, Event | Half]],
        *,
        is_loaded: bool,
    ) -> None:
        checked = self._checks.check(items, now, loaded=is_loaded)
        for one in checked.refused:
            is_half = not isinstance(items[one.line][1], Prediction | Label)
            self._count("half" if is_half else "event", [one])
        events = [event for _, event in checked.good]
        for (place, event), key in zip(checked.good, state.make_keys(events), strict=True):
            arrived = self._arrived(now, places[place], event, key)
            bucket = bucket_of(event.id, self._buckets)
            if bucket in opened.by_bucket:
                opened.by_bucket[bucket].append(arrived)
            else:
                opened.by_bucket[bucket] = [arrived]

    def _arrived(self, now: float, place: tuple[int, int, int], event: Event | Half, key: state.Key) -> Arrived:
        unfit = self._fitness.unfit(event, key)
        features = None
        if type(event) is Prediction:
            kind, version = "prediction", event.version
            features = self._row_of(event)
            event.features = {}
            waits = self._waiting_prediction(now, event, key) if unfit is None else None
        elif type(event) is Label:
            kind, version = "label", ""
            waits = _pack(WaitingLabel(now, event.ts, event.model, event.label))  # type: ignore[arg-type]
        else:
            kind, version = "half", ""
            waits = _pack(WaitingHalf(now, event))  # type: ignore[arg-type]
        arrived, offset, row = place
        return Arrived(
            arrived,
            offset,
            row,
            *key,
            kind,
            event.model,
            version,
            event.ts,  # type: ignore[arg-type]
            event,  # type: ignore[arg-type]  # packed with the parcel
            waits,
            unfit,
            features,
        )

    def _waiting_prediction(self, now: float, event: Prediction, key: state.Key) -> bytes | None:
        waits = self._waiting_predictions.of(now, event)
        return None if waits is None or self._fitness.is_sampled_out(event.model, key) else _pack(waits)

    def parcels(self) -> Iterator[tuple[int, Parcel]]:
        """What was read since the last call, by bucket."""
        for (source, partition, is_loaded), opened in self._partitions.items():
            for bucket, events in opened.by_bucket.items():
                yield bucket, Parcel(source, partition, opened.until, is_loaded, events)
            opened.by_bucket = {}

    def last_parcels(self) -> Iterator[tuple[int, Parcel]]:
        """To every bucket, how far each partition was read; and to one of them, how much, and what was refused."""
        refused = [(*names, count) for names, count in self._refused.items()]
        for (source, partition, is_loaded), opened in self._partitions.items():
            last = Parcel(source, partition, opened.until, is_loaded, [], opened.records, refused)
            yield 0, last
            for bucket in range(1, self._buckets):
                yield bucket, msgspec.structs.replace(last, records=0, refused=[])
            refused = []
