"""Experiments on a plane that runs: noticed, stopped, killed; whatever happens, nothing stays."""

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

from chaos.kinds import injection
from chaos.places.local.plane import LocalPlane
from chaos.run import current
from midwatch import evidence, processes
from midwatch.prometheus import Client
from tests import otlp_receiver
from tests.chaos.conftest import SmallPlane, running_with


def failed(document: dict[str, Any]) -> list[str]:
    return [one["name"] for one in document["activities"] if not one["good"]]


# Noticed or not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["kill-replica", "lose-prometheus"],
)
def test_a_fault_that_is_borne_and_noticed_has_held(plane: SmallPlane, name: str) -> None:
    _, planned = plane.chaos("plan", name)
    code, result = plane.chaos("run", name)
    assert (code, result["verdict"], result["reasons"], failed(result)) == (0, "held", [], [])
    assert result["hit"] == planned["hit"], "what was planned is what was hit"
    kinds = [one.kind for one in plane.records(result["run"])]
    assert kinds[:2] == ["run-requested", "guards"]
    assert kinds[-3:] == ["clean", "run-ended", "run-kept"]
    said = {one["name"]: one["said"] for one in result["activities"]}
    actions = [one["said"] for one in result["activities"] if one["phase"] == "method" and one["type"] == "action"]
    assert actions[0]["hit"] == planned["hit"]
    if result["expected_alert"].startswith(("Model", "Exporter")):
        noticed = next(one for name, one in said.items() if "reaches its receivers" in name)
        assert noticed["channels"] == ["oncall"]
    report = (Path(result["folder"]) / "report.html").read_text()
    assert result["evidence_head"]["hash"] in report


def test_a_fault_nobody_was_told_about_is_a_failed_experiment(plane: SmallPlane) -> None:
    code, result = plane.chaos("run", "never-noticed")
    assert (code, result["verdict"]) == (1, "deviated")
    assert any("ModelErrorsHigh reaches its receivers" in reason for reason in result["reasons"])


def test_the_results_are_metrics_a_trace_and_evidence_that_can_be_checked(plane: SmallPlane) -> None:
    begun = time.time()
    with otlp_receiver.over_http() as received:
        code, result = plane.chaos("run", "exhaust-memory", OTEL_EXPORTER_OTLP_ENDPOINT=received.endpoint)
        spans = {span.name: span for span in received.spans()}
    assert code == 0
    assert {"chaos run", "chaos action", "chaos probe"} <= set(spans)
    assert len({span.trace_id for span in spans.values()}) == 1, "one trace, over all processes"
    client = Client(plane.part("prometheus")["url"])

    def scraped() -> bool:
        verdict = client.value('chaos_experiment_verdict{experiment="exhaust-memory", verdict="held"}')
        return verdict == 1 and client.value('chaos_experiment_running{experiment="exhaust-memory"}') == 0

    assert processes.wait_until(scraped, 60)
    last = client.value('time() - chaos_experiment_last_held_timestamp_seconds{experiment="exhaust-memory"}')
    assert last is not None
    assert -1 < last < time.time() - begun + 1
    assert client.value('chaos_experiment_duration_seconds{experiment="exhaust-memory"}') == result["seconds"]
    listed = {one["experiment"]: one["last_verdict"] for one in plane.chaos("list")[1]["experiments"]}
    assert listed["exhaust-memory"] == "held"
    code, checked = plane.chaos("verify-log")
    assert (code, checked["problems"]) == (0, [])
    assert checked["heads_checked"] >= 1
    content = plane.log.read_bytes()
    try:
        plane.log.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
        code, cut = plane.chaos("verify-log")
        assert code == 1
        assert "cut off" in cut["problems"][0]["message"]
    finally:
        plane.log.write_bytes(content)


# Stopped -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sigterm", "switch"])
def test_a_stop_reverts_the_fault_before_the_command_ends(plane: SmallPlane, how: str) -> None:
    process = plane.started("lasting")
    if how == "switch":
        code, stopped = plane.chaos("stop")
        assert (code, stopped["problems"]) == (0, [])
    else:
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=90)
    result = json.loads(output)
    assert (process.returncode, result["verdict"], result["problems"]) == (3, "inconclusive", [])
    assert result["stopped"]
    assert processes.identify(plane.part("server-v1")["pid"]) is not None
    kinds = [one.kind for one in plane.records(result["run"])]
    assert kinds.count("stopping") == 1
    assert "fault-reverted" in [one.kind for one in evidence.read(plane.log)[-12:]]
    if how == "switch":
        code, refused = plane.chaos("run", "kill-replica")
        assert (code, refused["refused"]) == (3, True)
        assert "kill switch" in refused["reasons"][0]
        assert plane.chaos("stop", "--lift")[0] == 0


def test_too_many_errors_of_the_target_stop_the_experiment_as_a_deviation(plane: SmallPlane) -> None:
    code, result = plane.chaos("run", "beyond")
    assert (code, result["verdict"]) == (1, "deviated")
    assert "more than 2.0% errors and more than the control" in result["stopped"]


