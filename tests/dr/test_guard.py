"""Who guards a store: the ledger, the lease, the endpoint and the steps of the recoverer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dr.lease import FileLease, LeaseHeldError, LeaseLostError

from dr import endpoint, guard, ledger, processes
from midwatch.errors import MidwatchError
from tests.conftest import free_port
from tests.dr.conftest import wait_until


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
    port = free_port()
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
        "watching",
        "decided",
        "fenced",
        "recovered",
        "rerouted",
        "redundant",
    ]
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
