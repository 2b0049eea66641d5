"""Drift on the stream says what it says in the exporter, whatever is cut into batches, run again or killed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from exporters.drift import references, state
from exporters.drift.judge import Judge
from exporters.stream.drift import collected, row_bytes
from exporters.stream.drift.judging import Judging
from exporters.stream.drift.kept import Changes
from exporters.stream.parcels import Featured
from midwatch.client.events import Prediction
from midwatch.errors import MidwatchError
from midwatch.spec import load
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, reference_file
from monitors.drift.spark import session as spark
from tests.conftest import need_program

START = 1_700_000_000.0
KINDS = {"x": Feature.NUMERIC, "n": Feature.NUMERIC, "colour": Feature.CATEGORICAL, "prediction": Feature.CATEGORICAL}
COLOURS = ("red", "green", "True", "7")
BUCKETS = 3


@pytest.fixture(scope="module")
def fitted() -> reference.Reference:
    draw = np.random.default_rng(1)
    columns = {
        "x": draw.normal(size=4000),
        "n": draw.integers(0, 5, 4000).astype(np.float64),
        "colour": draw.choice(COLOURS, 4000).tolist(),
        "prediction": draw.choice(["a", "b"], 4000).tolist(),
    }
    return fitting.fit(columns, KINDS, window_rows=200)


@pytest.fixture
def make_file(tmp_path: Path, make_document, fitted: reference.Reference):
    """A platform of a model whose windows end by time, and one whose windows end by a count and look at rows."""

    def made(**changes: Any) -> Path:
        reference_file.save(fitted, tmp_path / "r.npz")
        features = {name: kind.value for name, kind in KINDS.items()}
        drift = {"reference": "r.npz", "window": "10s", "min_samples": 50, "features": features}
        document = make_document()
        (one,) = document["models"]
        document["models"] = [
            one | {"drift": drift | {"version_references": "own-{version}.npz"}},
            one | {"name": "churn", "drift": drift | {"rows": 120, "panes": 2, "methods": ["ks", "psi", "mmd"]}},
            one | {"name": "unwatched"},
        ]
        document["exporter"] = {"caps": {"versions": 2}}
        file = tmp_path / "platform.yaml"
        file.write_text(yaml.safe_dump(document | changes))
        return file

    return made


def events_of(seed: int, count: int, start: float, shift: float) -> list[Prediction]:
    """Predictions in the order of their arrival: some late, some errors, some with values that are odd or missing."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        features = {"x": draw.gauss(shift, 1), "n": draw.randrange(5), "colour": draw.choice(COLOURS)}
        odd = {"x": draw.choice([None, "text", True, 3]), "n": None, "colour": draw.choice(["new", 7, True, 0.5, None])}
        name = draw.choice(sorted(features))
        if draw.random() < 0.01:
            features[name] = odd[name]
        elif draw.random() < 0.01:
            del features[name]
        is_error = draw.random() < 0.05
        one = Prediction(
            id=f"{seed}-{number}",
            model=draw.choice(["fraud", "churn", "unwatched"]),
            version=draw.choice(["v1", "v1", "v2", "v3", "v4"]),
            ts=start + number * 10 / count - draw.choice([0] * 9 + [25]),
            outcome="error" if is_error else "ok",
            prediction=None if is_error else draw.choice(["a", "b"]),
            features=features,
        )
        found.append(one)
    return found


def batches() -> list[tuple[list[Prediction], float]]:
    """What comes by batches, and until when everything has been read."""
    made = [events_of(seed, 600, START + 10 * seed, shift) for seed, shift in enumerate([0.0, 0.0, 1.0, 0.5])]
    return [(events, events[-1].ts) for events in made]


# Parts of Spark ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column that can be compared."""

    name: str

    def __eq__(self, other: object) -> Any:
        return self.name, other


