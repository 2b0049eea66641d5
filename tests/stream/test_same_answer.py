"""The stream counts what the exporter counts: of the same records, to the last unit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from exporters.stream.buckets import Bucket, Change, Part
from exporters.stream.decoding import Decoding
from exporters.stream.fold import Fold
from exporters.stream.parcels import Findings, Parcel
from exporters.stream.records import COLUMNS
from tests.stream.traffic import Record, World, counted_by_the_exporter, lines, traffic, world

BUCKETS = 5


class Pipeline:
    """The parts of the stream without Spark: each batch in tasks, one a partition, through buckets that are kept."""

    def __init__(self, given: World, buckets: int = BUCKETS) -> None:
        self.world = given
        self.decoding = Decoding(settings=given.settings, models=given.models, privacy=given.privacy, buckets=buckets)
        self.buckets = [self.empty() for _ in range(buckets)]
        self.fold = Fold(given.settings, given.models)

    def empty(self) -> Bucket:
        return Bucket(self.world.settings, self.world.models, self.decoding.buckets)

    def batch(self, records: Sequence[Record]) -> list[Findings]:
        parcels: dict[int, list[Parcel]] = {}
        partitions = sorted({(record.source, record.partition) for record in records})
        for names in partitions:
            rows = [record for record in records if (record.source, record.partition) == names]
            for made in self.decoding(arrow(rows)):
                for row in made.to_pylist():
                    parcels.setdefault(row["bucket"], []).append(msgspec.msgpack.decode(row["parcel"], type=Parcel))
        return [self.kept(number, mine) for number, mine in parcels.items()]

    def kept(self, number: int, parcels: list[Parcel]) -> Findings:
        """What a bucket finds; then it is built anew, from what was kept before and what changed since."""
        parts = [recoded(part, Part) for part in self.buckets[number].parts()]
        findings, _, change = self.buckets[number].take(parcels)
        self.buckets[number] = self.empty()
        for part in parts:
            self.buckets[number].restore(part)
        self.buckets[number].redo(recoded(change, Change))
        return recoded(findings, Findings)


def recoded(value, kind):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)


def arrow(rows: Sequence[Record]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), 50):
        columns = dict(zip(COLUMNS, zip(*rows[start : start + 50], strict=True), strict=True))
        yield pa.RecordBatch.from_pydict({name: list(column) for name, column in columns.items()})


def batches(one: random.Random, records: Sequence[Record], share: float = 0.2) -> Iterator[Sequence[Record]]:
    """Cuts at ends of seconds, as the times of all partitions are passed together."""
    start = 0
    for place in range(1, len(records)):
        is_end = records[place].arrived // 1000 != records[place - 1].arrived // 1000
        if is_end and one.random() < share:
            yield records[start:place]
            start = place
    yield records[start:]


SETTINGS = {
    "as it is": {},
    "a share of labels": {"sample": "40%"},
    "little room": {"caps": {"models": 3, "versions": 2, "classes": 2, "groups": 1, "series": 1000}},
    "short memory": {"remember": "50s", "label_retention": "40s"},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_the_stream_counts_what_the_exporter_counts(tmp_path: Path, changes: dict) -> None:
    given = world(tmp_path, **changes)
    records = traffic(seed=len(str(changes)))
    state, results = counted_by_the_exporter(given, records)
    stream = Pipeline(given)
    for batch in batches(random.Random(7), records):
        stream.fold.take(stream.batch(batch))
        again = Fold(given.settings, given.models)
        again.restore(stream.fold.saved())
        stream.fold = again
    assert lines(stream.fold) == lines(state)
    assert stream.fold.results == results
