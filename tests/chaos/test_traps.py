"""Traps of Chaos Toolkit that were seen, and that we do not fall into. Those not here: see the end of the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chaoslib.hypothesis import within_tolerance

from chaos.run import verdict
from chaos.run.verdict import Verdict
from midwatch import evidence, processes
from tests.chaos import paper
from tests.conftest import midwatch_here

MODULE = "tests.chaos.toy"


def python(function: str, kind: str = "action", **more: Any) -> dict[str, Any]:
    arguments = more.pop("arguments", {})
    provider = {"type": "python", "module": MODULE, "func": function, "arguments": arguments}
    return {"type": kind, "name": function, "provider": provider, **more}


def process(path: str, arguments: str = "") -> dict[str, Any]:
    provider = {"type": "process", "path": path, "arguments": arguments}
    return {"type": "action", "name": path, "provider": provider}


def hypothesis(*probes: dict[str, Any]) -> dict[str, Any]:
    return {"steady-state-hypothesis": {"title": "steady", "probes": list(probes)}}


YES = python("is_true", "probe", tolerance=True)
NO = python("is_false", "probe", tolerance=True)


def start(folder: Path, home: Path | None = None, **parts: Any) -> subprocess.Popen[bytes]:
    document = {"version": "1.0.0", "title": "toy", "description": "toy", "method": [], "rollbacks": [], **parts}
    (folder / "experiment.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "chaos.run.runner", str(folder / "experiment.json")]
    command += ["--journal", str(folder / "journal.json"), "--log", str(folder / "evidence.jsonl")]
    environment = {**os.environ, "TOY": str(folder), **({"HOME": str(home)} if home else {})}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def judged(folder: Path, *, stopped: str = "", **parts: Any) -> tuple[verdict.Judgement, dict[str, Any]]:
    assert start(folder, **parts).wait(60) == 0
    journal = json.loads((folder / "journal.json").read_text())
    said = verdict.judge(journal, stopped=stopped, deviation=False, problems=[], within=within_tolerance)
    return said, journal


def test_a_good_run_has_held(tmp_path: Path) -> None:
    said, journal = judged(tmp_path, method=[python("touch")], rollbacks=[python("touch")], **hypothesis(YES))
    assert (said.verdict, said.reasons) == (Verdict.HELD, ())
    kinds = [one.kind for one in evidence.read(tmp_path / "evidence.jsonl")]
    assert kinds[0] == "activity-started"
    assert "method-started" in kinds
    assert "rollbacks-started" in kinds
    assert journal["status"] == "completed"


@pytest.mark.parametrize(
    ("action", "reason"),
    [(process("sh", "-c 'exit 3'"), "ended with code 3"), (python("fail"), "boom")],
    ids=["exit 3", "raises"],
)
def test_an_action_that_failed_is_never_completed(tmp_path: Path, action: dict[str, Any], reason: str) -> None:
    said, journal = judged(tmp_path, method=[action], **hypothesis(YES))
    assert journal["status"] == "completed", "what Chaos Toolkit says"
    assert said.verdict is Verdict.INCONCLUSIVE
    assert reason in said.reasons[0]


def test_a_run_that_left_no_journal_is_inconclusive(tmp_path: Path) -> None:
    assert start(tmp_path, method=[process("/no/such/program")]).wait(60) != 0
    assert not (tmp_path / "journal.json").exists()
    said = verdict.judge(None, stopped="", deviation=False, problems=[], within=within_tolerance)
    assert (said.verdict, said.reasons) == (Verdict.INCONCLUSIVE, ("the runner left no journal",))


def test_a_rollback_that_failed_is_a_deviation(tmp_path: Path) -> None:
    said, journal = judged(tmp_path, method=[python("touch")], rollbacks=[python("fail")], **hypothesis(YES))
    assert journal["status"] == "completed", "what Chaos Toolkit says"
    assert said.verdict is Verdict.DEVIATED
    assert "rollback fail: RuntimeError: boom" in said.reasons[0]


def test_a_steady_state_that_was_not_there_is_inconclusive_and_nothing_was_injected(tmp_path: Path) -> None:
    said, journal = judged(tmp_path, method=[python("touch", arguments={"name": "hit"})], **hypothesis(NO))
    assert said.verdict is Verdict.INCONCLUSIVE
    assert "not there to begin with" in said.reasons[0]
    assert not (tmp_path / "hit").exists()
    assert journal["run"] == []


def test_a_steady_state_that_is_gone_afterwards_is_a_deviation(tmp_path: Path) -> None:
    gone = python("is_missing", "probe", tolerance=True, arguments={"name": "hit"})
    said, _ = judged(tmp_path, method=[python("touch", arguments={"name": "hit"})], **hypothesis(gone))
    assert said.verdict is Verdict.DEVIATED
    assert "after it, is_missing: no" in said.reasons[0]


def test_a_probe_that_cannot_tell_is_no_proof(tmp_path: Path) -> None:
    cannot = python("fails_later", "probe", tolerance=True)
    said, _ = judged(tmp_path, method=[python("touch")], **hypothesis(cannot))
    assert said.verdict is Verdict.INCONCLUSIVE
    assert "after it, fails_later: " in said.reasons[0]


def test_a_probe_of_the_method_is_held_to_its_tolerance(tmp_path: Path) -> None:
    said, journal = judged(tmp_path, method=[python("touch"), NO], **hypothesis(YES))
    assert (journal["status"], journal["deviated"]) == ("completed", False), "what Chaos Toolkit says"
    assert said.verdict is Verdict.DEVIATED
    assert said.reasons == ("is_false: no (no)",)


def test_a_method_without_an_action_has_shown_nothing(tmp_path: Path) -> None:
    said, _ = judged(tmp_path, method=[YES], **hypothesis(YES))
    assert (said.verdict, said.reasons) == (Verdict.INCONCLUSIVE, ("no action was run",))


def test_a_settings_file_in_the_home_directory_has_no_say(tmp_path: Path) -> None:
    """Nor has the experiment's own `runtime`: rollbacks always run, after a failure too."""
    (tmp_path / ".chaostoolkit").mkdir()
    settings = {"runtime": {"rollbacks": {"strategy": "never"}}, "controls": {"c": {"provider": {"module": "nowhere"}}}}
    (tmp_path / ".chaostoolkit" / "settings.yaml").write_text(json.dumps(settings))
    parts = {"method": [python("fail")], "rollbacks": [python("touch", arguments={"name": "back"})]}
    parts["runtime"] = {"rollbacks": {"strategy": "never"}}  # type: ignore[assignment]
    start(tmp_path, home=tmp_path, **parts, **hypothesis(YES)).wait(60)
    assert (tmp_path / "back").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["a pod is stopped", "we stop"])
