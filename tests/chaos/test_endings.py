"""How runs end: whoever is gone, whatever cannot be written or seen, nothing stays and no more is said than seen."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import faults, kinds, lease
from chaos.document import Experiment
from chaos.kinds import injection
from chaos.places.local import plane as planes
from chaos.places.local.faults import Hogs
from chaos.places.local.plane import LocalPlane
from chaos.places.place import Home
from chaos.run import open_run, publish, recovery, stopping, supervisor
from midwatch import evidence, processes
from midwatch.errors import Exit, MidwatchError
from midwatch.prometheus import Client, QueryError, Sample
from tests.chaos import paper
from tests.chaos.conftest import running_with
from tests.chaos.paper import PaperPlane, action
from tests.conftest import midwatch_here

NOBODY = 2**22 + 1
"""A number that no process has."""


@pytest.fixture
def paper_plane(tmp_path: Path) -> Iterator[PaperPlane]:
    with paper.running(tmp_path) as plane:
        yield plane


def left_open(plane: PaperPlane, *rollbacks: str) -> Path:
    """A run of which everybody was killed at once: a dead server, a bad link, a hog, and rollbacks that did not run."""
    place = LocalPlane(plane.state)
    folder = place.home.runs / "left"
    ledger = faults.Ledger(folder, place.log())
    prepared = [
        *place.prepare(injection("kill_replica", {"model": "fraud", "target": "v1"})).faults,
        *place.prepare(injection("cut_network", {"model": "fraud", "target": "v2"})).faults,
        Hogs(target="machine", number=f"left-{os.getpid()}", takes="memory", count=1, size=2**20, seconds=60.0),
    ]
    for number, fault in enumerate(prepared):
        ledger.take_over(f"{number:03d}", faults.written(fault))
        fault.inject()
    open_run.write(
        folder, open_run.OpenRun(log=str(place.home.evidence), key_file=None, rollbacks=list(rollbacks), folder="/")
    )
    return folder


def is_clean(plane: PaperPlane) -> bool:
    hogs = [pid for pid in processes.marked("MIDWATCH_CHAOS_HOG", f"left-{os.getpid()}") if processes.identify(pid)]
    files = [*(plane.state / "links").glob("*.json"), *(plane.state / "held").iterdir()]
    return not hogs and not files and Home(plane.state).open_runs() == []


# Everybody is gone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["stop"], ["run", "x"]], ids=lambda words: words[0])
def test_what_was_left_is_reverted_although_the_plane_is_gone_and_its_file_too(
    paper_plane: PaperPlane, tmp_path: Path, command: list[str]
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    left_open(paper_plane, "rm", str(flag))
    paper_plane.kill("links")
    paper_plane.says(up=NOBODY)
    paper_plane.file.unlink()
    done = midwatch_here("chaos", *command, "--state", paper_plane.state)
    assert done.returncode == (Exit.PASS if command == ["stop"] else Exit.USAGE), done.stderr
    assert is_clean(paper_plane)
    assert not flag.exists(), "its own rollbacks ran"
    kinds_of_records = [one.kind for one in evidence.read(Home(paper_plane.state).evidence)]
    assert kinds_of_records.count("fault-reverted") == 3
    assert kinds_of_records[-1] == "rollbacks-run"


def test_a_run_is_open_until_its_rollbacks_ran_to_their_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.runs / "r").mkdir(parents=True)
    run = open_run.OpenRun(log=str(home.evidence), key_file=None, rollbacks=["sh", "-c", "kill -9 $$"])
    open_run.write(home.runs / "r", run)
    with lease.on_this_machine(home.lock) as lock:
        recovered = recovery.recover_here(home, lock, lambda _text: None)
        assert "the experiment's own rollbacks were killed" in recovered.problems[0]
        assert home.open_runs() == [home.runs / "r"]
        open_run.write(home.runs / "r", open_run.OpenRun(log=run.log, key_file=None, rollbacks=["false"]))
        recovered = recovery.recover_here(home, lock, lambda _text: None)
    assert "a rollback of the experiment's own failed" in recovered.problems[0], "said once, and not tried for ever"
    assert home.open_runs() == []


def test_what_a_rollback_starts_lives_on(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.runs / "r").mkdir(parents=True)
    daemon = ["sh", "-c", "setsid --fork sleep 63.5; setsid --fork env -i sleep 63.5"]
    open_run.write(home.runs / "r", open_run.OpenRun(log=str(home.evidence), key_file=None, rollbacks=daemon))
    try:
        with lease.on_this_machine(home.lock) as lock:
            assert recovery.recover_here(home, lock, lambda _text: None).problems == []
        assert len(running_with("sleep 63.5")) == 2
        assert not lease.is_held(home.lock), "they do not hold the lock"
    finally:
        for pid in running_with("sleep 63.5"):
            os.kill(pid, signal.SIGKILL)


def test_evidence_whose_key_is_gone_keeps_nothing_from_being_reverted(paper_plane: PaperPlane, tmp_path: Path) -> None:
    folder = left_open(paper_plane)
    open_run.write(folder, open_run.OpenRun(log=str(tmp_path / "log.jsonl"), key_file=str(tmp_path / "gone")))
    paper_plane.says(up=NOBODY)
    paper_plane.kill("links")
    stopped = stopping.stop(paper_plane.state, None, "local")
    assert is_clean(paper_plane)
    assert "the evidence goes to" in stopped["problems"][0]
    assert not (tmp_path / "log.jsonl").exists(), "an unsigned record would break the chain"


# Stopping ------------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow, here and in what is started here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def holding(home: Home, *how: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock."""
    home.folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["flock", str(home.lock), *(how or ("sleep", "64.5"))], start_new_session=True) as process:
        assert processes.wait_until(lambda: lease.is_held(home.lock), 60)
        yield process
        process.kill()


