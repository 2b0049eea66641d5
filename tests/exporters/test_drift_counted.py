"""Rows that workers count apart are what the judge counts itself: to the last cell, sample and verdict."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import yaml

from exporters.drift import counted, references, state
from exporters.drift.counted import Counter, Rows
from exporters.drift.judge import Judge
from exporters.drift.rows import Numbers, Schema
from midwatch.client.events import Prediction
from midwatch.spec import load
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, reference_file, sample
from monitors.drift.counts import CategoryGrid

START = 1_700_000_000.0
KINDS = {"x": Feature.NUMERIC, "n": Feature.NUMERIC, "colour": Feature.CATEGORICAL, "score": Feature.NUMERIC}
COLOURS = ("red", "green", "True", "7", "new")


@pytest.fixture(scope="module")
def fitted() -> reference.Reference:
    draw = np.random.default_rng(1)
    columns = {
        "x": draw.normal(size=4000),
        "n": draw.integers(0, 5, 4000).astype(np.float64),
        "colour": draw.choice(COLOURS[:4], 4000).tolist(),
        "score": draw.uniform(size=4000),
    }
    return fitting.fit(columns, KINDS, window_rows=200)


def drift(**changes: object) -> dict[str, object]:
    features = {name: kind.value for name, kind in KINDS.items()}
    return {"reference": "r.npz", "window": "10s", "min_samples": 50, "features": features} | changes


@pytest.fixture
def make_file(tmp_path: Path, make_document, fitted: reference.Reference):
    def made(**changes: object) -> Path:
        reference_file.save(fitted, tmp_path / "r.npz")
        document = make_document()
        (one,) = document["models"]
        document["models"] = [
            one | {"drift": drift(**changes)},
            one | {"name": "churn", "drift": drift(window="20s", methods=["ks", "psi", "mmd"])},
        ]
        document["exporter"] = {"caps": {"versions": 2}}
        file = tmp_path / "platform.yaml"
        file.write_text(yaml.safe_dump(document))
        return file

    return made


def judge_of(file: Path, saved: state.Saved | None = None) -> Judge:
    platform, base = load.load_platform(file), file.parent
    return Judge(platform, base, base, references.Unwatched(platform, base).usable(), saved or state.Saved())


def events_of(seed: int, count: int, start: float, shift: float) -> list[Prediction]:
    """Events of two models and four versions, some late, with values of all kinds that JSON has."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        features = {"x": draw.gauss(shift, 1), "n": draw.randrange(5), "colour": draw.choice(COLOURS[:4])}
        odd = {"x": draw.choice([None, "text", True, 3]), "n": None, "colour": draw.choice(["new", 7, True, 0.5, None])}
        name = draw.choice(sorted(features))
        if draw.random() < 0.01:
            features[name] = odd[name]
        elif draw.random() < 0.01:
            del features[name]
        late = draw.choice([0] * 9 + [25])
        one = Prediction(
            id=f"{seed}-{number}",
            model=draw.choice(["fraud", "churn"]),
            version=draw.choice(["v1", "v1", "v2", "v3", "v4"]),
            ts=start + number * 10 / count - late,
            prediction="a",
            score=draw.random(),
            features=features,
        )
        found.append(one)
    return found


Batches = Sequence[tuple[list[Prediction], float]]


def batches() -> Batches:
    """What comes by batches, and when each has been read."""
    shifts = [0.0, 0.0, 1.0, 0.5]
    made = [events_of(seed, 500, START + 10 * seed, shift) for seed, shift in enumerate(shifts)]
    return [(events, events[-1].ts) for events in made]


def in_parts(judge: Judge, events: list[Prediction], workers: int, *, as_columns: bool) -> None:
    """Count a batch by workers that see every n-th row each."""
    admitted = judge.admit(dict.fromkeys((event.model, event.version) for event in events))
    by_key: dict[tuple[str, str], list[Prediction]] = {}
    for event in events:
        by_key.setdefault(admitted[event.model, event.version], []).append(event)
    for key, members in by_key.items():
        counting = judge.counting(key)
        parts = []
        for worker in reversed(range(workers)):
            mine, ranks = members[worker::workers], np.arange(len(members))[worker::workers]
            counter = Counter(counting.schema, counting.rule)
            if mine and as_columns:
                counter.take_columns(columns_of(mine, ranks, counting.schema))
            elif mine:
                counter.take_events(mine, ranks)
            parts += [counted.received(counted.sent(part)) for part in counter.parts()]
        judge.merge(key, parts)


