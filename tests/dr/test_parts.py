"""The parts of a drill by themselves: ledger, lease, endpoint, guard, posture, schedules, spec."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts import ruleset
from dr import cron, endpoint, exporter, guard, ledger, manifests, operators, posture, processes, records, status
from dr.lease import FileLease, LeaseHeldError, LeaseLostError
from dr.objects import copies
from dr.postgres import programs
from dr.verdict import Verdict
from midwatch import metrics
from midwatch.errors import InvalidInputError, MidwatchError, MissingProgramError
from midwatch.spec import dr as spec
from midwatch.spec import load
from midwatch.up import regions
from tests.conftest import need_program, platform
from tests.dr.conftest import recovery_section, wait_until

# Ledger --------------------------------------------------------------------------------------------------------------


def test_a_ledger_is_read_up_to_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    writing = ledger.Ledger(path)
    for number in range(100):
        writing.add(k="w", n=number)
    writing.close()
    whole = path.read_bytes()
    assert [fact["n"] for fact in ledger.read(path)] == list(range(100))
    path.write_bytes(whole[:-7])
    assert len(ledger.read(path)) == 99
    path.write_bytes(whole.replace(b'"n":50', b'"n":51', 1))
    with pytest.raises(ledger.LedgerError, match=r"ledger:51: the line is damaged"):
        ledger.read(path)
    with pytest.raises(ledger.LedgerError, match="a ledger of its own"):
        ledger.Ledger(path)


def test_a_ledger_that_is_being_written_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    tail = ledger.Tail(path)
    assert tail.read() == []
    path.write_bytes(ledger.line({"k": "w", "n": 1}) + ledger.line({"k": "w", "n": 2})[:9])
    assert [fact["n"] for fact in tail.read()] == [1]
    with path.open("ab") as file:
        file.write(ledger.line({"k": "w", "n": 2})[9:])
    assert [fact["n"] for fact in tail.read()] == [1, 2]


# Lease ---------------------------------------------------------------------------------------------------------------


def test_two_cannot_hold_a_lease_and_terms_only_grow(tmp_path: Path) -> None:
    with FileLease(tmp_path, "first") as lease:
        first = lease.next_term()
        with pytest.raises(LeaseHeldError, match=r"first .* guards this store already"):
            FileLease(tmp_path, "second")
    with FileLease(tmp_path, "second") as lease:
        assert lease.next_term() > first


def test_a_lease_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from dr.lease import FileLease; l = FileLease(Path(sys.argv[1]), 'x'); print('held', flush=True); time.sleep(60)"  # noqa: E501
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)  # one that is merely stopped keeps it
        with pytest.raises(LeaseHeldError):
            FileLease(tmp_path, "other")
        holder.kill()
    FileLease(tmp_path, "other").release()


def test_a_lease_whose_file_is_gone_is_not_held(tmp_path: Path) -> None:
    with FileLease(tmp_path, "first") as lease:
        lease.ensure_held()
        (tmp_path / "lease.lock").unlink()
        with FileLease(tmp_path, "second"):
            for act in (lease.ensure_held, lease.next_term):
                with pytest.raises(LeaseLostError, match="another guard may hold a new one"):
                    act()


# Endpoint ------------------------------------------------------------------------------------------------------------


def speaker(word: bytes) -> tuple[socket.socket, int]:
    """A server that greets with a word and keeps the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
            while True:
                connection = kept.enter_context(listener.accept()[0])
                connection.sendall(word)

    threading.Thread(target=serve, daemon=True).start()
    return listener, listener.getsockname()[1]