@dataclass
class Frame:
    """What the judge asks of a frame of Spark, in two tasks."""

    rows: list[dict[str, Any]]
    asked: list[str] = field(default_factory=list)
    kind = Column("kind")

    def where(self, condition: tuple[str, str]) -> Frame:
        return Frame([row for row in self.rows if row[condition[0]] == condition[1]])

    def select(self, name: str) -> Frame:
        return Frame([{name: row[name]} for row in self.rows])

    def mapInArrow(self, function: Any, schema: str) -> Frame:  # noqa: N802 - Spark's name
        made: list[dict[str, Any]] = []
        for task in (self.rows[::2], self.rows[1::2]):
            batches = (pa.RecordBatch.from_pylist([row]) for row in task)
            for batch in function(batches):
                made += batch.to_pylist()
        return Frame(made)

    def collect(self) -> list[Any]:
        return [SimpleNamespace(**row) for row in self.rows]

    @property
    def sparkSession(self) -> Any:  # noqa: N802 - Spark's name
        return SimpleNamespace(sparkContext=SimpleNamespace(broadcast=lambda value: SimpleNamespace(value=value)))


class Sink:
    """Pieces in memory."""

    def __init__(self) -> None:
        self.pieces: dict[bytes, bytes] = {}
        self.is_full = False

    def read(self) -> Mapping[bytes, bytes]:
        return dict(self.pieces)

    def write(self, pieces: Changes) -> None:
        if self.is_full:
            raise MidwatchError("no space left")
        for name, piece in pieces.items():
            if piece is None:
                del self.pieces[name]
            else:
                self.pieces[name] = piece


def found(judging: Judging, events: Sequence[Prediction], first: int) -> list[dict[str, Any]]:
    """Rows that buckets give for a batch, whose first event is so many events after the beginning."""
    packer, follower = row_bytes.Packer(judging.watched), collected.Follower(judging.watched)
    buckets: list[list[Featured]] = [[] for _ in range(BUCKETS)]
    for number, event in enumerate(events):
        if (row := packer(event)) is not None:
            place = (first + number, "topic", 0, 0, 1)
            buckets[number % BUCKETS].append(Featured(place, event.model, event.version, event.ts, row))
    return [
        {"bucket": number, "kind": kind, "found": body}
        for number, featured in reversed(list(enumerate(buckets)))
        for kind, body in follower.follow(number, featured)
    ]


def exporters_judge(file: Path) -> Judge:
    platform, base = load.load_platform(file), file.parent
    own = base / "exporter"
    own.mkdir()
    models, of_version = references.Unwatched(platform, base).usable(), references.OfVersions(platform, base)
    return Judge(platform, base, own, models, state.Saved(), of_version)


def streams_judge(file: Path, sink: Sink) -> Judging:
    folder = file.parent / "stream"
    folder.mkdir(exist_ok=True)
    return Judging(load.load_platform(file), file.parent, folder, sink)


def said(judge: Judge) -> list[tuple[str, list[tuple[str, str]], float]]:
    return sorted((name, sorted(labels.items()), value) for name, labels, value in judge.board.samples())


def said_by(judging: Judging) -> list[tuple[str, list[tuple[str, str]], float]]:
    return sorted(
        (metric.name, sorted(labels.items()), value)
        for metric, labels, value in judging.samples()
        if not metric.name.startswith("midwatch_")
    )


def verdicts(judge: Judge) -> set[str]:
    return {labels["verdict"] for name, labels, _ in judge.board.samples() if name == "ml_drift_windows_total"}


def run(judging: Judging, sink: Sink, events: Sequence[Prediction], first: int, until: float) -> None:
    with judging.batch(Frame(found(judging, events, first))) as changes:
        sink.write(changes)
    judging.turn(until)


def test_verdicts_are_those_of_the_exporter(make_file, fitted: reference.Reference) -> None:
    file = make_file()
    reference_file.save(fitted, file.parent / "own-v2.npz")
    alone, sink = exporters_judge(file), Sink()
    judging, first = streams_judge(file, sink), 0
    for events, until in batches():
        alone.take(events)
        alone.close(until)
        for start in range(0, len(events), 250):
            part = events[start : start + 250]
            is_last = start + 250 >= len(events)
            run(judging, sink, part, first + start, until if is_last else -1.0)
        first += len(events)
        assert said_by(judging) == said(alone)
    assert verdicts(alone) >= {"drift", "stable"}
    assert {labels["version"] for name, labels, _ in alone.board.samples() if "version" in labels} >= {"v2", "other"}


def test_a_driver_that_is_killed_between_any_two_steps_goes_on_where_it_was(make_file) -> None:
    file = make_file()
    alone, sink = exporters_judge(file), Sink()
    first = 0
    for events, until in batches():
        alone.take(events)
        judging = streams_judge(file, sink)
        with judging.batch(Frame(found(judging, events, first))) as changes:
            sink.write(changes)
        judging = streams_judge(file, sink)
        assert alone.close(until) == judging.turn(until)
        judging = streams_judge(file, sink)
        first += len(events)
        assert said_by(judging) == said(alone)
    assert verdicts(alone) >= {"drift", "stable"}