def test_a_stop_on_a_full_disk_ends_the_holder_reverts_and_then_says_what_it_could_not_write(
    paper_plane: PaperPlane,
) -> None:
    left_open(paper_plane)
    paper_plane.kill("links")
    paper_plane.says(up=NOBODY)
    with holding(Home(paper_plane.state)) as holder:
        with full_disk():
            stopped = stopping.stop(paper_plane.state, None, "local")
        assert holder.wait(60) == -signal.SIGTERM
    assert is_clean(paper_plane)
    assert "nothing runs and nothing is left" in stopped["said"]
    assert "the kill switch is not set" in stopped["problems"][0]
    assert any("evidence.jsonl" in problem for problem in stopped["problems"])


def test_a_stop_ends_a_holder_that_is_stopped_and_one_that_hears_nothing(
    paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressure = ((0.0, None), (0.5, signal.SIGTERM), (5.0, signal.SIGKILL))
    monkeypatch.setattr(stopping, "_PRESSURE", pressure)
    home = Home(paper_plane.state)
    with holding(home) as holder:
        holder.send_signal(signal.SIGSTOP)
        assert stopping.stop(paper_plane.state, None, "local")["problems"] == []
        assert holder.wait(60) == -signal.SIGTERM
    with holding(home, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done") as holder:
        assert stopping.stop(paper_plane.state, None, "local")["problems"] == []
        assert not lease.is_held(home.lock)


@pytest.mark.parametrize("command", [["stop"], ["stop", "--lift"]], ids=" ".join)
def test_a_stop_in_a_folder_that_is_no_planes_is_refused_and_leaves_it_alone(
    tmp_path: Path, command: list[str]
) -> None:
    done = midwatch_here("chaos", *command, "--state", tmp_path)
    assert done.returncode == Exit.USAGE
    assert "no plane ever ran here" in done.stderr
    assert list(tmp_path.iterdir()) == []


# A run under way -----------------------------------------------------------------------------------------------------


class Fake(Client):
    """A Prometheus that answers as it is told: pages that fire, or nothing at all."""

    def __init__(self) -> None:
        self.pages: list[dict[str, str]] | None = []

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        if self.pages is None:
            raise QueryError(str(expr), "no answer")
        found = self.pages if "ALERTS" in str(expr) else []
        return [Sample(labels=labels, value=1.0, time=0.0) for labels in found]


class Looked:
    """A supervisor that looks at a run, in a thread of its own, until there is a reason to stop it."""

    def __init__(self, plane: PaperPlane, monkeypatch: pytest.MonkeyPatch, kind: str, **about: Any) -> None:
        monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.01)
        self.place, self.prometheus = LocalPlane(plane.state), Fake()
        self.place.__dict__["prometheus"] = self.prometheus
        about |= {"name": "midwatch", "kind": kind, "blinds": kinds.table()[kind].blinds}
        about["silences"] = kinds.table()[kind].silences
        model = {"model": "fraud"} if kind == "kill_replica" else {}
        document: Experiment = {"title": "t", "method": [action(kind, **model)], "extensions": [about]}  # type: ignore[typeddict-item, list-item] # as a file has it
        self.supervisor = supervisor.Supervisor(self.place, document, lambda _text: None)
        self.folder = self.supervisor._folder
        (self.folder / "faults").mkdir(parents=True)
        self.stop = supervisor._Stop()
        self.process: Any = SimpleNamespace(poll=lambda: None)

    def __enter__(self) -> Looked:
        self._thread = threading.Thread(target=self.supervisor._look, args=(self.stop, self.process))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set("the test is over")
        self._thread.join()

    def inject(self, *before: dict[str, str]) -> None:
        (self.folder / "mark.json").write_text(json.dumps({"offset": 0, "alerts": before}))
        (self.folder / "faults" / "001.json").write_text("{}")

    def revert(self) -> None:
        (self.folder / "faults" / "001.json").unlink()

    def goes_on(self) -> bool:
        return not self.stop.wait(0.3)


@pytest.fixture
def blind_soon(tmp_path: Path) -> Iterator[PaperPlane]:
    document = paper.document_of(forbid_pages=True)
    document["models"].append({**document["models"][0], "name": "other"})
    document["chaos"]["stop"] = {"blind_for": "100ms"}
    with paper.running(tmp_path, document) as plane:
        yield plane


@pytest.mark.parametrize("kind", ["kill_replica", "lose_exporter", "lose_prometheus"])
def test_a_plane_that_ends_ends_every_experiment(
    blind_soon: PaperPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with Looked(blind_soon, monkeypatch, kind) as looked:
        looked.inject()
        assert looked.goes_on()
        looked.place._document["up"] = NOBODY
        assert looked.stop.wait(60)
        assert (looked.stop.reason, looked.stop.is_deviation) == ("the plane has ended", False)


@pytest.mark.parametrize("kind", ["kill_replica", "lose_exporter"])
def test_a_prometheus_that_the_fault_does_not_take_away_has_to_answer(
    blind_soon: PaperPlane, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with Looked(blind_soon, monkeypatch, kind) as looked:
        looked.inject()
        looked.prometheus.pages = None
        assert looked.stop.wait(60)
        assert "no data for 0.1 s" in looked.stop.reason
        assert not looked.stop.is_deviation


def test_what_a_fault_takes_away_has_to_be_seen_again_once_it_is_reverted(
    blind_soon: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Looked(blind_soon, monkeypatch, "lose_prometheus") as looked:
        looked.inject()
        looked.prometheus.pages = None
        assert looked.goes_on(), "it is the fault itself"
        looked.revert()
        assert looked.stop.wait(60)
        assert "no data for 0.1 s" in looked.stop.reason


def page(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": "page", **labels}


@pytest.mark.parametrize(
    ("kind", "fires", "is_other"),
    [
        ("kill_replica", page("ModelErrorsHigh", model="fraud"), False),
        ("kill_replica", page("ModelErrorsHigh", model="other"), True),
        ("kill_replica", page("ExporterDown"), True),
        ("kill_replica", page("CheckoutFails"), True),
        ("lose_exporter", page("ExporterDown"), False),
        ("lose_exporter", page("ModelErrorsHigh", model="other"), False),
        ("lose_exporter", page("CheckoutFails"), True),
        ("lose_exporter", page("PrometheusCannotNotify", instance="a:1"), True),
    ],
)
def test_a_page_of_another_cause_stops_a_run_and_blames_nobody(
    blind_soon: PaperPlane, monkeypatch: pytest.MonkeyPatch, kind: str, fires: dict[str, str], is_other: bool
) -> None:
    before = page("PrometheusCannotNotify", instance="a:1") | {"alertstate": "pending", "__name__": "ALERTS"}
    with Looked(blind_soon, monkeypatch, kind) as looked:
        looked.inject(before)
        looked.prometheus.pages = [fires]
        assert looked.stop.wait(20 if is_other else 0.3) is is_other
        if is_other:
            assert f"a page of another cause fires: {fires['alertname']}" in looked.stop.reason
            assert not looked.stop.is_deviation


def test_a_page_before_the_first_fault_has_another_cause(
    blind_soon: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Looked(blind_soon, monkeypatch, "kill_replica") as looked:
        looked.prometheus.pages = [page("ModelErrorsHigh", model="fraud")]
        assert looked.stop.wait(60)
        assert "a page of another cause fires" in looked.stop.reason


@pytest.mark.parametrize("how", ["stopped", "late"])
def test_a_command_does_not_wait_for_a_watchdog_that_does_nothing(
    paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    looked = Looked(paper_plane, monkeypatch, "kill_replica")
    watchdog = paper_plane.parts["links"]
    if how == "stopped":
        watchdog.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + (60 if how == "stopped" else 0)
    looked.supervisor._wait(looked.stop, watchdog, deadline)
    assert {"stopped": "the watchdog was stopped", "late": "longer than it may"}[how] in looked.stop.reason


def test_a_watchdog_that_is_stopped_is_replaced_at_once(
    paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(paper_plane, monkeypatch, "kill_replica")
    fault = Hogs(target="machine", number=f"left-{os.getpid()}", takes="memory", count=1, size=2**20, seconds=60.0)
    fault.inject()
    faults.Ledger(looked.folder, looked.place.log()).take_over("001", faults.written(fault))
    watchdog = subprocess.Popen(["sleep", "65.5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watchdog.send_signal(signal.SIGSTOP)
    assert processes.wait_until(lambda: bool((found := processes.identify(watchdog.pid)) and found.is_stopped), 60)
    monkeypatch.setattr(processes, "descendants", lambda _pid: set())  # those of this test are not of a run
    with watchdog, lease.on_this_machine(looked.place.home.lock) as lock:
        outcome = looked.supervisor._outcome(watchdog, "because", lock)
    assert (outcome["stopped"], outcome["problems"]) == ("because", [])
    assert is_clean(paper_plane)


def test_a_prometheus_that_is_gone_is_one_error_and_not_a_line_for_each_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(QueryError, match="no answer"):
        Client("http://127.0.0.1:1", timeout=0.2, retries=1).query("up")
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_revert_that_fails_in_an_unknown_way_is_not_clean(tmp_path: Path) -> None:
    ledger = faults.Ledger(tmp_path, evidence.Log(tmp_path / "evidence.jsonl"))
    (tmp_path / "faults" / "001.json").write_text("{")
    (problem,) = ledger.revert_all()
    assert "001.json" in problem


# What is told --------------------------------------------------------------------------------------------------------


def metrics_of(place: LocalPlane) -> str:
    return (place.results / "chaos.prom").read_text()


RUNNING = 'chaos_experiment_running{experiment="a"}'


def test_nothing_is_said_to_run_once_whoever_said_so_is_gone(paper_plane: PaperPlane) -> None:
    place = LocalPlane(paper_plane.state)
    place.home.folder.mkdir()
    publish.running(place, "a")
    assert f"{RUNNING} 1.0" in metrics_of(place)
    stopping.stop(paper_plane.state, None, "local")
    assert f"{RUNNING} 0.0" in metrics_of(place)
    publish.running(place, "a")
    publish.running(place, "b")
    assert f"{RUNNING} 0.0" in metrics_of(place), "the next one says so at the latest"


def test_a_watchdog_whose_command_is_gone_tells_that_nothing_runs(paper_plane: PaperPlane, tmp_path: Path) -> None:
    home = Home(paper_plane.state)
    (home.runs / "r").mkdir(parents=True)
    run = open_run.OpenRun(log=str(home.evidence), key_file=None, told=["touch", str(tmp_path / "told")])
    open_run.write(home.runs / "r", run)
    words = supervisor.watchdog.command(home.runs / "r", home.evidence, None, "--", "sleep", "66.5")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watchdog:
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        assert watchdog.wait(60) == 0
    assert (tmp_path / "told").exists()
    assert running_with("sleep 66.5") == set()


def test_what_the_plane_publishes_says_that_nothing_runs_unless_the_lock_is_held(
    paper_plane: PaperPlane, tmp_path: Path
) -> None:
    from midwatch.app.up.webhook_receiver import WebhookReceiver

    place = LocalPlane(paper_plane.state)
    place.home.folder.mkdir()
    publish.running(place, "a")
    receiver = WebhookReceiver(tmp_path / "deliveries.jsonl", place.results, place.home.lock)
    try:
        assert f"{RUNNING} 0.0" in receiver.results().decode()
        with lease.on_this_machine(place.home.lock):
            assert f"{RUNNING} 1.0" in receiver.results().decode()
    finally:
        receiver.close()


@pytest.mark.parametrize(
    ("outcome", "clean"),
    [
        ({"stopped": "", "problems": [], "seconds_to_clean": 0.1}, True),
        ({"stopped": "", "problems": ["x"], "seconds_to_clean": 0.1}, False),
        ({"stopped": "", "problems": [], "seconds_to_clean": None}, False),
    ],
    ids=["seen", "something stays", "not seen"],
)
def test_clean_is_only_said_when_it_was_seen(
    paper_plane: PaperPlane, monkeypatch: pytest.MonkeyPatch, outcome: dict[str, Any], clean: bool
) -> None:
    looked = Looked(paper_plane, monkeypatch, "kill_replica")
    (looked.folder / "faults").rmdir()
    looked.folder.rmdir()
    monkeypatch.setattr(supervisor.Supervisor, "_watched", lambda *_: outcome)
    monkeypatch.setattr(processes, "adopt_orphans", lambda: None)  # this very process would
    result = looked.supervisor.run().document()
    assert result["clean"] is clean
    assert f'chaos_experiment_clean{{experiment="t"}} {float(clean)}' in metrics_of(looked.place)


def test_a_plane_whose_number_another_process_has_now_is_gone(paper_plane: PaperPlane) -> None:
    paper_plane.says(up_started=1)
    with pytest.raises(planes.NoPlaneError, match="has ended"):
        LocalPlane(paper_plane.state)
    with pytest.raises(MidwatchError):
        stopping.stop(paper_plane.state / "links", None, "local")


def test_a_run_whose_end_is_seen_before_the_kill_switch_was_stopped_by_it(tmp_path: Path) -> None:
    switch = tmp_path / "kill-switch"
    switch.write_text("set by midwatch chaos stop\n")
    ended = subprocess.Popen(["true"])
    ended.wait()
    stop = supervisor._Stop()
    of_the_run = SimpleNamespace(place=SimpleNamespace(home=SimpleNamespace(kill_switch=switch)))
    supervisor.Supervisor._wait(of_the_run, stop, ended, time.monotonic() + 60)
    assert stop.reason == "the kill switch was set"