@pytest.fixture
def running_endpoint(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    one, port_a = speaker(b"a")
    other, port_b = speaker(b"b")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint.describe(tmp_path, [endpoint.Listener(port=port, targets={"a": port_a, "b": port_b})])
    (tmp_path / "route.json").write_text(json.dumps({"term": 1, "region": "a"}))
    process = processes.start_helper("dr.endpoint", [str(tmp_path)], tmp_path / "log")
    wait_until(lambda: (tmp_path / "endpoint.sock").exists())
    yield tmp_path, port
    processes.stop(process)
    one.close()
    other.close()


def greeting(port: int) -> tuple[socket.socket, bytes]:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    return connection, connection.recv(1)


def test_a_new_route_cuts_every_connection_and_an_old_term_is_refused(running_endpoint) -> None:
    folder, port = running_endpoint
    old, word = greeting(port)
    assert word == b"a"
    assert endpoint.reroute(folder / "endpoint.sock", term=2, region="b") >= 1
    with contextlib.suppress(ConnectionError):
        assert old.recv(1) == b""
    new, word = greeting(port)
    assert word == b"b"
    with pytest.raises(endpoint.EndpointError, match="term 2 is in force"):
        endpoint.reroute(folder / "endpoint.sock", term=2, region="a")
    assert endpoint.route_of(folder) == {"term": 2, "region": "b"}
    old.close()
    new.close()


def test_an_endpoint_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(endpoint.EndpointError, match="does not answer"):
        endpoint.reroute(tmp_path / "nothing.sock", term=2, region="b")


# Guard ---------------------------------------------------------------------------------------------------------------


class FakeRecovery:
    """A store whose checks follow a script; it notes what is done to it."""

    def __init__(self, checks: list[bool], *, fails: str = "", plan: str = "promote") -> None:
        self.checks, self.fails, self._plan, self.done = checks, fails, plan, []

    def check(self) -> guard.Health:
        good = self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]
        return guard.Health(good=good, why="" if good else "no answer")

    def plan(self) -> str:
        if self._plan == "nothing":
            raise guard.CannotRecoverError("the standby is behind")
        return self._plan

    def _step(self, name: str) -> str:
        if self.fails == name:
            raise MidwatchError(f"{name} failed")
        self.done.append(name)
        return name

    def fence(self, term: int) -> str:
        return self._step("fence")

    def recover(self) -> str:
        self.checks = [True]
        return self._step("recover")

    def reroute(self, term: int) -> str:
        return self._step("reroute")

    def rebuild(self) -> str | None:
        return self._step("rebuild")

    def requested(self) -> str | None:
        return None

    def switch(self, request: str, term: int) -> str:
        return self._step("switch")


def guarded(tmp_path: Path, recovery: FakeRecovery, until: str, failures: int = 3) -> list[dict[str, Any]]:
    events = ledger.Ledger(tmp_path / "events")
    with FileLease(tmp_path, "test") as lease:
        running = guard.Guard(recovery, guard.Policy(interval=0.005, failures=failures), lease, events)
        thread = threading.Thread(target=running.run)
        thread.start()
        tail = ledger.Tail(tmp_path / "events")
        wait_until(lambda: sum(event["k"] == until for event in tail.read()) > 0)
        running.stop()
        thread.join()
    events.close()
    return ledger.read(tmp_path / "events")


