"""The drift judge beside the exporter: it reads the journal, judges windows, and goes on after kill -9."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from exporters.drift import references, state, windows, worker
from exporters.drift.judge import Judge
from exporters.drift.rows import Schema
from exporters.events import journal
from exporters.events.store import Store, read_position
from midwatch.client import events
from midwatch.errors import InvalidInputError
from midwatch.spec import drift as drift_spec
from midwatch.spec import load, model
from monitors.drift import counts, fitting, reference, reference_file, sample
from tests.exporters.test_service import exporter

START = 1_700_000_000.0


@cache
def normal(seed: int = 1, mean: float = 0.0) -> reference.Reference:
    """A reference of one normal feature; fitting it takes longer than most of these tests."""
    columns = {"x": np.random.default_rng(seed).normal(mean, 1, size=5000)}
    return fitting.fit(columns, {"x": drift_spec.Feature.NUMERIC}, window_rows=200)


@pytest.fixture
def platform_file(tmp_path: Path, make_document) -> Path:
    reference_file.save(normal(), tmp_path / "r.npz")
    document = make_document()
    document["models"][0]["drift"] = {
        "reference": "r.npz",
        "window": "10s",
        "min_samples": 50,
        "features": {"x": "numeric"},
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def predictions(start: float, count: int, shift: float = 0.0) -> list[events.Prediction]:
    values = np.random.default_rng(int(start)).normal(shift, 1, count)
    return [
        events.Prediction(
            id=f"{start}-{n}", model="fraud", version="v1", ts=start + n % 10, prediction="a", features={"x": value}
        )
        for n, value in enumerate(values.tolist())
    ]


def write(state: Path, platform: model.Platform, *groups: list[events.Prediction]) -> None:
    store = Store(state, platform.exporter, platform.models)
    for group in groups:
        frame = store.encode(START, group)
        store.append(frame)
        store.applied(START, group, len(frame))
    store.close(START, snapshot=lambda: False)


def judge_of(platform_file: Path, saved: state.Saved | None = None) -> Judge:
    platform, base = load.load_platform(platform_file), platform_file.parent
    return Judge(platform, base, base, references.Unwatched(platform, base).usable(), saved or state.Saved())


def through_a_file(judge: Judge, folder: Path) -> state.Saved:
    """What a judge keeps, as its next process reads it."""
    state.write(folder / "windows.log", judge.saved())
    return state.read(folder / "windows.log")


def read_all(judge: Judge, folder: Path) -> None:
    worker.Worker(folder, judge, io.BytesIO())._read(math.inf)


def value(judge: Judge, name: str, **labels: str) -> float | None:
    wanted = {"model": "fraud", "version": "v1"} | labels
    return next((number for found, where, number in judge.board.samples() if found == name and where == wanted), None)


def test_windows_are_judged_when_they_have_ended(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    judge.take(predictions(START, 200) + predictions(START + 10, 200, shift=3))
    assert not judge.close(START + 10.5)
    assert judge.close(START + 11.5)
    assert value(judge, "ml_drift_votes") == 0
    assert judge.close(START + 21.5)
    assert value(judge, "ml_drift_votes") == 2
    assert value(judge, "ml_drift_windows_total", verdict="stable") == 1
    assert value(judge, "ml_drift_windows_total", verdict="drift") == 1
    assert value(judge, "ml_drift_effect", feature="x", method="ks") > 0.5


def test_a_version_with_a_reference_of_its_own_is_judged_by_that_also_after_a_restart(platform_file: Path) -> None:
    document = yaml.safe_load(platform_file.read_text())
    document["models"][0]["drift"]["version_references"] = "own-{version}.npz"
    platform_file.write_text(yaml.safe_dump(document))
    platform, base = load.load_platform(platform_file), platform_file.parent
    models = references.Unwatched(platform, base).usable()

    def started(saved: state.Saved) -> Judge:
        return Judge(platform, base, base, models, saved, references.OfVersions(platform, base))

    reference_file.save(normal(seed=2, mean=3.0), base / "own-v2.npz")
    of_two = [
        one
        for version in ("v1", "v2")
        for one in (msgspec.structs.replace(event, version=version) for event in predictions(START, 200, shift=3))
    ]
    judge = started(state.Saved())
    judge.take(of_two[:300])
    judge = started(through_a_file(judge, base))
    judge.take(of_two[300:])
    assert judge.close(START + 11.5)
    assert value(judge, "ml_drift_detected", version="v1") == 1
    assert value(judge, "ml_drift_detected", version="v2") == 0
    assert value(judge, "ml_drift_window_samples", version="v2") == 200


def test_a_reference_that_was_replaced_is_taken_up_and_open_windows_begin_anew(
    platform_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "LOOK_AGAIN", 0.0)
    reference = platform_file.parent / "r.npz"
    judging = worker.started(platform_file.parent, platform_file, io.BytesIO())
    judge = judging._judge
    judge.take(predictions(START, 100, shift=3))
    kept = reference.read_bytes()
    reference.write_text("no reference")
    judging._look_again()
    assert "fraud is judged by its reference of before" in caplog.text
    reference.write_bytes(kept)  # another file, and the same reference
    judging._look_again()
    assert "begin anew" not in caplog.text
    reference_file.save(normal(seed=2, mean=3.0), reference)
    judging._look_again()
    judging._look_again()
    assert caplog.text.count("begin anew") == 1
    judge.take(predictions(START, 200, shift=3))
    assert judge.close(START + 11.5)
    assert value(judge, "ml_drift_window_samples") == 200
    assert value(judge, "ml_drift_detected") == 0
    assert not judge.is_failing


def test_a_versions_reference_that_cannot_be_used_is_a_failure_and_the_models_is_taken(platform_file: Path) -> None:
    document = yaml.safe_load(platform_file.read_text())
    document["models"][0]["drift"]["version_references"] = "own-{version}.npz"
    platform_file.write_text(yaml.safe_dump(document))
    platform, base = load.load_platform(platform_file), platform_file.parent
    (base / "own-v1.npz").write_text("no reference")
    models = references.Unwatched(platform, base).usable()
    judge = Judge(platform, base, base, models, state.Saved(), references.OfVersions(platform, base))
    judge.take(predictions(START, 200))
    assert judge.is_failing
    assert judge.close(START + 11.5)
    assert value(judge, "ml_drift_detected") == 0


@pytest.mark.parametrize("version", ["../r", "..", "", "a/b", ".hidden"])
def test_a_version_of_an_event_leads_to_no_other_folder(platform_file: Path, version: str) -> None:
    document = yaml.safe_load(platform_file.read_text())
    document["models"][0]["drift"]["version_references"] = "{version}.npz"
    (platform_file.parent / "inner").mkdir()
    inner = platform_file.parent / "inner" / "platform.yaml"
    document["models"][0]["drift"]["reference"] = "../r.npz"
    inner.write_text(yaml.safe_dump(document))
    assert references.OfVersions(load.load_platform(inner), inner.parent)("fraud", version) is None


def test_a_pattern_without_a_version_is_an_error(platform_file: Path) -> None:
    document = yaml.safe_load(platform_file.read_text())
    document["models"][0]["drift"]["version_references"] = "own.npz"
    platform_file.write_text(yaml.safe_dump(document))
    with pytest.raises(InvalidInputError, match="version_references"):
        load.load_platform(platform_file)


def test_a_window_with_too_little_takes_the_last_votes_away(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    judge.take(predictions(START, 200, shift=3) + predictions(START + 10, 10))
    judge.close(START + 11.5)
    assert value(judge, "ml_drift_votes") == 2
    judge.close(START + 21.5)
    assert value(judge, "ml_drift_votes") is None
    assert value(judge, "ml_drift_windows_total", verdict="inconclusive") == 1


def test_an_old_verdict_is_taken_back_and_a_judge_that_starts_again_does_not_repeat_it(platform_file, tmp_path) -> None:
    judge = judge_of(platform_file)
    judge.take(predictions(START, 200, shift=3))
    assert judge.close(START + 11.5)
    assert not judge.close(START + 40)
    assert value(judge, "ml_drift_detected") == 1
    restarted = judge_of(platform_file, through_a_file(judge, tmp_path))
    for one in (judge, restarted):
        assert one.close(START + 40.5)
        assert not one.close(START + 41)
        left = {name for name, where, _ in one.board.samples() if "version" in where and "episode" not in name}
        assert left == {"ml_drift_window_end_timestamp_seconds", "ml_drift_windows_total"}


def test_a_restart_in_the_middle_of_a_window_changes_nothing(platform_file: Path, tmp_path: Path) -> None:
    platform = load.load_platform(platform_file)
    group = predictions(START, 300)
    write(tmp_path / "s", platform, group[:100], group[100:])
    through = judge_of(platform_file)
    read_all(through, tmp_path / "s")
    halfway = judge_of(platform_file)
    halfway.take(group[:100])
    halfway.position = next(journal.follow(tmp_path / "s", journal.Position(0, 0))).end
    restarted = judge_of(platform_file, through_a_file(halfway, tmp_path))
    read_all(restarted, tmp_path / "s")
    assert restarted.position == through.position
    through.close(START + 100)
    restarted.close(START + 100)
    assert list(restarted.board.samples()) == list(through.board.samples())


def test_a_journal_that_was_begun_anew_is_judged_though_the_judges_place_is_further(
    platform_file: Path, tmp_path: Path
) -> None:
    platform = load.load_platform(platform_file)
    write(tmp_path / "s", platform, predictions(START, 300))
    judge = judge_of(platform_file)
    judge.position = journal.Position(99, 5)
    for _ in range(2):
        read_all(judge, tmp_path / "s")
    judge.close(START + 100)
    assert judge.position.segment < 99
    assert value(judge, "ml_drift_window_samples") == 300


@pytest.mark.parametrize("text", ["[]", "{}", '{"segment": 1e400, "offset": 5}', '{"segment": null, "offset": 5}', "x"])
def test_a_place_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "position.json").write_text(text)
    assert read_position(tmp_path / "position.json") is None


def test_features_that_are_missing_or_of_another_type_count_as_missing(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    group = predictions(START, 200)
    group[0].features = {}
    group[1].features = {"x": "text"}
    judge.take(group)
    judge.close(START + 100)
    assert value(judge, "ml_drift_window_samples") == 200
    assert value(judge, "ml_drift_votes") == 0


def test_the_process_speaks_in_lines_and_survives_kill_9(platform_file: Path, tmp_path: Path) -> None:
    platform, state = load.load_platform(platform_file), tmp_path / "s"
    write(state, platform, predictions(START, 200))
    command = [
        sys.executable,
        "-P",
        "-m",
        "exporters.drift.worker",
        "--state",
        str(state),
        "--platform",
        str(platform_file),
    ]
    for expected in (1.0, 1.0):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        windows, deadline = None, time.monotonic() + 120
        while windows != expected and time.monotonic() < deadline:
            groups = json.loads(process.stdout.readline()).get("groups", [])
            windows = sum(values.get("ml_drift_windows_total", 0.0) for _, values in groups) or windows
        process.kill()
        process.communicate()
        assert windows == expected


def test_files_of_the_users_folder_do_not_hide_the_judge(
    platform_file: Path, tmp_path: Path, crowded_folder: Path
) -> None:
    state = tmp_path / "s"
    write(state, load.load_platform(platform_file), predictions(START, 200))
    wanted = {
        'ml_drift_windows_total{model="fraud",verdict="stable",version="v1"}': 1,
        "midwatch_drift_worker_up": 1,
        "midwatch_drift_worker_behind_seconds": 0,
    }
    with exporter(state, "--file", str(platform_file), folder=crowded_folder) as running:
        deadline = time.monotonic() + 120
        while (seen := {name: running.metric(name) for name in wanted}) != wanted:  # it says one after the other
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        assert running.metric("midwatch_drift_skipped_bytes_total") == 0
        assert not [line for line in running.errors if "the drift judge ended" in line]


def test_the_judge_ends_with_the_exporter(platform_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "s"
    write(state, load.load_platform(platform_file), predictions(START, 10))
    command = [
        sys.executable,
        "-P",
        "-m",
        "exporters.drift.worker",
        "--state",
        str(state),
        "--platform",
        str(platform_file),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def stream_of(tmp_path: Path, **settings: object) -> windows.Stream:
    drift = model.Drift(reference=Path("r"), features={"x": drift_spec.Feature.NUMERIC}, **settings)
    return windows.Stream(drift, Schema({"x": normal().features["x"].coarse}))


def test_a_sliding_window_is_the_sum_of_its_panes(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, window=30.0, panes=3)
    for pane in range(5):
        stream.take(predictions(START + 10 * pane, 10 * (pane + 1)))
    windows = list(stream.close(START + 100))
    assert [window.samples for window in windows] == [10, 30, 60, 90, 120]
    assert [window.end - START for window in windows] == [10, 20, 30, 40, 50]
    assert windows[-1].counts["x"].total == 120


def test_panes_of_long_ago_are_not_in_the_window(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, window=30.0, panes=3)
    stream.take(predictions(START, 10) + predictions(START + 300, 20))
    assert [window.samples for window in stream.close(START + 400)] == [10, 20]


def test_a_window_by_count_ends_when_it_is_full_or_its_time_is_over(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, window=3600.0, rows=100)
    stream.take(predictions(START, 250))
    assert [window.samples for window in stream.close(START + 20)] == [100, 100]
    assert list(stream.close(START + 20)) == []
    assert [window.samples for window in stream.close(START + 4000)] == [50]


def test_late_events_count_into_the_oldest_window_still_open(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, window=10.0)
    stream.take(predictions(START, 10))
    assert len(list(stream.close(START + 11.5))) == 1
    stream.take(predictions(START, 5) + predictions(START + 10, 10))
    assert [window.samples for window in stream.close(START + 100)] == [15]


def test_a_stream_goes_on_after_a_restart_unless_the_reference_is_another(tmp_path: Path) -> None:
    one, again = (stream_of(tmp_path, window=30.0, panes=3) for _ in range(2))
    one.take(predictions(START, 100) + predictions(START + 10, 100))
    list(one.close(START + 11.5))
    again.restore(one.saved())
    first, second = (next(stream.close(START + 100)) for stream in (one, again))
    assert (first.samples, first.end) == (second.samples, second.end) == (200, START + 20)
    assert (first.counts["x"].cells == second.counts["x"].cells).all()
    saved = one.saved()
    saved.reference = "another"
    anew = stream_of(tmp_path, window=30.0, panes=3)
    anew.restore(saved)
    assert anew.saved().open == []


def test_predictions_and_scores_can_drift_too(tmp_path: Path) -> None:
    columns = {"prediction": ["a", "b"] * 500, "score": np.linspace(0, 1, 1000)}
    kinds = {"prediction": drift_spec.Feature.CATEGORICAL, "score": drift_spec.Feature.NUMERIC}
    made = fitting.fit(columns, kinds, window_rows=100)
    stream = windows.Stream(model.Drift(reference=Path("r"), features=kinds, window=10.0), Schema(made.features))
    events_ = predictions(START, 100)
    for event in events_:
        event.score = 0.99
    stream.take(events_)
    (window,) = stream.close(START + 100)
    assert window.counts["prediction"].cells.tolist() == [100, 0, 0]
    assert window.counts["score"].total == 100


@cache
def independent() -> reference.Reference:
    """A reference of two normal features without dependence."""
    columns = dict(zip("xy", np.random.default_rng(1).normal(size=(2, 20_000)), strict=True))
    return fitting.fit(columns, dict.fromkeys("xy", drift_spec.Feature.NUMERIC), window_rows=1000)


@pytest.fixture
def rows_platform_file(tmp_path: Path, make_document) -> Path:
    """Two features without dependence, watched by methods that see dependence."""
    reference_file.save(independent(), tmp_path / "r.npz")
    document = make_document()
    document["models"][0]["drift"] = {
        "reference": "r.npz",
        "window": "20s",
        "panes": 2,
        "min_samples": 500,
        "features": {"x": "numeric", "y": "numeric"},
        "methods": ["mmd", "classifier"],
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def dependent(start: float, correlation: float) -> list[events.Prediction]:
    group = predictions(start, 1000)
    other = np.random.default_rng(int(start) + 1).normal(size=len(group))
    for event, noise in zip(group, other.tolist(), strict=True):
        event.features["y"] = correlation * event.features["x"] + (1 - correlation**2) ** 0.5 * noise
    return group


def test_methods_that_look_at_rows_vote_live_and_after_a_restart(rows_platform_file: Path) -> None:
    judge = judge_of(rows_platform_file)
    judge.take(dependent(START, 0.0))
    judge.close(START + 11.5)
    assert value(judge, "ml_drift_votes") == 0
    judge.take(dependent(START + 10, 0.9))
    again = through_a_file(judge, rows_platform_file.parent)
    for one in (judge, judge_of(rows_platform_file, again)):
        one.close(START + 21.5)
        assert value(one, "ml_drift_votes") == 2
        assert value(one, "ml_drift_window_samples") == 2000
        assert value(one, "ml_drift_effect", feature="all features", method="classifier") > 0.05


def test_methods_that_look_at_rows_refuse_a_reference_of_other_features(rows_platform_file: Path, caplog) -> None:
    text = rows_platform_file.read_text().replace("y: numeric", "")
    rows_platform_file.write_text(text)
    assert judge_of(rows_platform_file).is_failing
    assert "fraud" in caplog.text
    assert "not watched: y" in caplog.text


def test_one_trigger_per_episode_however_often_the_process_is_killed(platform_file: Path, tmp_path, receiver) -> None:
    (tmp_path / "url").write_text(receiver.url)
    (tmp_path / "secret").write_text("a secret of some length")
    document = yaml.safe_load(platform_file.read_text())
    target = {"after": "2 windows", "webhook": {"url_file": "url", "secret_file": "secret"}}
    document["models"][0]["drift"]["retrain"] = target
    platform_file.write_text(yaml.safe_dump(document))
    state = tmp_path / "s"
    groups = [predictions(START + 10 * window, 200, shift=3) for window in range(6)]
    write(state, load.load_platform(platform_file), *groups)
    command = [
        sys.executable,
        "-P",
        "-m",
        "exporters.drift.worker",
        "--state",
        str(state),
        "--platform",
        str(platform_file),
    ]
    for _ in range(3):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        sent = 0.0
        while not sent and time.monotonic() < deadline:
            groups = json.loads(process.stdout.readline()).get("groups", [])
            for where, values in groups:
                sent += values.get("midwatch_retrain_triggers_total", 0.0) if where.get("result") == "sent" else 0.0
        process.kill()
        process.communicate()
        assert sent == 1
    assert len(receiver.requests) == 1


def test_a_feature_that_could_not_be_judged_is_said_to_be_so(platform_file: Path) -> None:
    slow = np.repeat(np.random.default_rng(1).normal(size=100), 50)
    made = fitting.fit({"x": slow}, {"x": drift_spec.Feature.NUMERIC}, window_rows=200)
    reference_file.save(made, platform_file.parent / "r.npz")
    judge = judge_of(platform_file)
    held = predictions(START, 200)
    for event in held:
        event.features["x"] = float(slow.max())
    judge.take(held)
    assert judge.close(START + 11.5)
    assert value(judge, "ml_drift_windows_total", verdict="inconclusive") == 1
    assert value(judge, "ml_drift_judged", feature="x") == 0
    assert value(judge, "ml_drift_smallest_seen_effect", feature="x", method="ks") > 0.68
    assert value(judge, "ml_drift_rows_needed", feature="x") > 200
    judge.take(predictions(START + 10, 10))
    judge.close(START + 21.5)
    assert value(judge, "ml_drift_judged", feature="x") is None, "too few samples say nothing of what could be judged"


def test_a_feature_that_was_judged_is_said_to_be_so(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    judge.take(predictions(START, 200))
    judge.close(START + 11.5)
    assert value(judge, "ml_drift_judged", feature="x") == 1
    assert 0 < value(judge, "ml_drift_smallest_seen_effect", feature="x", method="ks") < 0.68
    assert value(judge, "ml_drift_rows_needed", feature="x") is None


def raw(generator: np.random.Generator, count: int) -> list[dict[str, events.Value | None]]:
    """Features as clients send them: numbers of all kinds, missing ones, texts where numbers are wanted, flags."""
    numbers = [0.5, -1, 3, True, None, "12", float("inf"), float("nan"), 2**60]
    rows = []
    for index in range(count):
        row = {name: float(value) for name, value in zip("xy", generator.normal(size=2), strict=True)}
        row["k"] = ["UA", "AA", "ZZ", None, 7, True][index % 6]
        if index % 3 == 0:
            row["x"] = numbers[index // 3 % len(numbers)]
        if index % 5 == 0:
            del row["y"]
        rows.append(row)
    return rows


def test_rows_that_are_packed_count_as_each_value_by_itself_however_they_come() -> None:
    """So statistics of KS, PSI and every other method are those of the same rows before they were packed."""
    generator = np.random.default_rng(5)
    columns = {
        "x": generator.normal(size=4000),
        "y": generator.normal(size=4000).round(1),
        "k": generator.choice(["UA", "AA", "7", "True"], 4000).tolist(),
        "score": generator.uniform(size=4000),
    }
    kinds = {name: drift_spec.Feature.CATEGORICAL if name == "k" else drift_spec.Feature.NUMERIC for name in columns}
    made = fitting.fit(columns, kinds, window_rows=400)
    coarse = {name: feature.coarse for name, feature in made.features.items()}
    drift = model.Drift(reference=Path("r"), features=kinds, window=10.0)
    group = predictions(START, 1700)
    for event, row in zip(group, raw(generator, len(group)), strict=True):
        event.features, event.score = row, row.get("y") and 0.25
    stream = windows.Stream(drift, Schema(coarse, made.joint.embedding))
    for start, end in [(0, 1), (1, 400), (400, 1650), (1650, 1700)]:
        stream.take(group[start:end])
        again = windows.Stream(drift, Schema(coarse, made.joint.embedding))
        again.restore(stream.saved())
        stream = again
    (window,) = stream.close(START + 100)
    values = {name: [event.features.get(name) for event in group] for name in "xyk"}
    values["score"] = [event.score for event in group]
    for name, feature in coarse.items():
        wanted, found = feature.count(values[name]), window.counts[name]
        assert found.cells.tolist() == wanted.cells.tolist(), name
        assert (found.missing, found.wrong_type) == (wanted.missing, wanted.wrong_type), name
        for method in reference.COMPARISONS:
            if feature.kind in reference.COMPARISONS[method].features:
                assert feature.compare(method, found) == feature.compare(method, wanted)
    numeric = {name: counts.numbers(values[name])[0] for name in ("x", "y", "score")}
    held = sample.Sample.empty(made.joint.embedding.width).taking(
        np.fromiter(sample.hashes(event.id for event in group), np.uint64),
        made.joint.embedding,
        lambda places: {
            name: numeric[name][places] if name in numeric else [values[name][place] for place in places]
            for name in values
        },
    )
    assert (window.rows.keys == held.keys).all()
    assert (window.rows.rows == held.rows).all()


def test_windows_that_the_release_before_kept_are_gone_on_with(platform_file: Path, tmp_path: Path) -> None:
    models = references.Unwatched(load.load_platform(platform_file), platform_file.parent).usable()
    group = predictions(START, 200)
    feature = models["fraud"].reference.features["x"]
    counted = feature.count([event.features["x"] for event in group])
    pane = {"start": START, "samples": 200, "counts": {"x": [counted.cells.tolist(), 0, 0]}, "rows": None}
    other = {"start": START, "samples": 5, "counts": {"x": [[1, 2, 3], 0, 0]}, "rows": None}
    where = {"model": "fraud", "version": "v1"}
    kept = {
        "segment": 3,
        "offset": 99,
        "streams": [["fraud", "v1", {"after": START, "open": [pane, other], "closed": []}]],
        "gauges": [
            ["ml_drift_window_end_timestamp_seconds", where, START - 1],
            ["ml_drift_window_samples", where, 77.0],
            ["ml_drift_votes", where, 2.0],
            ["ml_drift_effect", {**where, "feature": "x", "method": "ks"}, 0.5],
        ],
        "verdicts": [["fraud", "v1", "drift", 4]],
        "retraining": {},
        "halves": [],
    }
    (tmp_path / "windows.json").write_text(json.dumps(kept))
    judge = judge_of(platform_file, worker.restored(tmp_path, models))
    assert judge.position == journal.Position(3, 99)
    assert value(judge, "ml_drift_votes") == 2
    assert value(judge, "ml_drift_effect", feature="x", method="ks") == 0.5
    assert value(judge, "ml_drift_windows_total", verdict="drift") == 4
    judge.close(START + 11.5)
    assert value(judge, "ml_drift_window_samples") == 200
    assert value(judge, "ml_drift_windows_total", verdict="stable") == 1
    assert worker.Keeper(tmp_path, judge).keep()
    assert not (tmp_path / "windows.json").exists(), "the next process reads what this one keeps"
