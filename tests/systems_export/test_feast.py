"""Feature views of Feast: what a real one said, what it may say, and the process that says it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporters.systems.kinds import feast
from midwatch.errors import MidwatchError
from midwatch.spec.observed.feast import FeastObserved, ViewPromise

RECORDED = Path(__file__).parent / "recorded" / "feast-0.67.0.json"
"""What Feast 0.67.0 said of the repository that `feast init` makes, after `feast materialize-incremental`."""


def by_view(samples: Any, name: str) -> dict[str, float]:
    return {one.labels["feature_view"]: one.value for one in samples if one.metric.name == f"feast_feature_view_{name}"}


def samples(views: Any, **promises: ViewPromise) -> list[Any]:
    return [*(sample for view in views for sample in feast.of_view(view)), *feast.promised(promises, views)]


def states(views: Any) -> dict[str, str]:
    told = [one for one in samples(views) if one.metric.name == "feast_feature_view_source_state" and one.value]
    return {one.labels["feature_view"]: one.labels["state"] for one in told}


def view(**changes: Any) -> feast.View:
    known = {"name": "spending", "ttl_seconds": None, "materialized_until": None, "newest_event": None}
    return feast.View(**{**known, **changes})


def test_what_a_real_feast_said_is_published_as_timestamps() -> None:
    views = feast.views_of(RECORDED.read_bytes())
    hourly, both = "driver_hourly_stats", {"driver_hourly_stats", "driver_hourly_stats_fresh"}
    every = samples(views, **{hourly: ViewPromise(fresh_within=3600.0, materialized_within=7200.0)})
    assert by_view(every, "newest_event_timestamp_seconds") == dict.fromkeys(both, 1795798800.0)
    assert by_view(every, "materialized_until_timestamp_seconds") == dict.fromkeys(both, 1795132800.0)
    assert by_view(every, "ttl_seconds") == dict.fromkeys(both, 86400.0)
    assert by_view(every, "event_due_timestamp_seconds") == {hourly: 1795798800.0 + 3600}
    assert by_view(every, "materialization_due_timestamp_seconds") == {hourly: 1795132800.0 + 7200}
    assert states(views) == {**dict.fromkeys(both, "read"), "driver_quality_labels": "empty"}


def test_what_never_happened_has_no_timestamp_and_is_said() -> None:
    every = samples([view()], spending=ViewPromise(fresh_within=60.0, materialized_within=60.0))
    assert by_view(every, "never_materialized") == {"spending": 1}
    assert not [one for one in every if one.metric.name.endswith("_timestamp_seconds")]


def test_a_source_that_cannot_be_read_is_said_and_hides_no_other() -> None:
    assert states([view(problem="OSError: denied"), view(name="b", newest_event=5.0)]) == {
        "spending": "unreadable",
        "b": "read",
    }


def test_a_view_that_is_pushed_to_has_no_materialization_that_is_due() -> None:
    every = samples([view(newest_event=5.0)], spending=ViewPromise(fresh_within=60.0))
    assert by_view(every, "never_materialized") == {}
    assert by_view(every, "event_due_timestamp_seconds") == {"spending": 65}


def test_the_inventory_decides_what_is_missing() -> None:
    promise = ViewPromise(fresh_within=60.0)
    assert by_view(samples([view()], spending=promise, gone=promise), "missing") == {"spending": 0, "gone": 1}


# The process -------------------------------------------------------------------------------------------------------


def source(python: str, repository: Path, timeout: float = 60.0) -> feast.Feast:
    return feast.Feast(FeastObserved(python=Path(python), repository=repository, timeout=timeout))


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo no such registry >&2; exit 1", "no such registry"),
        ("exit 3", "exit code 3"),
        ("echo hello", "cannot be read"),
        ("echo '{}'", "cannot be read"),
        ("""echo '{"views": [{"name": 1}]}'""", "cannot be read"),
    ],
)
def test_what_is_no_answer_is_an_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match=said):
        source(program(tmp_path, text), tmp_path).read(0.0)


def test_an_interpreter_without_feast_says_so(tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="No module named 'feast'"):
        source(sys.executable, tmp_path).read(0.0)


def test_an_interpreter_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="cannot be started"):
        source(str(tmp_path / "gone"), tmp_path).read(0.0)


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="within 1 s"):
        source(program(tmp_path, "exec sleep 600"), tmp_path, timeout=1.0).read(0.0)


def test_a_real_feast_is_read(tmp_path: Path) -> None:
    python = os.environ.get("MIDWATCH_FEAST_PYTHON")
    if not python:
        pytest.skip("MIDWATCH_FEAST_PYTHON names no interpreter that has Feast")
    command = str(Path(python).parent / "feast")
    assert shutil.which(command)
    subprocess.run([command, "init", "shop"], cwd=tmp_path, check=True, capture_output=True)
    repository = tmp_path / "shop" / "feature_repo"
    subprocess.run([command, "apply"], cwd=repository, check=True, capture_output=True)
    every = source(python, repository, timeout=120.0).read(0.0)
    recorded = {one["name"] for one in json.loads(RECORDED.read_text())["views"]}
    assert {one.labels["feature_view"] for one in every} == recorded
    assert by_view(every, "newest_event_timestamp_seconds").keys() == {
        "driver_hourly_stats",
        "driver_hourly_stats_fresh",
    }
