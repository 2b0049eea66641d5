"""The drift judge under odd traffic: thousands of versions, inference logs, errors; and what is said without one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import yaml

from exporters.drift import halves, published, supervisor, worker
from exporters.events import inference_log, ingest, journal, kserve, store
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


def judge_of(platform_file: Path, saved: worker.Saved | None = None) -> worker.Judge:
    platform = load.load_platform(platform_file)
    return worker.Judge(platform, platform_file.parent, platform_file.parent, saved or worker.Saved())


def prediction(version: str, at: float, x: float = 0.0) -> events.Prediction:
    return events.Prediction(
        id=f"{version}-{at}", model="fraud", version=version, ts=at, prediction="a", features={"x": x}
    )


def many(versions: int, at: float = START) -> list[events.Prediction]:
    return [prediction(f"v{number}", at) for number in range(versions)]


def total(judge: worker.Judge, name: str) -> float:
    return sum(number for found, _, number in judge.samples() if found == name)


def said(judge: worker.Judge) -> list[bytes]:
    return list(published.lines(judge.samples(), is_failing=judge.is_failing))


def test_thousands_of_versions_in_a_window_are_judged_as_the_first_few_and_the_others_together(platform_file) -> None:
    judge = judge_of(platform_file)
    judge.take(many(5000))
    assert judge.close(START + 12)
    samples = {
        dict(labels)["version"]: number
        for name, labels, number in judge.samples()
        if name == metrics.DRIFT_WINDOW_SAMPLES.name
    }
    assert samples == {"v0": 1, "v1": 1, "v2": 1, "v3": 1, "other": 4996}
    assert max(map(len, said(judge))) < published.MAX_LINE
    again = judge_of(platform_file, msgspec.json.decode(msgspec.json.encode(judge.saved()), type=worker.Saved))
    assert again.samples() == judge.samples()


def test_a_judge_that_was_stopped_with_thousands_of_versions_starts_again(platform_file: Path) -> None:
    """What an earlier release kept, which took every version by itself and could not be started again."""
    one = judge_of(platform_file)
    one.take(many(1))
    one.close(START + 12)
    saved = one.saved()
    (_, _, stream), *_ = saved.streams
    (end,) = [gauge for gauge in saved.gauges if gauge[0] == metrics.DRIFT_WINDOW_END.name]
    saved.streams = [("fraud", f"v{number}", stream) for number in range(5000)]
    saved.gauges = [(end[0], {"model": "fraud", "version": f"v{number}"}, end[2] + number) for number in range(5000)]
    saved.verdicts = [("fraud", f"v{number}", "stable", 1) for number in range(5000)]
    again = judge_of(platform_file, saved)
    again.take([prediction("v1", START + 20)])
    assert len(again.saved().streams) <= CAPS["versions"] + 1
    assert len(again.samples()) < 100


def test_a_version_that_no_events_come_of_any_more_gives_its_place_to_a_new_one(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    for generation in range(12):
        at = START + 100 * generation
        judge.close(at)
        judge.take([prediction(f"g{generation}-{number}", at) for number in range(CAPS["versions"])])
        judge.close(at + 12)
    latest = {where["version"] for name, where, _ in judge.samples() if name == metrics.DRIFT_WINDOW_SAMPLES.name}
    assert latest == {f"g11-{number}" for number in range(CAPS["versions"])}
    ends = [where for name, where, _ in judge.samples() if name == metrics.DRIFT_WINDOW_END.name]
    assert len(ends) <= 3 * CAPS["versions"], "of 48"


def test_no_more_is_published_than_the_cap_of_series_and_verdicts_come_first() -> None:
    details = [(metrics.DRIFT_EFFECT.name, {"feature": str(number)}, 1.0) for number in range(5000)]
    verdicts = [(metrics.DRIFT_DETECTED.name, {"version": str(number)}, 1.0) for number in range(10)]
    kept = published.most_important([*details, *verdicts], 1000)
    assert len(kept) == 1000
    assert kept[:10] == verdicts
    lines = [msgspec.json.decode(line, type=published.Line) for line in published.lines(details, is_failing=True)]
    assert [line.more for line in lines] == [True, True, False]
    assert [sample for line in lines for sample in line.samples] == details


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
            assert not judge.saved().streams, "all responses, and no request"
            judge = judge_of(platform_file, msgspec.json.decode(msgspec.json.encode(judge.saved()), type=worker.Saved))
    judge.close(START + 12)
    assert total(judge, metrics.DRIFT_WINDOW_SAMPLES.name) == 200
    assert total(judge, metrics.DRIFT_DETECTED.name) == detected
    assert judge.saved().halves == []


def half(identifier: str, rows: int = 1) -> inference_log.RequestHalf:
    common = {"model": "fraud", "namespace": "", "component": "", "ts": START, "trace_id": None}
    return inference_log.RequestHalf(id=identifier, rows=[{"x": 1.0}] * rows, **common)


def test_halves_whose_other_half_does_not_come_are_bounded_and_go_after_a_while(monkeypatch) -> None:
    monkeypatch.setattr(halves, "MAX_ROWS", 10)
    waiting = halves.Halves([])
    for number in range(30):
        assert waiting.take(START, half(str(number), rows=3)) == []
    assert len(waiting.saved()) == 3
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
    assert msgspec.json.decode(said(judge)[-1], type=published.Line).is_failing


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
    assert not [one for one in judge.samples() if one[0] == metrics.DRIFT_DETECTED.name]
    assert judge.is_failing
    judge.close(START + 31.5)
    assert [number for name, _, number in judge.samples() if name == metrics.DRIFT_DETECTED.name] == [0]


def test_windows_that_cannot_be_kept_do_not_end_the_judge(platform_file: Path, tmp_path: Path, caplog) -> None:
    judge = judge_of(platform_file)
    worker._save(tmp_path / "a folder that is not there", judge)
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


SAYS = [
    (metrics.DRIFT_DETECTED.name, {"model": "m", "version": "v"}, 0.0),
    (metrics.DRIFT_WINDOWS.name, {"model": "m", "version": "v", "verdict": "stable"}, 3.0),
]


def ran(one: supervisor.Supervisor, clock: Clock, seconds: float, *lines: bytes) -> None:
    """One run of the judge, which says something, and ends."""

    async def once() -> None:
        one._begun, one._ended, one._has_said = clock(), None, False
        reader = asyncio.StreamReader()
        for line in lines:
            reader.feed_data(line)
        reader.feed_eof()
        await one._listen(SimpleNamespace(stdout=reader))
        seen.append(one.is_up)
        clock.now += seconds
        seen.append(one.is_up)
        one._begun, one._ended = None, clock()

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
    lines = list(published.lines(SAYS, is_failing=False))
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
    ran(one, clock, 100.0, *published.lines(SAYS, is_failing=True))
    assert one.seen == [False, False]


def test_verdicts_of_a_judge_that_is_away_are_taken_back_and_counts_stay(tmp_path: Path) -> None:
    one, clock = supervised(tmp_path)
    ran(one, clock, 40.0, *published.lines(SAYS, is_failing=False))
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
    many_samples = [(metrics.DRIFT_EFFECT.name, {"feature": "f" * 200, "n": str(n)}, 1.0) for n in range(4500)]
    listened(one, *published.lines(many_samples, is_failing=False), b"rubbish\n")
    assert len(one.samples()) == 4502