def test_a_batch_whose_transaction_fails_has_changed_nothing(make_file) -> None:
    file = make_file()
    alone, sink = exporters_judge(file), Sink()
    judging, first = streams_judge(file, sink), 0
    for events, until in batches():
        alone.take(events)
        alone.close(until)
        before = dict(sink.pieces)
        with pytest.raises(MidwatchError, match="no space"):
            sink.is_full = True
            run(judging, sink, events, first, until)
        sink.is_full = False
        assert sink.pieces == before
        run(judging, sink, events, first, until)
        first += len(events)
        assert said_by(judging) == said(alone)


def test_verdicts_that_cannot_be_kept_are_not_said_and_the_judge_fails(make_file) -> None:
    sink, file = Sink(), make_file()
    judging = streams_judge(file, sink)
    events, until = batches()[0]
    with judging.batch(Frame(found(judging, events, 0))) as changes:
        sink.write(changes)
    sink.is_full = True
    judging.turn(until + 60)
    assert not [name for name, _, _ in said_by(judging) if name == "ml_drift_windows_total"]
    assert up(judging) == 0.0
    sink.is_full = False
    judging.turn(until + 120)
    judging = streams_judge(file, sink)
    assert [name for name, _, _ in said_by(judging) if name == "ml_drift_windows_total"]


def up(judging: Judging) -> float:
    return next(value for metric, _, value in judging.samples() if metric.name == "midwatch_drift_worker_up")


def test_only_open_panes_and_what_is_said_are_written_again(make_file) -> None:
    sink, file = Sink(), make_file()
    judging = streams_judge(file, sink)
    events, until = batches()[0]
    run(judging, sink, events[:500], 0, until - 30)
    with judging.batch(Frame([])) as changes:
        assert not changes
    late = [event for event in events[500:] if event.model == "fraud" and event.outcome == "ok"][:1]
    with judging.batch(Frame(found(judging, late, 500))) as changes:
        assert len(changes) == 1


def test_pieces_that_cannot_be_read_begin_anew_and_say_so(make_file, caplog) -> None:
    sink, file = Sink(), make_file()
    events, until = batches()[0]
    run(streams_judge(file, sink), sink, events, 0, until)
    del sink.pieces[next(name for name in sink.pieces if b"pane" in name)]
    judging = streams_judge(file, sink)
    assert "begin anew" in caplog.text
    run(judging, sink, events, 0, until)
    assert streams_judge(file, sink)._judge.saved().head.records == judging._judge.saved().head.records


def test_a_row_that_counts_nowhere_is_none(make_file) -> None:
    packer = row_bytes.Packer(row_bytes.watched(load.load_platform(make_file()).models))
    one = events_of(1, 1, START, 0.0)[0]
    assert packer(Prediction(id="a", model="unwatched", version="v1", ts=1.0)) is None
    assert packer(Prediction(id="a", model="fraud", version="v1", ts=1.0, outcome="error")) is None
    assert packer(Prediction(id="a", model="fraud", version="v1", ts=1.0, prediction="a", features=one.features))


# With Spark ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Spark on this machine."""
    need_program("java")
    pytest.importorskip("pyspark")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx512m")
    with spark.session() as made:
        yield made


def test_spark_counts_on_cells_that_change_from_batch_to_batch(make_file, fitted, session) -> None:
    file = make_file()
    alone, sink = exporters_judge(file), Sink()
    judging, first = streams_judge(file, sink), 0
    for number, (events, until) in enumerate(batches()[1:3]):
        if number == 1:
            reference_file.save(fitted, file.parent / "own-v2.npz")  # cells that no worker has had
        alone.take(events)
        alone.close(until)
        rows = [(row["bucket"], row["kind"], row["found"]) for row in found(judging, events, first)]
        with judging.batch(session.createDataFrame(rows, "bucket int, kind string, found binary")) as changes:
            sink.write(changes)
        judging.turn(until)
        first += len(events)
        assert said_by(judging) == said(alone)
    assert verdicts(alone) >= {"drift"}