class RunningOut:
    """A lease that is held for some more steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.wanted = False

    def ensure_held(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise LeaseLostError("held no more")

    def next_term(self) -> int:
        return 2

    def is_wanted(self) -> bool:
        return self.wanted


@pytest.mark.parametrize(
    ("steps", "done"),
    [(1, ["decided"]), (2, ["decided", "fenced"]), (3, ["decided", "fenced", "recovered"])],
    ids=["before the fence", "before the recovery", "before the re-route"],
)
def test_a_guard_that_loses_its_lease_takes_no_further_step(tmp_path: Path, steps: int, done: list[str]) -> None:
    events = ledger.Ledger(tmp_path / "events")
    policy = guard.Policy(interval=0.001, failures=1)
    recovery = FakeRecovery([False])
    running = guard.Guard(recovery, policy, RunningOut(steps), events)  # the first look at it is the loop's own
    with pytest.raises(LeaseLostError):
        running.run()
    events.close()
    kinds = [event["k"] for event in ledger.read(tmp_path / "events")]
    assert kinds == ["watching", "failed", *done, "lost"]


def test_a_guard_that_is_asked_to_step_aside_ends_when_it_is_calm(tmp_path: Path) -> None:
    events = ledger.Ledger(tmp_path / "events")
    lease = RunningOut(100)
    lease.wanted = True
    guard.Guard(FakeRecovery([True]), guard.Policy(), lease, events).run()
    events.close()
    assert [event["k"] for event in ledger.read(tmp_path / "events")] == ["watching", "stopped"]


def test_the_guard_acts_after_so_many_failed_checks_in_a_row_and_step_by_step(tmp_path: Path) -> None:
    recovery = FakeRecovery([True, False, False, True, False, False, False, False])
    events = guarded(tmp_path, recovery, "redundant")
    kinds = [event["k"] for event in events]
    assert kinds.count("failed") == 5  # two that did not last, then three
    assert [kind for kind in kinds if kind != "failed"][:6] == [
        "watching", "decided", "fenced", "recovered", "rerouted", "redundant",
    ]  # fmt: skip
    assert recovery.done[:4] == ["fence", "recover", "reroute", "rebuild"]
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)


@pytest.mark.parametrize(("step", "kept"), [("fence", []), ("recover", ["fence"]), ("reroute", ["fence", "recover"])])
def test_after_a_step_that_failed_no_later_one_is_taken(tmp_path: Path, step: str, kept: list[str]) -> None:
    recovery = FakeRecovery([False], fails=step)
    events = guarded(tmp_path, recovery, "gave_up")
    assert recovery.done[: len(kept)] == kept
    assert "reroute" not in recovery.done
    assert f"{step} failed" in next(event["why"] for event in events if event["k"] == "gave_up")


def test_what_cannot_be_recovered_safely_is_left_alone_and_said(tmp_path: Path) -> None:
    recovery = FakeRecovery([False], plan="nothing")
    events = guarded(tmp_path, recovery, "refused")
    assert recovery.done == []
    assert next(event["why"] for event in events if event["k"] == "refused") == "the standby is behind"


# Posture, status, alerts ---------------------------------------------------------------------------------------------


def test_the_lag_of_a_copy_that_stopped_silently_grows_although_it_says_nothing() -> None:
    lag = posture.Lag()
    assert [lag.look(now, 100 * now, 500) for now in range(4, 12)][-3:] == [4, 5, 6]
    assert lag.look(12, 1200, 1200) == 0


@pytest.fixture
def book(tmp_path: Path) -> records.Book:
    found = records.Book(folder=tmp_path / "evidence", key_file=None)
    home = tmp_path / "home"
    home.mkdir()
    for number, verdict in enumerate([Verdict.MET, Verdict.BREACHED]):
        document = {
            "run": str(number), "drill": "lose-primary", "store": "store", "verdict": verdict.value, "reasons": ["x"],
            "rto_seconds": 0.5 + number, "rpo_seconds": 0.1,
        }  # fmt: skip
        found.keep(document, home)
    return found


def section(**changes: Any) -> spec.DisasterRecovery:
    made = platform(disaster_recovery=recovery_section(**changes)).disaster_recovery
    assert made is not None
    return made


def test_the_posture_publishes_the_last_run_of_every_drill(book: records.Book) -> None:
    book.log.append("restore-verified", store="archive", point=time.time() - 30)
    text = exporter.render(posture.Watch(section(), book, {}).look()).decode()
    labels = 'drill="lose-primary",store="store"'
    assert f'dr_drill_verdict{{{labels},verdict="breached"}} 1.0' in text
    assert f'dr_drill_verdict{{{labels},verdict="met"}} 0.0' in text
    assert f"dr_drill_recovery_seconds{{{labels}}} 1.5" in text
    assert f"dr_drill_last_met_timestamp_seconds{{{labels}}}" in text
    assert 'dr_objective_seconds{kind="rpo"} 300.0' in text
    assert 'dr_newest_restorable_age_seconds{store="archive",region="archive"} 30.' in text
    assert all(line.split("{")[0] in metrics.CATALOGUE for line in text.splitlines() if not line.startswith("#"))


def test_the_posture_of_a_folder_is_its_newest_copy(tmp_path: Path, book: records.Book) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").write_bytes(b"x" * 100)
    store = {"name": "models", "files": {"source": "models", "backup": "copies"}}
    recovery = section(stores=[store], drills=[])
    watch = posture.Watch(recovery, book, posture.lookers(recovery, tmp_path, {}))
    assert 'dr_store_answers{store="models"} 0.0' in exporter.render(watch.look()).decode()
    copies.take(tmp_path / "models", tmp_path / "copies", now=time.time() - 60, keep=3)
    text = exporter.render(watch.look()).decode()
    assert 'dr_store_answers{store="models"} 1.0' in text
    assert 'dr_backup_size_bytes{store="models"} 100.0' in text
    assert 'dr_replication_lag_seconds{store="models",region="archive"} 60.' in text


def test_the_status_names_what_is_breached_overdue_and_not_known(book: records.Book) -> None:
    recovery = section()
    at_risk = (metrics.DR_REPLICATION_LAG, {"store": "store", "region": "b"}, 120.0)
    found = {one.store: one for one in status.judge(recovery, book, [at_risk], time.time() + 10 * 86400)}
    text = " ".join(found["store"].problems)
    assert "drill lose-primary was breached: x" in text
    assert "is overdue" in text
    assert "120 s of writes have no second copy" in text
    assert found["store"].worst_rto_seconds == 1.5
    assert "drill bad-delete was never run" in found["sync"].unknown


def test_every_recovery_alert_fires_when_it_should_and_has_a_runbook(tmp_path: Path) -> None:
    need_program("promtool")
    made_for = platform(disaster_recovery=recovery_section(), prometheus={"scrape_interval": "15s"})
    made = list({one.name: one for one in ruleset.PARTS["recovery.yml"](made_for)}.values())
    rules = {"groups": [{"name": "g", "rules": [one.rule for one in made]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    tests = []
    for one in made:
        assert one.proof is not None
        assert (Path("alerts/runbooks") / f"{one.name}.md").exists(), one.name
        for series, fires in ((one.proof.fires, True), (one.proof.silent, False)):
            labels = one.rule["labels"]
            tests.append(
                {
                    "interval": f"{one.proof.interval:g}s",
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": [],
                    "alert_rule_test": [
                        {"eval_time": f"{round(one.proof.within)}s", "alertname": one.name}
                        | ({"exp_alerts": [{"exp_labels": labels}]} if fires else {})
                    ],
                }
            )
    # Labels of a firing alert include those of its series: what is asked is only whether one fires at all.
    firing = [test for test in tests if "exp_alerts" in test["alert_rule_test"][0]]
    for number, test in enumerate(tests):
        file = tmp_path / f"test-{number}.yml"
        case = test["alert_rule_test"][0]
        case.pop("exp_alerts", None)
        file.write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}))
    files = [str(tmp_path / f"test-{number}.yml") for number in range(len(tests))]
    for number, test in enumerate(tests):
        done = subprocess.run(["promtool", "test", "rules", files[number]], capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == (test in firing), (made[number // 2].name, done.stdout + done.stderr)


# Spec ----------------------------------------------------------------------------------------------------------------


def problems(write_platform: Any, **changes: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as raised:
        load.load_platform(write_platform(**changes))
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"schedule": "0 4 * * 1"}, 1.25 * 7),
        ({"schedule": "0 4 1 * *"}, 1.25 * 31),
        ({"schedule": "0 4 1 * *", "max_age": "40d"}, 40.0),
        ({}, 90.0),
    ],
)
def test_a_drill_is_overdue_by_its_schedule(changes: dict[str, str], days: float) -> None:
    drill = spec.Drill.model_validate({"name": "d", "store": "s", "fault": "kill_primary", "spread": "0s"} | changes)
    assert drill.result_age == days * 86400


def test_an_archive_interval_that_cannot_keep_the_rpo_is_refused_with_the_arithmetic(write_platform) -> None:
    slow = {"name": "archive", "local_postgresql": {"standby": False, "archive_interval": "5m"}}
    (text,) = problems(write_platform, stores=[slow], drills=[])
    assert "an archive every 5m that takes up to 10s to be safe loses up to 310s; the RPO is 5m" in text
    assert "archive every 290s or more often" in text


@pytest.mark.parametrize(
    ("drill", "message"),
    [
        ({"store": "nothing", "fault": "kill_primary"}, "there is no store 'nothing'"),
        ({"store": "store", "fault": "lose_files"}, "lose_files does not fit a store of kind local_postgresql"),
        ({"store": "archive", "fault": "kill_primary"}, "kill_primary needs a standby, and archive has none"),
        ({"store": "store", "fault": "lose_store"}, "would promote its standby"),
        ({"store": "store", "fault": "kill_primary", "schedule": "0 4 1 * 1"}, "give one of them"),
        ({"store": "store", "fault": "kill_primary", "schedule": "99 4 * * 1"}, "minute"),
        ({"store": "store", "fault": "kill_primary", "schedule": "0 4 30 2 *"}, "it never is time"),
    ],
)
def test_a_drill_that_cannot_be_is_said_with_its_line(write_platform, drill: dict[str, str], message: str) -> None:
    (text,) = problems(write_platform, drills=[{"name": "x", **drill}])
    assert message in text
    assert "disaster_recovery.drills[0]" in text
    assert "platform.yaml:" in text


def test_a_store_is_of_one_kind_and_its_owner_is_known(write_platform) -> None:
    text = " ".join(problems(write_platform, stores=[{"name": "x"}], drills=[]))
    assert "needs exactly one of local_postgresql" in text
    assert "there is no owner 'nobody'" in " ".join(problems(write_platform, owner="nobody"))
    probe = {"server": "v1", "path": "/", "body": {}}
    assert "no server is a replica of 'v1'" in " ".join(problems(write_platform, model=probe))
    late = {"name": "store", "local_postgresql": {}, "warn_after": "6m"}
    assert "comes when the RPO of 5m is gone" in " ".join(problems(write_platform, stores=[late], drills=[]))


# Regions of midwatch up ----------------------------------------------------------------------------------------------


def test_without_postgresql_the_plane_runs_with_one_region_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    servers = [{"name": "v1", "command": ["x"]}, {"name": "v1-b", "command": ["x"], "replica_of": "v1"}]
    stores = [{"name": "store", "local_postgresql": {"up": True}}]
    made = platform(local={"servers": servers}, disaster_recovery=recovery_section(stores=stores, drills=[]))
    ports = {"exporter": 1, "exporter-b": 4, "server-v1": 2, "server-v1-b": 3}

    def nothing(_: int | None) -> None:
        raise MissingProgramError("PostgreSQL's server", "install it")

    monkeypatch.setattr(programs, "find", nothing)
    alone = regions.Regions(made, tmp_path / "p.yaml", tmp_path, ports)
    assert alone.missing == "without store: PostgreSQL's server was not found on PATH; install it"
    assert (alone.inventory(), alone.port_of("server-v1"), alone.port_of("exporter")) == (None, None, None)
    assert list(alone.exporters) == ["exporter"]
    monkeypatch.setattr(programs, "find", lambda _: None)
    both = regions.Regions(made, tmp_path / "p.yaml", tmp_path, ports)
    inventory = both.inventory()
    assert inventory is not None
    assert list(both.exporters) == ["exporter", "exporter-b"]
    assert inventory["region_a"] == ["server-v1", "exporter"]
    assert inventory["models"] == {"v1": f"http://127.0.0.1:{both.port_of('server-v1')}"}
    clients = f"http://127.0.0.1:{both.port_of('exporter')}"
    assert inventory["exporters"] == {"a": "exporter", "b": "exporter-b", "clients": clients}


def test_a_store_without_replicas_of_models_leaves_the_plane_with_one_exporter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stores = [{"name": "store", "local_postgresql": {"up": True}}]
    servers = [{"name": "v1", "command": ["x"]}]
    made = platform(local={"servers": servers}, disaster_recovery=recovery_section(stores=stores, drills=[]))
    monkeypatch.setattr(programs, "find", lambda _: None)
    plane = regions.Regions(made, tmp_path / "p.yaml", tmp_path, {"exporter": 1, "server-v1": 2})
    inventory = plane.inventory()
    assert inventory is not None
    assert (list(plane.exporters), plane.port_of("exporter")) == (["exporter"], None)
    assert (inventory["region_a"], inventory["exporters"]) == (["exporter"], None)


# Schedules -----------------------------------------------------------------------------------------------------------


def test_every_scheduled_drill_has_a_timer_and_a_cron_job_with_a_random_phase() -> None:
    drills = [{"name": "d", "store": "store", "fault": "kill_primary", "schedule": "30 4 * * 1", "spread": "30m"}]
    made = platform(
        disaster_recovery=recovery_section(drills=drills, kubernetes={"namespace": "ml", "evidence_claim": "kept"})
    )
    files = manifests.render_files(made)
    assert "OnCalendar=Mon *-*-* 04:30:00 UTC\nRandomizedDelaySec=1800" in files["systemd/midwatch-drill-d.timer"]
    text = manifests.render_kubernetes(made)[manifests.FILE]
    assert "kind: CronJob" in text
    assert "- --spread\n" in text
    assert "- 30m\n" in text
    assert "claimName: kept" in text
    with pytest.raises(MidwatchError, match="not both"):
        cron.calendar("0 4 1 * 1")


# Operators -----------------------------------------------------------------------------------------------------------


BACKUP = operators.VeleroBackup(name="b", started=1000.0, items=40)


@pytest.mark.parametrize(
    ("status", "seconds", "now", "verdict"),
    [
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 60.0, 1100.0, Verdict.MET),
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 901.0, 1100.0, Verdict.BREACHED),
        ({"phase": "Completed", "progress": {"itemsRestored": 40}}, 60.0, 1400.0, Verdict.BREACHED),
        ({"phase": "PartiallyFailed", "errors": 2, "progress": {"itemsRestored": 38}}, 60.0, 1100.0, Verdict.BREACHED),
        ({"phase": "Completed"}, 60.0, 1100.0, Verdict.INCONCLUSIVE),
    ],
    ids=["complete", "slow", "old backup", "partial", "nothing counted"],
)
def test_a_velero_restore_is_met_only_when_it_is_whole_in_time_and_young(
    status: dict[str, Any], seconds: float, now: float, verdict: Verdict
) -> None:
    assert operators.judge_restore(BACKUP, status, seconds, now, 900.0, 300.0, []).verdict is verdict
