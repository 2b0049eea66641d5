"""A recording of the real program says whether a system's folder is true."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch import system_check, system_recordings
from midwatch.spec import system_rules
from midwatch.spec.systems import SystemFile
from tests.systems.conftest import NAMES
from tests.systems.test_faults_in_a_folder import GOOD

BUSY = """
# HELP queue_depth Waiting.
# TYPE queue_depth gauge
queue_depth{state="new",topic="a"} 3.0
# HELP queue_failures_total Failed.
# TYPE queue_failures_total counter
queue_failures_total{topic="a"} 1.0
# HELP queue_wait_seconds Wait.
# TYPE queue_wait_seconds histogram
queue_wait_seconds_bucket{le="1.0",topic="a"} 1.0
queue_wait_seconds_bucket{le="5.0",topic="a"} 1.0
queue_wait_seconds_bucket{le="10.0",topic="a"} 1.0
queue_wait_seconds_bucket{le="+Inf",topic="a"} 1.0
queue_wait_seconds_count{topic="a"} 1.0
queue_wait_seconds_sum{topic="a"} 0.5
# HELP queue_workers Workers.
# TYPE queue_workers gauge
queue_workers{zone="z"} 3.0
"""


def found(
    folder: Path, recordings: dict[str, str], change: Callable[[dict[str, Any]], Any] = lambda _: None
) -> list[str]:
    """What a good folder with recordings has of problems after a change."""
    described = copy.deepcopy(GOOD)
    change(described)
    (folder / "runbooks").mkdir(parents=True)
    (folder / "recordings").mkdir()
    (folder / "runbooks" / "QueueLong.md").write_text("# QueueLong\n")
    (folder / "system.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    for name, text in recordings.items():
        (folder / "recordings" / name).write_text(text)
    return [problem.message for problem in system_check.check_folder(folder)]


def test_a_folder_that_says_what_was_recorded_has_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path / "queue", {"3.0.prom": BUSY}) == []


DIFFERENT: dict[str, tuple[str, str, str]] = {
    "another kind": ("queue_depth gauge", "queue_depth counter", "queue_depth is a counter, not a gauge"),
    "another label": ('zone="z"', 'zone="z",rack="r"', "queue_workers has the label rack"),
    "other bounds": ('le="5.0"', 'le="6.0"', "queue_wait_seconds has other bounds"),
    "a name of another version": (
        "queue_workers",
        "queue_consumers",
        "queue_consumers was recorded, and the folder says that this version has none",
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_was_recorded_otherwise_is_found(what: str, tmp_path: Path) -> None:
    here, there, message = DIFFERENT[what]
    assert found(tmp_path / "queue", {"3.0.prom": BUSY.replace(here, there)}) == [f"recordings/3.0.prom: {message}"]


def test_a_counter_that_was_there_at_0_is_not_born_at_one(tmp_path: Path) -> None:
    idle = BUSY.replace('queue_failures_total{topic="a"} 1.0', 'queue_failures_total{topic="a"} 0.0')
    assert found(tmp_path / "queue", {"3.0.prom": BUSY, "3.0-idle.prom": idle}) == [
        "recordings/3.0-idle.prom: queue_failures_total is there at 0 before any event"
    ]


def test_a_counter_of_which_a_series_appeared_is(tmp_path: Path) -> None:
    busy = BUSY.replace("# HELP queue_wait", 'queue_failures_total{topic="b"} 1.0\n# HELP queue_wait')

    def change(described: dict[str, Any]) -> None:
        described["metrics"]["queue_failures_total"]["born_at_one"] = False

    assert found(tmp_path / "one", {"3.0.prom": busy, "3.0-idle.prom": BUSY}) == []
    assert found(tmp_path / "two", {"3.0.prom": busy, "3.0-idle.prom": BUSY}, change) == [
        "recordings/3.0-idle.prom: queue_failures_total has series that appear with their first event"
    ]


def test_a_counter_of_what_was_not_there_before_tells_nothing(tmp_path: Path) -> None:
    idle = BUSY.replace('queue_failures_total{topic="a"} 1.0\n', "")

    def change(described: dict[str, Any]) -> None:
        described["metrics"]["queue_failures_total"]["born_at_one"] = False

    assert found(tmp_path / "queue", {"3.0.prom": BUSY, "3.0-idle.prom": idle}, change) == []


@pytest.mark.parametrize(("name", "text"), [("new.prom", BUSY), ("3.0.prom", "queue_depth{ 3\n")])
def test_a_recording_that_is_none_is_one_problem(name: str, text: str, tmp_path: Path) -> None:
    (said,) = found(tmp_path / "queue", {name: text})
    assert name in said


def test_what_is_kept_of_a_recording_reads_as_the_same() -> None:
    text = "# TYPE go_goroutines gauge\ngo_goroutines 7\n# TYPE empty_total counter\n" + BUSY
    described = SystemFile.model_validate(GOOD)
    kept = system_recordings.written(text, "queue 3.0\nby hand", described)
    assert kept.startswith("# queue 3.0\n# by hand\n")
    again = system_recordings.written(kept, "queue 3.0\nby hand", described)
    assert again == kept
    assert "go_goroutines" not in kept
    assert "empty_total" not in kept
    assert 'queue_failures_total{topic="a"} 1.0\n' in kept


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_of_a_shipped_system_says_how_it_was_made(name: str) -> None:
    for recording in system_recordings.load(system_rules.folder(name)):
        assert recording.text.startswith("# ")
