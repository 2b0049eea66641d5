"""What a run leaves is what the log says of it, and what is not is named, whatever was done to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chaos import kept
from chaos.places.place import Home
from midwatch import anchors, evidence
from tests.conftest import midwatch_here

KEY = b"secret"
RUNS = ("20261127T100000-aaaaaa", "20261127T110000-bbbbbb")


def ended(home: Home, run: str, verdict: str = "held") -> None:
    """A run that has left what runs leave."""
    folder, log = home.runs / run, evidence.Log(home.evidence, key=KEY)
    folder.mkdir(parents=True)
    for name in kept.BEFORE_THE_END:
        (folder / name).write_text(json.dumps({"run": run}))
    record = log.append(kept.ENDED, run=run, verdict=verdict, digests=kept.digests(folder, kept.BEFORE_THE_END))
    result = {"run": run, "verdict": verdict, "evidence_head": {"seq": record.seq, "hash": record.hash}}
    (folder / kept.RESULT).write_text(json.dumps(result))
    (folder / kept.REPORT).write_text(f"<p>{verdict}</p>")
    kept.seal(log, run, folder)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "state")
    for run in RUNS:
        ended(made, run)
    (tmp_path / "key").write_bytes(KEY)
    return made


def verified(home: Home, *options: object) -> tuple[int, list[str]]:
    key = home.state.parent / "key"
    done = midwatch_here("chaos", "verify-log", "--state", home.state, "--key-file", key, "--json", *options)
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)["problems"] if done.stdout else []
    return done.returncode, [f"{Path(one['file']).name}: {one['message']}" for one in found]


def test_what_nobody_touched_is_whole(home: Home) -> None:
    assert verified(home) == (0, [])


@pytest.mark.parametrize("how", ["changed", "emptied", "removed"])
@pytest.mark.parametrize("name", [*kept.BEFORE_THE_END, *kept.AFTER_IT, kept.HEAD])
def test_each_file_of_a_run_is_watched(home: Home, name: str, how: str) -> None:
    file = home.runs / RUNS[0] / name
    content = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(b"" if how == "emptied" else content[:8] + b"#" + content[9:])
    code, problems = verified(home)
    if name == kept.HEAD and how == "removed":
        assert (code, problems) == (0, [])  # a second place for what the log says, which a run that was killed lacks
        return
    assert code == 1
    assert {problem.partition(":")[0] for problem in problems} == {name}


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"evidence_head": 7}', "[" * 100_000, "7"], ids=str.__len__)
@pytest.mark.parametrize("name", [kept.RESULT, kept.HEAD])
def test_a_broken_file_is_a_finding_and_no_traceback(home: Home, name: str, content: str) -> None:
    (home.runs / RUNS[1] / name).write_text(content)
    code, problems = verified(home)
    assert (code, len(problems) > 0) == (1, True)


@pytest.mark.parametrize("changes", [{"digests": "x"}, {"digests": [1]}, {"verdict": None}, {"run": RUNS}], ids=str)
def test_a_record_that_somebody_changed_is_a_finding_and_no_traceback(home: Home, changes: dict[str, object]) -> None:
    lines = home.evidence.read_text().splitlines()
    document = json.loads(lines[0])
    document["data"] = {name: value for name, value in (document["data"] | changes).items() if value is not None}
    lines[0] = json.dumps(document, sort_keys=True, separators=(",", ":"))
    home.evidence.write_text("\n".join(lines) + "\n")
    code, problems = verified(home)
    assert code == 1
    assert "evidence.jsonl: record 0 is not what was written, or the key is another" in problems


def test_a_verdict_and_a_run_that_the_log_does_not_have_are_named(home: Home) -> None:
    run = home.runs / RUNS[1]
    result = json.loads((run / kept.RESULT).read_text())
    (run / kept.RESULT).write_text(json.dumps(result | {"verdict": "deviated"}))
    assert "result.json: the verdict is deviated, and the log says held" in verified(home)[1]
    shutil.copytree(home.runs / RUNS[0], home.runs / "another")
    assert "result.json: no record of the log tells that this run ended: cut off or replaced" in verified(home)[1]


@pytest.mark.parametrize("lines", [1, 2], ids=["what was kept", "and the end"])
def test_a_log_whose_end_was_cut_off_is_found_by_the_heads_in_the_runs(home: Home, lines: int) -> None:
    content = home.evidence.read_bytes().splitlines(keepends=True)
    home.evidence.write_bytes(b"".join(content[:-lines]))
    code, problems = verified(home)
    assert code == 1
    assert any("cut off" in problem for problem in problems)


def test_a_log_that_was_cut_with_the_run_is_found_by_a_head_elsewhere(home: Home, tmp_path: Path) -> None:
    head = evidence.head(home.evidence)
    assert head is not None
    anchors.keep(tmp_path / "heads", kept.log_name(home.evidence), head)
    assert verified(home, "--anchor-file", tmp_path / "heads") == (0, [])
    content = home.evidence.read_bytes().splitlines(keepends=True)
    home.evidence.write_bytes(b"".join(content[:-2]))
    shutil.rmtree(home.runs / RUNS[1])
    assert verified(home) == (0, [])
    code, problems = verified(home, "--anchor-file", tmp_path / "heads")
    assert (code, len(problems)) == (1, 1)
    assert verified(home, "--anchor-file", tmp_path / "heads", "--log-name", "another")[0] == 1


def test_an_empty_key_is_an_error_and_several_keys_are_taken(home: Home, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" ")
    command = ("chaos", "verify-log", "--state", home.state, "--key-file")
    assert midwatch_here(*command, tmp_path / "empty").returncode == 2
    evidence.Log(home.evidence, key=KEY).hand_over(b"next")
    (tmp_path / "next").write_bytes(b"next")
    assert midwatch_here(*command, tmp_path / "key").returncode == 1
    assert midwatch_here(*command, tmp_path / "key", "--key-file", tmp_path / "next").returncode == 0