def test_rollbacks_run_when_it_is_stopped_and_a_running_action_is_not_waited_for(
    tmp_path: Path, number: signal.Signals
) -> None:
    parts = {"method": [python("sleep")], "rollbacks": [python("touch", arguments={"name": "back"})]}
    running = start(tmp_path, **parts)
    assert processes.wait_until((tmp_path / "sleeps").exists, 60)
    begun = time.monotonic()
    running.send_signal(number)
    running.wait(60)
    assert time.monotonic() - begun < 20, "the action sleeps for a minute"
    assert (tmp_path / "back").exists()
    journal = json.loads((tmp_path / "journal.json").read_text())
    said = verdict.judge(journal, stopped="stopped", deviation=False, problems=[], within=within_tolerance)
    assert said.verdict is Verdict.INCONCLUSIVE


def test_each_experiment_has_a_process_of_its_own() -> None:
    """Chaos Toolkit runs in a main thread and keeps global controls: only the runner may run it."""
    code = (
        "import sys, chaos.run.supervisor, chaos.cli, chaos.actions, chaos.probes; print('chaoslib.run' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"dry": "actions"}, "dry has no effect"), (hypothesis(python("is_true", "probe", tolerance=0.5)), "tolerance")],
    ids=["dry as text", "a bare float as tolerance"],
)
def test_a_file_that_would_not_do_what_it_says_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with paper.running(tmp_path) as plane:
        file = plane.experiment(python("touch"), **change)
        done = midwatch_here("chaos", "plan", file, "--state", plane.state)
    assert done.returncode == 2
    assert message in done.stderr


# A precondition that raises fails closed:             test_preconditions.py
# An abort ends grandchildren:                         test_watchdog.py, test_runs.py
# kill -9 of the runner leaves no fault:               test_watchdog.py, test_runs.py
# An activity without an end is stopped:               test_watchdog.py (it takes longer than it may)
# All objectives are looked at, not only the first:    test_probes.py
# Durations do not follow a clock that is set:         test_runs.py
# Every pod is never a target; 403 is not completed:   test_cluster.py
