"""The drift judge beside the exporter: it reads the journal, judges windows, and goes on after kill -9."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from exporters import driftworker, events, journal
from exporters.store import Store
from midwatch.spec import load, model
from monitors.drift import reference

START = 1_700_000_000.0


@pytest.fixture
def platform_file(tmp_path: Path, make_document) -> Path:
    columns = {"x": np.random.default_rng(1).normal(size=5000)}
    reference.save(reference.fit(columns, {"x": model.Feature.NUMERIC}, window_rows=200), tmp_path / "r.npz")
    document = make_document()
    document["models"][0]["drift"] = {
        "reference": "r.npz", "window": "10s", "min_samples": 50, "features": {"x": "numeric"},
    }  # fmt: skip
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


def judge_of(platform_file: Path, saved: driftworker.Saved | None = None) -> driftworker.Judge:
    return driftworker.Judge(load.load_platform(platform_file), platform_file.parent, saved or driftworker.Saved())


def value(judge: driftworker.Judge, name: str, **labels: str) -> float | None:
    wanted = {"model": "fraud", "version": "v1"} | labels
    return next((number for found, where, number in judge.samples() if found == name and where == wanted), None)


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


def test_a_window_with_too_little_takes_the_last_votes_away(platform_file: Path) -> None:
    judge = judge_of(platform_file)
    judge.take(predictions(START, 200, shift=3) + predictions(START + 10, 10))
    judge.close(START + 11.5)
    assert value(judge, "ml_drift_votes") == 2
    judge.close(START + 21.5)
    assert value(judge, "ml_drift_votes") is None
    assert value(judge, "ml_drift_windows_total", verdict="inconclusive") == 1


def test_a_restart_in_the_middle_of_a_window_changes_nothing(platform_file: Path, tmp_path: Path) -> None:
    platform = load.load_platform(platform_file)
    group = predictions(START, 300)
    write(tmp_path / "s", platform, group[:100], group[100:])
    through = judge_of(platform_file)
    driftworker._read(through, tmp_path / "s")
    halfway = judge_of(platform_file)
    halfway.take(group[:100])
    halfway.position = next(journal.follow(tmp_path / "s", journal.Position(0, 0))).end
    restarted = judge_of(platform_file, halfway.saved())
    driftworker._read(restarted, tmp_path / "s")
    assert restarted.position == through.position
    through.close(START + 100)
    restarted.close(START + 100)
    assert restarted.samples() == through.samples()


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
    command = [sys.executable, "-m", "exporters.driftworker", "--state", str(state), "--platform", str(platform_file)]
    for expected in (1.0, 1.0):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        windows, deadline = None, time.monotonic() + 20
        while windows != expected and time.monotonic() < deadline:
            samples = json.loads(process.stdout.readline())["samples"]
            windows = sum(number for name, _, number in samples if name == "ml_drift_windows_total")
        process.kill()
        process.communicate()
        assert windows == expected


def test_the_judge_ends_with_the_exporter(platform_file: Path, tmp_path: Path) -> None:
    state = tmp_path / "s"
    write(state, load.load_platform(platform_file), predictions(START, 10))
    command = [sys.executable, "-m", "exporters.driftworker", "--state", str(state), "--platform", str(platform_file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
