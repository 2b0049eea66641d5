"""Buckets in Spark's state store: whichever worker has one next, and whatever attempt failed, it is as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("pyspark")

from exporters.stream import kept
from exporters.stream.buckets import Bucket
from exporters.stream.kept import KeptBuckets
from exporters.stream.parcels import FINDINGS, Findings, Parcel
from tests.stream.test_same_answer import Pipeline, arrow, batches
from tests.stream.traffic import World, traffic, world

BUCKET = 3


class Value:
    """A state variable of one value, as Spark's."""

    def __init__(self) -> None:
        self.value: tuple | None = None

    def get(self) -> tuple | None:
        return self.value

    def update(self, value: tuple) -> None:
        self.value = value


class Values:
    """A state variable of a list."""

    def __init__(self) -> None:
        self.values: list[tuple] = []

    def get(self) -> Iterator[tuple]:
        return iter(self.values)

    def put(self, values: list[tuple]) -> None:
        self.values = values


class ByKey:
    """A state variable of a map; `cleared` says how often a snapshot took its place."""

    def __init__(self) -> None:
        self.values: dict[tuple, tuple] = {}
        self.cleared = 0

    def getValue(self, key: tuple) -> tuple:  # noqa: N802 - Spark's name
        return self.values[key]

    def updateValue(self, key: tuple, value: tuple) -> None:  # noqa: N802 - Spark's name
        self.values[key] = value

    def clear(self) -> None:
        self.values, self.cleared = {}, self.cleared + 1


class Store:
    """The state of one bucket; a failed attempt leaves it as it was."""

    def __init__(self) -> None:
        self.head, self.parts, self.changes = Value(), Values(), ByKey()

    def getValueState(self, name: str, schema: str) -> Value:  # noqa: N802 - Spark's names
        return self.head

    def getListState(self, name: str, schema: str) -> Values:  # noqa: N802 - Spark's names
        return self.parts

    def getMapState(self, name: str, keys: str, values: str) -> ByKey:  # noqa: N802 - Spark's names
        return self.changes


class Worker:
    """A Python worker with its own memory of buckets."""

    def __init__(self, given: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self._given, self._monkeypatch = given, monkeypatch
        self._remembered: dict[int, Any] = {}

    def take(self, store: Store, parcels: list[bytes]) -> Findings:
        self._monkeypatch.setattr(kept, "_remembered", self._remembered)
        processor = KeptBuckets(self._given.settings, self._given.models, 8)
        processor.init(store)
        rows = [{"parcel": bytearray(parcel)} for parcel in parcels]
        (row,) = processor.handleInputRows((BUCKET,), iter(rows), None)
        assert row.kind == FINDINGS
        return msgspec.msgpack.decode(row.found, type=Findings)


def parcels_of_bucket(given: World) -> list[list[bytes]]:
    """Parcels of one bucket, batch by batch."""
    pipeline = Pipeline(given, buckets=8)
    found = []
    for batch in batches(random.Random(4), traffic(seed=9, seconds=150), share=0.3):
        made = [row for part in pipeline.decoding(arrow(batch)) for row in part.to_pylist()]
        found.append([row["parcel"] for row in made if row["bucket"] == BUCKET])
    return found


def test_a_bucket_is_the_same_for_every_worker_and_after_attempts_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = world(tmp_path)
    monkeypatch.setattr(kept, "LEAST_SNAPSHOT", 4000)
    one, store = random.Random(1), Store()
    workers = [Worker(given, monkeypatch) for _ in range(3)]
    expected = Bucket(given.settings, given.models, 8)
    for parcels in parcels_of_bucket(given):
        told, _, _ = expected.take([msgspec.msgpack.decode(parcel, type=Parcel) for parcel in parcels])
        if one.random() < 0.3:  # its worker has the bucket of an attempt that Spark has not kept
            one.choice(workers).take(copy.deepcopy(store), parcels)
        if one.random() < 0.1:
            workers[one.randrange(3)] = Worker(given, monkeypatch)  # a worker that was killed
        found = one.choice(workers).take(store, parcels)
        assert found.held >= told.held, "a bucket that was built anew may remember ids for longer, never for less"
        assert msgspec.structs.replace(found, held=told.held) == told
    assert store.changes.cleared > 1, "snapshots have taken the place of changes"
    assert store.parts.values
