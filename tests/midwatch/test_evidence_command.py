"""`midwatch evidence verify`: one command for the evidence of every part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midwatch.evidence import Log
from tests.conftest import midwatch_here


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder with the logs of an experiment, of drills and of the gate, and with files that are none."""
    for name in ("chaos/evidence.jsonl", "dr/evidence.jsonl", "gate/audit.jsonl", "other/kept.jsonl"):
        log = Log(tmp_path / name)
        log.append("begun", name=name)
        log.append("ended", name=name)
    (tmp_path / "deliveries.jsonl").write_text('{"channel": "oncall"}\n')
    return tmp_path


def test_every_log_of_a_folder_is_checked(state: Path) -> None:
    done = midwatch_here("evidence", "verify", state, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (0, True)
    found = {str(Path(log["log"]).relative_to(state)): log["records"] for log in document["logs"]}
    expected = ("chaos/evidence.jsonl", "dr/evidence.jsonl", "gate/audit.jsonl", "other/kept.jsonl")
    assert found == dict.fromkeys(expected, 2)
    assert all(log["head"]["seq"] == 1 for log in document["logs"])


@pytest.mark.parametrize("name", ["chaos/evidence.jsonl", "gate/audit.jsonl"])
def test_a_changed_record_is_named_with_its_line(state: Path, name: str) -> None:
    log = state / name
    log.write_text(log.read_text().replace('"kind":"ended"', '"kind":"undone"'))
    done = midwatch_here("evidence", "verify", state)
    assert done.returncode == 1
    assert f"{log}:2: record 1 is not what was written" in done.stderr
    assert f"{log}: 2 records" in done.stdout


def test_a_log_in_which_no_record_is_left_is_not_passed_over(state: Path) -> None:
    (state / "dr/evidence.jsonl").write_text("rubbish\n")
    assert midwatch_here("evidence", "verify", state).returncode == 1


def test_a_log_with_a_key_is_whole_only_with_that_key(tmp_path: Path) -> None:
    log, key = tmp_path / "evidence.jsonl", tmp_path / "key"
    key.write_text("secret\n")
    Log(log, key=b"secret").append("begun")
    assert midwatch_here("evidence", "verify", log, "--key-file", key).returncode == 0
    assert midwatch_here("evidence", "verify", log).returncode == 1


@pytest.mark.parametrize("made", [None, "folder"], ids=["no file", "no log in the folder"])
def test_nothing_to_check_is_no_pass(tmp_path: Path, made: str | None) -> None:
    path = tmp_path / (made or "x.jsonl")
    if made:
        path.mkdir()
    done = midwatch_here("evidence", "verify", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(path) in done.stderr


def test_a_log_without_a_record_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").touch()
    done = midwatch_here("evidence", "verify", tmp_path)
    assert (done.returncode, done.stdout.count("nothing is proven by it")) == (3, 1)


def test_a_log_that_was_cut_off_does_not_have_the_head_that_was_kept(state: Path) -> None:
    log = state / "gate" / "audit.jsonl"
    head = json.loads(midwatch_here("evidence", "verify", log, "--json").stdout)["logs"][0]["head"]
    kept = f"{head['seq']}:{head['hash']}"
    assert midwatch_here("evidence", "verify", log, "--head", kept).returncode == 0
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    assert midwatch_here("evidence", "verify", log).returncode == 0
    assert midwatch_here("evidence", "verify", log, "--head", kept).returncode == 1
    assert midwatch_here("evidence", "verify", state, "--head", kept).returncode == 2