def columns_of(events: list[Prediction], ranks: np.ndarray, schema: Schema) -> Rows:
    features: dict[str, object] = {}
    for name, kind in schema.kinds.items():
        values = [event.score if name == "score" else event.features.get(name) for event in events]
        if kind is Feature.CATEGORICAL:
            features[name] = pa.array([None if value is None else str(value) for value in values])
        else:
            good = [isinstance(value, float | int) for value in values]
            numbers = [value if ok else np.nan for value, ok in zip(values, good, strict=True)]
            wrong = [not ok and value is not None for value, ok in zip(values, good, strict=True)]
            features[name] = Numbers(np.array(numbers, np.float64), np.array(wrong))
    times = np.array([event.ts for event in events])
    keys = np.fromiter(sample.hashes([event.id for event in events]), np.uint64)
    return Rows(times=times, ranks=ranks, keys=keys, features=features)


def published(judge: Judge) -> list[tuple[str, dict[str, str], float]]:
    return sorted(judge.board.samples(), key=repr)


def panes(judge: Judge) -> Iterable[object]:
    """What is counted, whether rows are packed or in cells."""
    for model, version, stream in judge.saved().streams:
        schema = judge.counting((model, version)).schema
        for is_open, held in (
            (True, judge._streams[model, version]._open),
            (False, judge._streams[model, version]._closed),
        ):
            for pane in sorted(held, key=lambda pane: pane.start):
                tally, rows = schema.tally(), schema.sampled(pane.packed, pane.rows)
                tally.add(pane.tally)
                schema.count(pane.packed, tally)
                cells = tally.cells.tolist() if tally.cells is not None else []
                sampled = None if rows is None else (rows.keys.tolist(), rows.rows.tolist())
                where = (model, version, stream.after, is_open, pane.start, pane.samples, pane.newest)
                yield where, cells, tally.missing, tally.wrong, sampled


@pytest.mark.parametrize(
    ("changes", "as_columns"),
    [({}, False), ({"rows": 150, "panes": 3}, True), ({"panes": 5}, True)],
    ids=["events by time", "columns by count", "columns in sliding windows"],
)
def test_workers_and_the_judge_count_and_judge_alike(make_file, changes: dict[str, object], as_columns: bool) -> None:
    file = make_file(**changes)
    alone, with_workers = judge_of(file), judge_of(file)
    verdicts = set()
    for events, now in batches():
        alone.take(events)
        in_parts(with_workers, events, 3, as_columns=as_columns)
        assert list(panes(with_workers)) == list(panes(alone))
        assert alone.close(now) == with_workers.close(now)
        assert published(with_workers) == published(alone)
        verdicts |= {labels["verdict"] for name, labels, _ in alone.board.samples() if name == "ml_drift_windows_total"}
    assert verdicts >= {"drift", "stable"}
    assert {version for _, version, _ in alone.saved().streams} >= {"v1", "other"}


def test_a_judge_that_is_restored_goes_on_with_parts(make_file, tmp_path: Path) -> None:
    file = make_file()
    alone, with_workers = judge_of(file), judge_of(file)
    for events, now in batches():
        alone.take(events)
        in_parts(with_workers, events, 2, as_columns=True)
        state.write(tmp_path / "windows.log", with_workers.saved())
        with_workers = judge_of(file, state.read(tmp_path / "windows.log"))
        alone.close(now)
        with_workers.close(now)
    assert published(with_workers) == published(alone)


def test_a_part_is_as_it_was_sent(make_file) -> None:
    judge = judge_of(make_file())
    ((key, _),) = [*judge.admit([("fraud", "v1")]).items()]
    counting = judge.counting(key)
    counter = Counter(counting.schema, counting.rule)
    counter.take_events(
        [msgspec.structs.replace(event, model="fraud") for event in events_of(1, 50, START, 0)], np.arange(50)
    )
    for part in counter.parts():
        again = counted.received(counted.sent(part))
        assert (again.pane, again.rank, again.first, again.newest, again.samples) == (
            part.pane,
            part.rank,
            part.first,
            part.newest,
            part.samples,
        )
        assert again.tally.cells.tolist() == part.tally.cells.tolist()


@pytest.mark.parametrize(
    "values",
    [
        ["red", None, "7", "violet", "red"],
        pa.array(["red", None, "7", "violet", "red"]),
        pa.chunked_array([["red", None], ["7", "violet", "red"]], pa.large_string()),
        pa.array(["red", None, "7", "violet", "red"]).dictionary_encode(),
    ],
    ids=["a list", "an array", "chunks", "a dictionary"],
)
def test_categories_have_the_same_cells_however_they_are_held(values) -> None:
    assert CategoryGrid(categories=("7", "red")).places(values).tolist() == [1, -1, 0, 2, 1]


def test_flags_of_arrow_have_the_cells_of_their_words() -> None:
    assert CategoryGrid(categories=("False", "True")).places(pa.array([True, None, False])).tolist() == [1, -1, 0]