@pytest.mark.parametrize("who", ["watchdog", "command and runner"])
def test_kill_9_of_anyone_leaves_no_fault(plane: SmallPlane, who: str) -> None:
    process = plane.started("failing-model")
    run = evidence.read(plane.log)[-1].data.get("run") or next(
        one.data["run"] for one in reversed(evidence.read(plane.log)) if "run" in one.data
    )
    runner = next(one.data["runner"] for one in plane.records(run) if one.kind == "runner-started")
    watchdog = next(one.pid for one in plane.records(run) if one.kind == "runner-started")
    for pid in [watchdog] if who == "watchdog" else [process.pid, runner]:
        os.kill(pid, signal.SIGKILL)
    link = plane.state / "links" / "traffic--v1.json"
    assert processes.wait_until(lambda: not link.exists(), 60)
    process.communicate(timeout=90)
    assert processes.wait_until(lambda: not plane.orphans(), 60)
    faults_left = plane.state / "chaos/runs" / run / "faults"  # emptied once the watchdog has seen that it is gone
    assert processes.wait_until(lambda: not list(faults_left.iterdir()), 60)
    assert processes.wait_until(lambda: processes.identify(watchdog) is None, 60), "it holds the lock until it ends"
    if who == "watchdog":
        assert process.returncode == 3


def test_a_fault_that_an_earlier_run_left_is_reverted_before_the_next_one(plane: SmallPlane) -> None:
    """Everybody was killed at once: the next command finds the fault in the ledger."""
    place = LocalPlane(plane.state)

    folder = place.home.runs / "left"
    folder.mkdir(parents=True)
    run = current.Run(place, folder)
    for fault in place.prepare(injection("cut_network", {"model": "fraud", "target": "v2"})).faults:
        run.ledger.inject(fault)
    assert place.home.open_runs() == [folder]
    code, stopped = plane.chaos("stop")
    assert (code, stopped["problems"]) == (0, [])
    assert place.home.open_runs() == []
    assert not (plane.state / "links" / "traffic--v2.json").exists()
    plane.chaos("stop", "--lift")


# Experiments written by hand -----------------------------------------------------------------------------------------


def python(kind: str, function: str, module: str = "actions", **arguments: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": f"chaos.{module}", "func": function, "arguments": arguments}
    return {"type": kind, "name": function, "provider": provider}


CONFIGURATION = {
    "where": {"type": "env", "key": "MIDWATCH_CHAOS_WHERE", "default": "local"},
    "state": {"type": "env", "key": "MIDWATCH_CHAOS_STATE"},
}


def test_a_process_of_a_process_action_ends_with_all_its_descendants(plane: SmallPlane) -> None:
    command = "-c 'setsid --fork env -i sleep 62.5; setsid --fork sleep 62.5; sleep 62.5'"
    action = {
        "type": "action",
        "name": "three sleepers",
        "provider": {"type": "process", "path": "/bin/sh", "arguments": command},
    }
    file = plane.write_experiment("sleepers", method=[action])
    process = plane.start("run", file)
    assert processes.wait_until(lambda: len(running_with("sleep 62.5")) == 3, 60)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    result = json.loads(output)
    assert (result["stopped"], result["problems"]) == ("SIGINT was sent", [])
    assert running_with("sleep 62.5") == set()


def test_the_actions_work_under_plain_chaos_run_and_are_watched_there_too(plane: SmallPlane) -> None:
    method = [python("action", "failing_model", model="fraud", target="v1", errors=0.9)]
    pause = {"type": "action", "name": "wait", "provider": {"type": "process", "path": "sleep", "arguments": "30"}}
    file = plane.write_experiment("plain", method=[*method, pause], configuration=CONFIGURATION)
    chaos = Path(sys.executable).with_name("chaos")
    environment = {**os.environ, "MIDWATCH_CHAOS_STATE": str(plane.state)}
    command = [
        str(chaos),
        "--no-version-check",
        "--log-file",
        str(plane.folder / "chaos.log"),
        "run",
        "--journal-path",
        str(plane.folder / "journal.json"),
        file,
    ]
    before = plane.count("fault-effective")
    link = plane.state / "links" / "traffic--v1.json"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert processes.wait_until(
                lambda: plane.count("fault-effective") > before or process.poll() is not None, 90
            )
            assert link.exists()
        finally:
            process.kill()
    assert processes.wait_until(lambda: not link.exists(), 60)
    assert processes.wait_until(lambda: evidence.read(plane.log)[-1].kind == "clean", 60)
    assert processes.wait_until(lambda: not plane.orphans(), 60)


def test_the_experiments_own_rollbacks_run_when_the_runner_had_to_be_killed(plane: SmallPlane) -> None:
    stubborn = {
        "type": "action",
        "name": "deaf",
        "provider": {
            "type": "python",
            "module": "tests.chaos.deaf",
            "func": "be_deaf",
            "arguments": {"ready": str(plane.folder / "deaf")},
        },
    }
    mark = plane.folder / "rolled-back"
    rollback = {
        "type": "action",
        "name": "mine",
        "provider": {"type": "process", "path": "touch", "arguments": str(mark)},
    }
    file = plane.write_experiment("deaf", method=[stubborn], rollbacks=[rollback])
    process = plane.start("run", file)
    assert processes.wait_until((plane.folder / "deaf").exists, 60)
    process.terminate()
    output, _ = process.communicate(timeout=90)
    assert json.loads(output)["problems"] == []
    assert mark.exists()


def test_time_is_not_measured_by_a_clock_that_can_be_set() -> None:
    """Times of waiting come from the monotonic clock: a label of a record is never computed with."""
    source = "".join(path.read_text() for path in Path("chaos").rglob("*.py") if path.name not in ("publish.py",))
    assert "time.time() -" not in source
    assert time.get_clock_info("monotonic").adjustable is False
