"""Drift on the stream says what it says in the exporter, whatever is cut into batches, run again or killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from exporters.stream.drift import collected, row_bytes
from exporters.stream.drift.judging import Judging
from exporters.stream.drift.kept import Changes
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger
from exporters.stream.parcels import FINDINGS, Featured, Findings
from exporters.stream.query import Query
from midwatch.client.events import Prediction
from midwatch.errors import MidwatchError
from midwatch.spec import load
from monitors.drift import reference_file
from tests.stream import drifting
from tests.stream.drifting import START, batches, events_of, exporters_judge, said, said_by, streams_judge, verdicts

BUCKETS = 3


@pytest.fixture
def file(tmp_path: Path, make_document) -> Path:
    return drifting.write_platform(tmp_path, make_document())


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

    def persist(self) -> None:
        """It is held anyway."""

    def unpersist(self) -> None:
        """It is held anyway."""

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


def run(judging: Judging, sink: Sink, events: Sequence[Prediction], first: int, until: float) -> None:
    with judging.batch(Frame(found(judging, events, first))) as changes:
        sink.write(changes)
    judging.turn(until)


def test_verdicts_are_those_of_the_exporter(file: Path) -> None:
    reference_file.save(drifting.fitted(), file.parent / "own-v2.npz")
    alone, sink = exporters_judge(file), Sink()
    judging, first, before = streams_judge(file, sink), 0, 0.0
    for events, until in batches():
        for start in range(0, len(events), 250):
            part = events[start : start + 250]
            read_until = until if start + 250 >= len(events) else before
            alone.take(part)
            alone.close(read_until)
            run(judging, sink, part, first + start, read_until)
            assert said_by(judging) == said(alone)
        first, before = first + len(events), until
    assert verdicts(alone) >= {"drift", "stable"}
    assert {labels["version"] for name, labels, _ in alone.board.samples() if "version" in labels} >= {"v2", "other"}


def test_a_driver_that_is_killed_between_any_two_steps_goes_on_where_it_was(file: Path) -> None:
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


def test_a_batch_whose_transaction_fails_has_changed_nothing(file: Path) -> None:
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


def test_a_batch_that_spark_runs_again_changes_nothing(file: Path, tmp_path: Path) -> None:
    platform, alone, first = load.load_platform(file), exporters_judge(file), 0
    ledger = Ledger(tmp_path / "ledger.db")
    judging = Judging(platform, file.parent, tmp_path, ledger)

    def taken(frame: Frame, batch: int) -> None:
        folding = Folding(Fold(platform.exporter, platform.models), ledger)
        query = Query(ledger, folding, judging)
        query.begun(SimpleNamespace(id="one"))
        query.take(frame, batch)
        folding.stop()

    for batch, (events, until) in enumerate(batches()):
        alone.take(events)
        alone.close(float(int(until)))
        read = [("topic", 0, int(until) * 1000, len(events)), ("other", 0, int(until) * 1000 + 5000, 1)]
        findings = Findings(found=[], expired={}, refused=[], read=read, waiting={}, held=0, oldest=None)
        rows = [{"bucket": 0, "kind": FINDINGS, "found": msgspec.msgpack.encode(findings)}]
        frame = Frame(rows + found(judging, events, first))
        taken(frame, batch)
        pieces = ledger.read()
        taken(frame, batch)
        judging = Judging(platform, file.parent, tmp_path, ledger)
        taken(frame, batch)
        assert ledger.read() == pieces
        assert said_by(judging) == said(alone)
        first += len(events)
    assert verdicts(alone) >= {"drift", "stable"}


def test_verdicts_that_cannot_be_kept_are_not_said_and_the_judge_fails(file: Path) -> None:
    sink = Sink()
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


def test_a_scrape_waits_for_no_batch(file: Path) -> None:
    sink = Sink()
    judging = streams_judge(file, sink)
    events, until = batches()[0]
    run(judging, sink, events[:300], 0, until)
    before = said_by(judging)
    with ThreadPoolExecutor(1) as pool, judging.batch(Frame(found(judging, events[300:], 300))):
        assert pool.submit(said_by, judging).result(timeout=60) == before


def up(judging: Judging) -> float:
    return next(value for metric, _, value in judging.samples() if metric.name == "midwatch_drift_worker_up")


def test_only_open_panes_and_what_is_said_are_written_again(file: Path) -> None:
    sink = Sink()
    judging = streams_judge(file, sink)
    events, until = batches()[0]
    run(judging, sink, events[:300], 0, until - 30)
    with judging.batch(Frame([])) as changes:
        assert not changes
    late = [event for event in events[300:] if event.model == "fraud" and event.outcome == "ok"][:1]
    with judging.batch(Frame(found(judging, late, 300))) as changes:
        assert len(changes) == 1


def test_pieces_that_cannot_be_read_begin_anew_and_say_so(file: Path, caplog) -> None:
    sink = Sink()
    events, until = batches()[0]
    run(streams_judge(file, sink), sink, events, 0, until)
    del sink.pieces[next(name for name in sink.pieces if b"pane" in name)]
    judging = streams_judge(file, sink)
    assert "begin anew" in caplog.text
    run(judging, sink, events, 0, until)
    assert streams_judge(file, sink)._judge.saved().head.records == judging._judge.saved().head.records


def test_a_row_that_counts_nowhere_is_none(file: Path) -> None:
    packer = row_bytes.Packer(row_bytes.watched(load.load_platform(file).models))
    one = events_of(1, 1, START, 0.0)[0]
    assert packer(Prediction(id="a", model="unwatched", version="v1", ts=1.0)) is None
    assert packer(Prediction(id="a", model="fraud", version="v1", ts=1.0, outcome="error")) is None
    assert packer(Prediction(id="a", model="fraud", version="v1", ts=1.0, prediction="a", features=one.features))
