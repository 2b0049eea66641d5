"""The drift judge under odd traffic: thousands of versions, inference logs, errors; and what is said without one."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import yaml

from exporters.drift import halves, published, references, state, supervisor, worker
from exporters.drift.judge import Judge
from exporters.drift.published import Board, Entry
from exporters.events import inference_log, ingest, journal, kserve, store
from exporters.events.journal_time import Reading
from midwatch import metrics
from midwatch.client import events
from midwatch.spec import drift as drift_spec
from midwatch.spec import load
from monitors.drift import fitting, reference_file, verdict

START = 1_700_000_000.0
CAPS = {"versions": 4}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {"x": np.random.default_rng(1).normal(size=5000)}
    path = tmp_path_factory.mktemp("reference") / "r.npz"
    reference_file.save(fitting.fit(columns, {"x": drift_spec.Feature.NUMERIC}, window_rows=200), path)
    return path


@pytest.fixture
def platform_file(tmp_path: Path, make_document, reference: Path) -> Path:
    document = make_document(exporter={"caps": CAPS})
    document["models"][0]["drift"] = {
        "reference": str(reference),
        "window": "10s",
        "min_samples": 50,
        "features": {"x": "numeric"},
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def judge_of(platform_file: Path, saved: state.Saved | None = None) -> Judge:
    platform, base = load.load_platform(platform_file), platform_file.parent
    return Judge(platform, base, base, references.Unwatched(platform, base).usable(), saved or state.Saved())


def through_a_file(judge: Judge, folder: Path) -> state.Saved:
    """What a judge keeps, as its next process reads it."""
    state.write(folder / "windows.log", judge.saved())
    return state.read(folder / "windows.log")


def prediction(version: str, at: float, x: float = 0.0) -> events.Prediction:
    return events.Prediction(
        id=f"{version}-{at}", model="fraud", version=version, ts=at, prediction="a", features={"x": x}
    )


def many(versions: int, at: float = START) -> list[events.Prediction]:
    return [prediction(f"v{number}", at) for number in range(versions)]


def total(judge: Judge, name: str) -> float:
    return sum(number for found, _, number in judge.board.samples() if found == name)


def test_thousands_of_versions_in_a_window_are_judged_as_the_first_few_and_the_others_together(platform_file) -> None:
    judge = judge_of(platform_file)
    judge.take(many(5000))
    assert judge.close(START + 12)
    samples = {
        dict(labels)["version"]: number
        for name, labels, number in judge.board.samples()
        if name == metrics.DRIFT_WINDOW_SAMPLES.name
    }
    assert samples == {"v0": 1, "v1": 1, "v2": 1, "v3": 1, "other": 4996}
    again = judge_of(platform_file, through_a_file(judge, platform_file.parent))
    assert sorted(map(str, again.board.samples())) == sorted(map(str, judge.board.samples()))


def test_a_judge_that_was_stopped_with_thousands_of_versions_starts_again(platform_file: Path) -> None:
    """What an earlier release kept, which took every version by itself and could not be started again."""
    one = judge_of(platform_file)
    one.take(many(1))
    one.close(START + 12)
    saved = through_a_file(one, platform_file.parent)
    (_, _, stream), *_ = saved.streams
    ((_, _, end, _, _),) = saved.head.records
    saved.streams = [("fraud", f"v{number}", stream) for number in range(5000)]
    saved.head.records = [("fraud", f"v{number}", end + number, 1.0, {"stable": 1}) for number in range(5000)]
    again = judge_of(platform_file, saved)
    again.take([prediction("v1", START + 20)])
    assert len(list(again.saved().streams)) <= CAPS["versions"] + 1
    assert len(list(again.board.samples())) < 100


def test_a_version_that_no_events_come_of_any_more_gives_its_place_to_a_new_one(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    for generation in range(12):
        at = START + 100 * generation
        judge.close(at)
        judge.take([prediction(f"g{generation}-{number}", at) for number in range(CAPS["versions"])])
        judge.close(at + 12)
    latest = {where["version"] for name, where, _ in judge.board.samples() if name == metrics.DRIFT_WINDOW_SAMPLES.name}
    assert latest == {f"g11-{number}" for number in range(CAPS["versions"])}
    ends = [where for name, where, _ in judge.board.samples() if name == metrics.DRIFT_WINDOW_END.name]
    assert len(ends) <= 3 * CAPS["versions"], "of 48"


def lines_of(out: io.BytesIO) -> list[published.Line]:
    return [msgspec.json.decode(line, type=published.Line) for line in out.getvalue().splitlines()]


def verdict_of(version: str, features: int, value: float = 1.0) -> Entry:
    where = {"model": "m", "version": version}
    details = [({**where, "feature": f"f{number}"}, {metrics.DRIFT_EFFECT.name: value}) for number in range(features)]
    return Entry.of(("verdict", "m", version), [(where, {metrics.DRIFT_DETECTED.name: 1.0})], details)


def test_no_more_is_published_than_the_cap_of_series_and_verdicts_come_first() -> None:
    board = Board(1000)
    for number in range(10):
        board.put(verdict_of(f"v{number}", features=300))
    samples = [name for name, _, _ in board.samples()]
    assert len(samples) <= 1000
    assert samples.count(metrics.DRIFT_DETECTED.name) == 10
    assert len(samples) + board.left_out == 10 * 301
    for number in range(8):
        board.remove(("verdict", "m", f"v{number}"))
    for number in range(8, 10):
        board.put(verdict_of(f"v{number}", features=300, value=2.0))
    assert (len(list(board.samples())), board.left_out) == (602, 0)


def shares_of(version: str, bins: int) -> Entry:
    where = {"model": "m", "version": version}
    details = [({**where, "bin": f"{place}"}, {metrics.DRIFT_SHARE.name: 0.1}) for place in range(bins)]
    return Entry.of(("shares", "m", version), [], details)


def test_shares_by_bin_give_way_to_findings_and_have_the_room_that_is_left() -> None:
    board = Board(1000)
    for number in range(4):
        board.put(shares_of(f"v{number}", bins=120))
        board.put(verdict_of(f"v{number}", features=200))
    names = [name for name, _, _ in board.samples()]
    assert names.count(metrics.DRIFT_EFFECT.name) == 800
    assert names.count(metrics.DRIFT_SHARE.name) == 120
    assert board.left_out == 3 * 120
    board.remove(("shares", "m", "v2"))
    assert (len(list(board.samples())), board.left_out) == (804, 360)


def test_only_what_has_changed_is_said_and_no_line_grows_with_the_number_of_versions() -> None:
    board = Board(10**6)
    for number in range(300):
        board.put(verdict_of(f"v{number}", features=30))
    everything = list(board.changes())
    assert max(map(len, everything)) == max(map(len, verdict_of("v299", features=30).lines()))
    assert list(board.changes()) == []
    board.put(verdict_of("v7", features=30))
    assert list(board.changes()) == [], "the same again"
    board.put(verdict_of("v7", features=30, value=2.0))
    board.remove(("verdict", "m", "v8"))
    changed = [msgspec.json.decode(line, type=published.Line) for line in board.changes()]
    assert [(part.subject[2], len(part.groups)) for part in changed] == [("v7", 31), ("v8", 0)]


# A journal that never ends --------------------------------------------------------------------------------------------


def write(folder: Path, platform_file: Path, *groups: list[events.Prediction]) -> None:
    """Groups in a journal, each written when its last prediction was made."""
    platform = load.load_platform(platform_file)
    kept = store.Store(folder, platform.exporter, platform.models)
    for group in groups:
        kept.append(kept.encode(group[-1].ts, group))
    kept.close(START, snapshot=lambda: False)


def test_verdicts_come_while_there_is_always_more_to_read(platform_file, tmp_path, monkeypatch) -> None:
    values = np.random.default_rng(1).normal(size=200).tolist()
    groups = [[prediction("v1", START + at, x) for x in values] for at in range(0, 60, 2)]
    write(tmp_path / "s", platform_file, *groups)
    monkeypatch.setattr(worker, "TURN", 0.0)  # a frame, and a window
    monkeypatch.setattr(worker, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(worker, "KEEP_SHARE", math.inf)
    out = io.BytesIO()
    working = worker.started(tmp_path / "s", platform_file, out)
    for _ in range(16):
        assert working.step(), "it has not come to the end"
    counts = [
        sum(values.get(metrics.DRIFT_WINDOWS.name, 0.0) for _, values in line.groups)
        for line in lines_of(out)
        if isinstance(line, published.Part) and line.subject[0] == "record"
    ]
    assert counts == [1.0, 2.0], "windows that ended by 30 s, but for the one that waits for what is on its way"
    kept = state.read(tmp_path / "s" / "drift" / "windows.log")
    assert [record[4] for record in kept.head.records] == [{"stable": 2}]
    again = worker.started(tmp_path / "s", platform_file, io.BytesIO())
    while again.step():
        pass
    ((_, _, _, samples, all_counts),) = state.read(tmp_path / "s" / "drift" / "windows.log").head.records
    assert (sum(all_counts.values()), samples) == (6, 1000.0), "each prediction is in one window"


def test_verdicts_are_not_said_before_they_are_kept(platform_file: Path, tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "s", platform_file, [prediction("v1", START, 0.1)] * 200)
    out = io.BytesIO()
    working = worker.started(tmp_path / "s", platform_file, out)
    monkeypatch.setattr(worker.Keeper, "is_due", lambda *_, **__: False)
    working.step()
    assert not [line for line in lines_of(out) if isinstance(line, published.Part)]
    assert not (tmp_path / "s" / "drift" / "windows.log").exists()


def test_a_large_state_is_written_more_rarely_but_by_time_and_by_what_was_read(platform_file, tmp_path) -> None:
    clock = Clock()
    keeper = worker.Keeper(tmp_path, judge_of(platform_file), clock)
    keeper._bytes, keeper._seconds = 20 * worker.KEEP_BYTES, 0.1

    def due_after(seconds: float, *, has_verdicts: bool) -> bool:
        clock.now = 1000.0 + seconds
        return keeper.is_due(has_verdicts=has_verdicts)

    assert [due_after(at, has_verdicts=True) for at in (1.9, 2.1)] == [False, True]
    assert [due_after(at, has_verdicts=False) for at in (19.0, 20.5)] == [False, True]
    keeper._bytes *= 1000
    assert [due_after(at, has_verdicts=False) for at in (29.0, 30.5)] == [False, True]
    keeper.frames = worker.KEEP_FRAMES + 1
    assert due_after(0.1, has_verdicts=False)


def test_windows_end_by_the_wall_clock_of_when_their_predictions_were_written(platform_file: Path, tmp_path) -> None:
    judge = judge_of(platform_file)
    reading = Reading(at=START + 500, wall=START, since_boot=1.0, boot="b")
    frames = [
        journal.Frame(journal.CLOCK, START + 500, msgspec.msgpack.encode(reading), journal.Position(1, 10)),
        journal.Frame(
            journal.EVENTS, START + 502, msgspec.msgpack.encode([prediction("v1", START)]), journal.Position(1, 20)
        ),
    ]
    for frame in frames:
        judge.read(frame)
    assert judge.read_until == START + 2
    assert judge_of(platform_file, through_a_file(judge, tmp_path))._wall_offset == -500


def test_a_state_that_is_not_whole_is_not_used(platform_file: Path, tmp_path: Path, caplog) -> None:
    judge = judge_of(platform_file)
    judge.take(many(3))
    path = tmp_path / "windows.log"
    state.write(path, judge.saved())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(state.DamagedError):
        state.read(path)
    assert list(worker.restored(tmp_path, {}).streams) == []
    assert "begin anew" in caplog.text


# References -----------------------------------------------------------------------------------------------------------


def test_equal_references_are_read_once_and_shared(tmp_path: Path, reference: Path, monkeypatch) -> None:
    paths = [tmp_path / f"{number}.npz" for number in range(3)]
    for path in paths:
        path.write_bytes(reference.read_bytes())
    read: list[Path] = []
    real = reference_file.load
    monkeypatch.setattr(reference_file, "load", lambda path: read.append(path) or real(path))
    drift = drift_spec.Drift(reference="r.npz", features={"x": "numeric"})
    found = references.References()
    watched = [found.watched(drift, path) for path in paths]
    assert read == paths[:1]
    assert all(one.schema is watched[0].schema and one.reference is watched[0].reference for one in watched)


def test_windows_are_not_continued_on_the_cells_of_another_reference_of_as_many(platform_file, tmp_path) -> None:
    judge = judge_of(platform_file)
    judge.take([prediction("v1", START, x) for x in np.random.default_rng(1).normal(size=200).tolist()])
    saved = through_a_file(judge, tmp_path)
    columns = {"x": np.random.default_rng(2).normal(5, 1, size=5000)}
    made = fitting.fit(columns, {"x": drift_spec.Feature.NUMERIC}, window_rows=200)
    text = platform_file.read_text().replace(str(load.load_platform(platform_file).models[0].drift.reference), "n.npz")
    platform_file.write_text(text)
    reference_file.save(made, platform_file.parent / "n.npz")
    again = judge_of(platform_file, saved)
    assert not again.close(START + 100), "no window, rather than one of cells that mean something else"


def test_a_reference_that_cannot_be_used_stops_its_own_model_alone_until_it_is_mended(
    platform_file: Path, tmp_path: Path, caplog, monkeypatch
) -> None:
    document = yaml.safe_load(platform_file.read_text())
    first = document["models"][0]
    content = Path(first["drift"]["reference"]).read_bytes()
    (tmp_path / "other.npz").write_bytes(content)
    document["models"].append({**first, "name": "other", "drift": {**first["drift"], "reference": "other.npz"}})
    platform_file.write_text(yaml.safe_dump(document))
    judge = judge_of(platform_file)
    both = [
        msgspec.structs.replace(event, model=model)
        for model in ("fraud", "other")
        for event in [prediction("v1", START, x) for x in np.random.default_rng(1).normal(size=200).tolist()]
    ]
    judge.take(both)
    judge.close(START + 11.5)
    judge.take([msgspec.structs.replace(event, ts=START + 10) for event in both])
    (tmp_path / "s" / "drift").mkdir(parents=True)
    state.write(tmp_path / "s" / "drift" / "windows.log", judge.saved())
    monkeypatch.setattr(worker, "LOOK_AGAIN", 0.0)

    for broken in (content[:100], content[:-100], b"", None):
        (tmp_path / "other.npz").unlink(missing_ok=True)
        if broken is not None:
            (tmp_path / "other.npz").write_bytes(broken)
        caplog.clear()
        working = worker.started(tmp_path / "s", platform_file, io.BytesIO())
        assert "model other is not judged until its reference can be used" in caplog.text
        assert "other.npz" in caplog.text
        assert working._judge.is_failing
        assert total(working._judge, "ml_drift_windows_total") == 2, "what was counted stays"
        working._keep()

    working._judge.close(START + 21.5)
    votes = [where["model"] for name, where, _ in working._judge.board.samples() if name == "ml_drift_votes"]
    assert votes == ["fraud"]
    (tmp_path / "other.npz").write_bytes(content)
    working.step()
    assert not working._judge.is_failing
    working._judge.close(START + 21.5)
    assert total(working._judge, "ml_drift_windows_total") == 4, "the window that was open has gone on"


# Inference logs ------------------------------------------------------------------------------------------------------


def logged(folder: Path, platform_file: Path, count: int, shift: float) -> None:
    """Requests and responses of one-row inferences, through ingestion into a journal; every response comes first."""
    platform = load.load_platform(platform_file)
    models = kserve.Models.of(platform.models)
    kept = store.Store(folder, platform.exporter, platform.models)
    taking = ingest.Ingest(kept, platform.exporter, platform.models, None, clock=lambda: START)
    values = np.random.default_rng(3).normal(shift, 1, count).tolist()
    parts: list[inference_log.Half] = []
    for kind in (b"response", b"request"):
        for number, value in enumerate(values):
            headers = {
                b"ce-type": b"x.inference." + kind,
                b"ce-id": b"%d" % number,
                b"ce-inferenceservicename": b"fraud",
                b"ce-endpoint": b"v1",
            }
            body = b'{"instances":[[%f]]}' % value if kind == b"request" else b'{"predictions":["a"]}'
            parts += kserve.decode(headers, body, START, models)
    batch = ingest.Batch(items=list(enumerate(parts, 1)), reply=lambda _: None)
    taking.submit(batch)
    for start in range(0, len(parts), 50):
        group = [half for _, half in batch.items[start : start + 50]]
        frame = kept.encode(START, group)
        kept.append(frame)
        kept.applied(START, group, len(frame))
    kept.close(START, snapshot=lambda: False)


@pytest.mark.parametrize(("shift", "detected"), [(0.0, 0.0), (3.0, 1.0)], ids=["stable", "drift"])
def test_predictions_of_inference_logs_are_judged_also_over_a_restart(platform_file, tmp_path, shift, detected) -> None:
    logged(tmp_path / "s", platform_file, 200, shift)
    frames = list(journal.follow(tmp_path / "s", journal.Position(0, 0)))
    judge = judge_of(platform_file)
    for number, frame in enumerate(frames):
        judge.read(frame)
        if number == len(frames) // 2 - 1:
            assert not list(judge.saved().streams), "all responses, and no request"
            judge = judge_of(platform_file, through_a_file(judge, tmp_path))
    judge.close(START + 12)
    assert total(judge, metrics.DRIFT_WINDOW_SAMPLES.name) == 200
    assert total(judge, metrics.DRIFT_DETECTED.name) == detected
    assert list(judge.saved().halves) == []


def half(identifier: str, rows: int = 1) -> inference_log.RequestHalf:
    common = {"model": "fraud", "namespace": "", "component": "", "ts": START, "trace_id": None}
    return inference_log.RequestHalf(id=identifier, rows=[{"x": 1.0}] * rows, **common)


def test_halves_whose_other_half_does_not_come_are_bounded_and_go_after_a_while(monkeypatch) -> None:
    monkeypatch.setattr(halves, "MAX_ROWS", 10)
    waiting = halves.Halves([])
    for number in range(30):
        assert waiting.take(START, half(str(number), rows=3)) == []
    assert len(waiting.saved()) == 3
    assert waiting.lost_rows == 27 * 3
    waiting.take(START + 1000, half("late"))
    assert len(waiting.saved()) == 1
    assert len(halves.Halves(waiting.saved()).saved()) == 1


# What cannot be judged -----------------------------------------------------------------------------------------------


def test_an_event_that_cannot_be_counted_is_passed_over_and_said(platform_file: Path, tmp_path: Path, caplog) -> None:
    judge = judge_of(platform_file)
    bad = prediction("v1", START)
    bad.ts = START + 0j  # type: ignore[assignment]
    frame = journal.Frame(journal.EVENTS, START, b"", journal.Position(3, 99))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "decode_events", lambda _: [bad])
        judge.read(frame)
    assert judge.position == frame.end
    assert judge.is_failing
    assert "could not be counted" in caplog.text
    out = io.BytesIO()
    worker.Worker(tmp_path, judge, out)
    assert lines_of(out)[-1].is_failing


def test_a_window_that_cannot_be_judged_has_no_verdict_and_the_next_is_judged(platform_file, monkeypatch) -> None:
    judge = judge_of(platform_file)
    values = np.random.default_rng(1).normal(size=200).tolist()
    for start in (START, START + 10, START + 20):
        judge.take([prediction("v1", start, x) for x in values])
    judge.close(START + 11.5)
    with monkeypatch.context() as patched:
        patched.setattr(verdict, "judge", lambda *_, **__: 1 / 0)
        judge.close(START + 21.5)
    assert total(judge, metrics.DRIFT_DETECTED.name) == 0
    assert not [one for one in judge.board.samples() if one[0] == metrics.DRIFT_DETECTED.name]
    assert judge.is_failing
    judge.close(START + 31.5)
    assert [number for name, _, number in judge.board.samples() if name == metrics.DRIFT_DETECTED.name] == [0]


def test_windows_that_cannot_be_kept_do_not_end_the_judge(platform_file: Path, tmp_path: Path, caplog) -> None:
    judge = judge_of(platform_file)
    assert not worker.Keeper(tmp_path / "a folder that is not there", judge).keep()
    assert judge.is_failing
    assert "could not be kept" in caplog.text


# The supervisor ------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def supervised(tmp_path: Path) -> tuple[supervisor.Supervisor, Clock]:
    clock = Clock()
    return supervisor.Supervisor(tmp_path, None, clock), clock


def listened(one: supervisor.Supervisor, *lines: bytes) -> None:
    async def run() -> None:
        reader = asyncio.StreamReader(limit=published.MAX_LINE)
        for line in lines:
            reader.feed_data(line)
        reader.feed_eof()
        await one._listen(SimpleNamespace(stdout=reader))

    asyncio.run(run())


def values(one: supervisor.Supervisor) -> dict[str, float]:
    return {metric.name: number for metric, _, number in one.samples()}


WHERE = {"model": "m", "version": "v"}
SAYS = [
    Entry.of(("verdict", "m", "v"), [(WHERE, {metrics.DRIFT_DETECTED.name: 0.0})]),
    Entry.of(("record", "m", "v"), [({**WHERE, "verdict": "stable"}, {metrics.DRIFT_WINDOWS.name: 3.0})]),
]


def status(*, is_failing: bool = False, segment: int = 0, waiting_seconds: float = 0.0, lost_rows: int = 0) -> bytes:
    return published.line(
        published.Status(
            segment=segment,
            offset=0,
            waiting_seconds=waiting_seconds,
            is_failing=is_failing,
            left_out=0,
            lost_rows=lost_rows,
        )
    )


def says(entries: list[Entry], *, is_failing: bool = False) -> list[bytes]:
    """What a judge says that begins."""
    return [*(line for entry in entries for line in entry.lines()), status(is_failing=is_failing)]


def ran(one: supervisor.Supervisor, clock: Clock, seconds: float, *lines: bytes) -> None:
    """One run of the judge, which says something, and ends."""

    async def once() -> None:
        one._begin()
        reader = asyncio.StreamReader()
        for line in lines:
            reader.feed_data(line)
        reader.feed_eof()
        await one._listen(SimpleNamespace(stdout=reader))
        seen.append(one.is_up)
        clock.now += seconds
        seen.append(one.is_up)
        one._end()

    async def until_pause(_: float) -> None:
        raise asyncio.CancelledError

    seen: list[bool] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(one, "_run_once", once)
        patched.setattr(supervisor.asyncio, "sleep", until_pause)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(one.run())
    one.seen = seen  # type: ignore[attr-defined]


def test_a_judge_that_ends_again_and_again_is_not_up_until_it_has_run_for_a_while(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    lines = says(SAYS)
    ran(one, clock, 1.0, *lines)
    assert one.seen == [True, True]
    for _ in range(3):
        ran(one, clock, 1.0, *lines)
        assert one.seen == [False, False]
    ran(one, clock, 40.0, *lines)
    assert one.seen == [False, True]
    ran(one, clock, 1.0, *lines)
    assert one.seen == [True, True]


def test_a_judge_that_says_nothing_or_that_it_fails_is_not_up(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    ran(one, clock, 100.0)
    assert one.seen == [False, False]
    ran(one, clock, 100.0, *says(SAYS, is_failing=True))
    assert one.seen == [False, False]


def test_verdicts_of_a_judge_that_is_away_are_taken_back_and_counts_stay(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    ran(one, clock, 40.0, *says(SAYS))
    clock.now += 30
    assert values(one)[metrics.DRIFT_DETECTED.name] == 0
    assert values(one)[metrics.DRIFT_WORKER_UP.name] == 0
    clock.now += 40
    assert metrics.DRIFT_DETECTED.name not in values(one)
    assert values(one)[metrics.DRIFT_WINDOWS.name] == 3


def test_an_error_of_following_the_judge_is_not_the_last_run(tmp_path: Path, monkeypatch, caplog) -> None:
    one, _ = supervised(tmp_path)
    runs = iter([ValueError("a line was too long"), OSError("no more processes")])

    async def fail() -> None:
        raise next(runs, asyncio.CancelledError())

    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr(one, "_run_once", fail)
    monkeypatch.setattr(supervisor.asyncio, "sleep", at_once)
    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        asyncio.run(one.run())
    assert caplog.text.count("could not be followed") == 2


def test_much_that_is_said_comes_through_line_by_line(tmp_path: Path) -> None:
    one, _ = supervised(tmp_path)
    groups = [({"feature": "f" * 200, "n": str(number)}, {metrics.DRIFT_EFFECT.name: 1.0}) for number in range(4500)]
    lines = says([Entry.of(("verdict", "m", "v"), [], groups)])
    assert max(map(len, lines)) < 2 * published.MAX_PART
    listened(one, *lines[:5])
    assert metrics.DRIFT_EFFECT.name not in values(one), "the last part has not come"
    listened(one, *lines[5:], b"rubbish\n")
    assert sum(metric is metrics.DRIFT_EFFECT for metric, _, _ in one.samples()) == 4500


def test_what_a_new_judge_does_not_say_is_no_more(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    ran(one, clock, 40.0, *says(SAYS))
    ran(one, clock, 40.0, *says(SAYS[1:]))
    assert metrics.DRIFT_DETECTED.name not in values(one)
    assert values(one)[metrics.DRIFT_WINDOWS.name] == 3
    listened(one, *says(SAYS)[:1], *says([Entry(("record", "m", "v"), [])]))
    assert values(one)[metrics.DRIFT_DETECTED.name] == 0
    assert metrics.DRIFT_WINDOWS.name not in values(one)


def test_restarts_of_the_judge_and_rows_that_its_processes_lost_are_counted(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    assert values(one)[metrics.DRIFT_WORKER_RESTARTS.name] == 0
    for _ in range(3):
        ran(one, clock, 40.0, *says(SAYS), status(lost_rows=5))
    assert values(one)[metrics.DRIFT_WORKER_RESTARTS.name] == 2
    assert values(one)[metrics.DRIFT_LOST_ROWS.name] == 15


def test_a_judge_that_says_nothing_any_more_is_not_up_and_is_ended(tmp_path: Path, monkeypatch) -> None:
    one, clock = supervised(tmp_path)
    ran(one, clock, 59.0, *says(SAYS))
    assert one.seen == [True, True]
    ran(one, clock, 61.0, *says(SAYS))
    assert one.seen == [True, False]
    monkeypatch.setattr(supervisor, "STUCK", 0.01)

    async def silent() -> None:
        await one._listen(SimpleNamespace(stdout=asyncio.StreamReader()))

    with pytest.raises(TimeoutError):
        asyncio.run(silent())


def test_how_far_the_judge_is_behind_is_the_age_of_what_it_has_not_read(platform_file: Path, tmp_path: Path) -> None:
    groups = [[prediction("v1", START + at)] for at in (0, 20, 50)]
    write(tmp_path / "s", platform_file, *groups)
    frames = [frame for frame in journal.follow(tmp_path / "s", journal.Position(0, 0)) if frame.kind == journal.EVENTS]
    one = supervisor.Supervisor(tmp_path / "s", None, Clock(), now=lambda: START + 60)
    assert values(one)[metrics.DRIFT_WORKER_BEHIND.name] == 60, "a judge that has never run"
    for frame, seconds in zip(frames, (40, 10, 0), strict=True):
        one._begin()
        one._take(published.Status(**STATUS | frame.end._asdict()))
        assert values(one)[metrics.DRIFT_WORKER_BEHIND.name] == seconds
    one._take(published.Status(**STATUS | frames[-1].end._asdict() | {"waiting_seconds": 7.0}))
    assert values(one)[metrics.DRIFT_WORKER_BEHIND.name] == 7, "all is read, and windows wait"


STATUS = {"waiting_seconds": 0.0, "is_failing": False, "left_out": 0, "lost_rows": 0}


def test_journal_that_is_deleted_unread_is_counted(platform_file: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(store, "UNREAD_LIMIT", 100)
    platform = load.load_platform(platform_file)
    kept = store.Store(tmp_path / "s", platform.exporter, platform.models)
    place = kept.journal.end
    (tmp_path / "s" / "drift").mkdir()
    (tmp_path / "s" / "drift" / "position.json").write_text(json.dumps(place._asdict()))
    frame = kept.encode(START, many(20))
    kept.append(frame)
    kept.applied(START, many(20), len(frame))
    kept.snapshot(START)
    kept.close(START)
    assert kept.skipped_bytes >= len(frame) > 100
