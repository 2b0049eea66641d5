"""`midwatch loop episodes` and `show`, and what `serve` and `check` refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from monitors.loop.episode import Ended, Outcome, Step
from monitors.loop.episode_log import LOG, EpisodeLog
from tests.conftest import midwatch_here
from tests.loop.parts import ID, asked, began, document, platform, registered, seen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A platform file, and in the folder `state` an episode that waits for its run."""
    platform(tmp_path)
    log = EpisodeLog(tmp_path / "state")
    for record in (began(), *asked()):
        log.append(record)
    return tmp_path / "platform.yaml"


def test_an_episode_is_shown_with_what_is_not_observed_and_why(file: Path) -> None:
    done = midwatch_here("loop", "show", ID[:6], "-f", file, "--state", file.parent / "state")
    assert done.returncode == 3, done.stderr
    assert "fraud v3: drift of amount; open, retraining sent" in done.stdout
    run_started = next(line for line in done.stdout.splitlines() if "run started" in line)
    assert "not observed" in run_started and "systems.tekton has no observe" in run_started
    (asked_for,) = (line for line in done.stdout.splitlines() if line.startswith(" asked") or " asked " in line)
    assert "1970-01-01 00:18:20Z" in asked_for and "2m40s" in asked_for


def test_what_needs_the_version_is_not_waited_for_where_no_registry_says_which_one_it_is(file: Path) -> None:
    done = midwatch_here("loop", "show", ID, "-f", file, "--state", file.parent / "state", "--json")
    shown = json.loads(done.stdout)
    assert shown["waiting_for"] == "run_started"  # the next one, since nobody can be asked about any
    for step in ("deployed", "canary_begun", "all_traffic", "well"):
        assert shown["steps"][step]["state"] == "not_observed"
        assert "systems.mlflow has no observe" in shown["steps"][step]["why"]


def test_the_list_of_episodes_waits_for_the_step_that_show_waits_for(tmp_path: Path) -> None:
    observe = {"url": "http://127.0.0.1:1", "served_as": "v{version}"}
    written = document(systems={"mlflow": {"owner": "ml", "targets": ["m:1"], "observe": observe}})
    platform(tmp_path, written)
    log = EpisodeLog(tmp_path / "state")
    for record in (began(), *asked(), registered(), seen(Step.DEPLOYED, 1210.0), seen(Step.CANARY_BEGUN, 1220.0)):
        log.append(record)
    where = ("-f", tmp_path / "platform.yaml", "--state", tmp_path / "state")
    shown = json.loads(midwatch_here("loop", "show", ID, *where, "--json").stdout)
    assert (shown["waiting_for"], shown["steps"]["canary_judged"]["state"]) == ("promoted", "not_observed")
    assert "promoted" in midwatch_here("loop", "episodes", *where).stdout


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.BETTER, 0), (Outcome.FAILED, 1), (Outcome.UNDECIDED, 3)])
def test_the_exit_code_says_how_an_episode_ended(file: Path, outcome: Outcome, code: int) -> None:
    ended = Ended(episode=ID, outcome=outcome, cause="drift_gone", at=1500.0, said="so")
    EpisodeLog(file.parent / "state").append(ended)
    done = midwatch_here("loop", "show", ID, "-f", file, "--state", file.parent / "state", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (code, outcome.value)


def test_episodes_are_listed_as_one_document_with_their_times(file: Path) -> None:
    log = EpisodeLog(file.parent / "state")
    log.append(registered())
    log.append(seen(Step.WELL, 1400.0))
    done = midwatch_here("loop", "episodes", "-f", file, "--state", file.parent / "state", "--json")
    (episode,) = json.loads(done.stdout)["episodes"]
    assert (done.returncode, episode["new_version"], episode["times"]["T5"]) == (0, "v4", "1970-01-01T00:20:00.000Z")
    table = midwatch_here("loop", "episodes", "-f", file, "--state", file.parent / "state", "--model", "fraud")
    assert ID in table.stdout and "v4" in table.stdout


def test_a_log_that_was_changed_is_said_to_be(file: Path) -> None:
    path = file.parent / "state" / LOG
    path.write_text(path.read_text().replace('"attempt":1', '"attempt":2'))
    done = midwatch_here("loop", "episodes", "-f", file, "--state", file.parent / "state")
    assert done.returncode == 1 and "is not what was written" in done.stderr
    shown = midwatch_here("loop", "show", ID, "-f", file, "--state", file.parent / "state")
    assert shown.returncode == 1  # although the episode is open
    assert shown.stderr.count("is not what was written") == 1


def test_what_is_asked_for_wrongly_is_said_in_one_line(file: Path, tmp_path: Path) -> None:
    state = file.parent / "state"
    for words, said in (
        (("show", "zzz", "-f", file, "--state", state), f"no episode begins with 'zzz'; there are: {ID}"),
        (("episodes", "-f", file, "--state", state, "--model", "x"), "--model: there is no model 'x'; known: fraud"),
    ):
        done = midwatch_here("loop", *words)
        assert done.returncode == 2 and said in done.stderr
    empty = midwatch_here("loop", "episodes", "-f", file, "--state", tmp_path / "none")
    assert (empty.returncode, empty.stdout) == (0, f"no episode is on record in {tmp_path / 'none'}\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda written: written.pop("loop"), "nobody follows episodes without the section loop"),
        (lambda written: written["models"][0]["drift"].pop("retrain"), "no model has drift.retrain"),
    ],
    ids=["no loop", "nothing retrains"],
)
def test_a_part_of_the_loop_that_nothing_would_use_is_a_problem_with_its_place(
    tmp_path: Path, change: object, said: str
) -> None:
    written = document()
    written["models"][0]["loop"] = {"recover_within": "12h"}
    change(written)  # type: ignore[operator]
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    done = midwatch_here("loop", "episodes", "-f", tmp_path / "platform.yaml", "--state", tmp_path)
    assert done.returncode == 2 and said in done.stderr and "platform.yaml:" in done.stderr


def test_a_service_without_a_loop_to_follow_does_not_start(tmp_path: Path) -> None:
    written = document()
    del written["loop"]
    platform(tmp_path, written)
    done = midwatch_here("loop", "serve", "-f", tmp_path / "platform.yaml", "--state", tmp_path / "state")
    assert (done.returncode, done.stderr.strip()) == (
        2,
        f"{tmp_path / 'platform.yaml'}: it has no section loop; see docs/loop.md",
    )
