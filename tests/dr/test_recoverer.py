"""The recoverer: its steps, and the file lease that it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dr.drill import facts, ledger
from dr.recoverer import loop
from dr.recoverer.file_lease import FileLease
from dr.recoverer.lease import LeaseHeldError, LeaseLostError
from dr.recoverer.loop import Policy, Recoverer
from dr.recoverer.recovery import CannotRecoverError, Health, Recovery
from midwatch.errors import MidwatchError
from tests.dr.conftest import wait_until


def test_two_cannot_hold_a_lease_and_terms_only_grow(tmp_path: Path) -> None:
    with FileLease(tmp_path, "first") as lease:
        first = lease.next_term()
        with pytest.raises(LeaseHeldError, match=r"first .* recovers this store already"):
            FileLease(tmp_path, "second")
    with FileLease(tmp_path, "second") as lease:
        assert lease.next_term() > first


def test_a_lease_ends_with_its_holder_however_that_ends(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from dr.recoverer.file_lease import FileLease; l = FileLease(Path(sys.argv[1]), 'x'); print('held', flush=True); time.sleep(60)"  # noqa: E501
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
                with pytest.raises(LeaseLostError, match="another recoverer may hold a new one"):
                    act()


class FakeRecovery(Recovery):
    """A store whose checks follow a script; it notes what is done to it."""

    def __init__(self, checks: list[bool], *, fails: str = "", plan: str = "promote") -> None:
        self.checks, self.fails, self._plan, self.done = checks, fails, plan, []

    def check(self) -> Health:
        good = self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]
        return Health(good=good, why="" if good else "no answer")

    def plan(self) -> str:
        if self._plan == "nothing":
            raise CannotRecoverError("the standby is behind")
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


def recovered(
    tmp_path: Path, recovery: FakeRecovery, until: type[facts.Event], failures: int = 3, *, rebuilds: bool = True
) -> list[facts.Recorded]:
    events = ledger.Ledger(tmp_path / "events")
    with FileLease(tmp_path, "test") as lease:
        policy = Policy(interval=0.005, failures=failures, rebuilds=rebuilds)
        running = Recoverer(recovery, policy, lease, events)
        thread = threading.Thread(target=running.run)
        thread.start()
        tail = ledger.Tail(tmp_path / "events", ledger.RECORDED)
        wait_until(lambda: any(isinstance(event, until) for event in tail.read()))
        running.stop()
        thread.join()
    events.close()
    return ledger.read_recorded(tmp_path / "events")


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
def test_a_recoverer_that_loses_its_lease_takes_no_further_step(tmp_path: Path, steps: int, done: list[str]) -> None:
    events = ledger.Ledger(tmp_path / "events")
    policy = Policy(interval=0.001, failures=1)
    recovery = FakeRecovery([False])
    running = Recoverer(recovery, policy, RunningOut(steps), events)  # the first look at it is the loop's own
    with pytest.raises(LeaseLostError):
        running.run()
    events.close()
    kinds = [event.word for event in ledger.read_recorded(tmp_path / "events")]
    assert kinds == ["watching", "failed", *done, "lost"]


def test_a_recoverer_that_is_asked_to_step_aside_ends_when_it_is_calm(tmp_path: Path) -> None:
    events = ledger.Ledger(tmp_path / "events")
    lease = RunningOut(100)
    lease.wanted = True
    Recoverer(FakeRecovery([True]), Policy(), lease, events).run()
    events.close()
    assert [event.word for event in ledger.read_recorded(tmp_path / "events")] == ["watching", "stopped"]


def test_the_recoverer_acts_after_so_many_failed_checks_in_a_row_and_step_by_step(tmp_path: Path) -> None:
    recovery = FakeRecovery([True, False, False, True, False, False, False, False])
    events = recovered(tmp_path, recovery, facts.Redundant)
    kinds = [event.word for event in events]
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
    assert [event.at for event in events] == sorted(event.at for event in events)


@pytest.mark.parametrize(("step", "kept"), [("fence", []), ("recover", ["fence"]), ("reroute", ["fence", "recover"])])
def test_after_a_step_that_failed_no_later_one_is_taken(tmp_path: Path, step: str, kept: list[str]) -> None:
    recovery = FakeRecovery([False], fails=step)
    events = recovered(tmp_path, recovery, facts.GaveUp)
    assert recovery.done[: len(kept)] == kept
    assert "reroute" not in recovery.done
    assert f"{step} failed" in next(event.why for event in events if isinstance(event, facts.GaveUp))


class RivalledRecovery(FakeRecovery):
    """A store that is well, with a second server that takes writes until it is fenced."""

    def __init__(self, *, may_be_fenced: bool) -> None:
        super().__init__([True])
        self.may_be_fenced, self.terms = may_be_fenced, list[int]()

    def rival(self) -> str | None:
        return None if self.terms else "region a takes writes beside region b"

    def fence_rival(self, term: int) -> str:
        if not self.may_be_fenced:
            raise CannotRecoverError("end it by hand")
        self.terms.append(term)
        return "killed again"


def test_a_second_primary_is_said_and_fenced_again_and_the_standby_made_anew(tmp_path: Path) -> None:
    recovery = RivalledRecovery(may_be_fenced=True)
    events = recovered(tmp_path, recovery, facts.Redundant)
    assert [event.word for event in events][:4] == ["watching", "split brain", "fenced", "redundant"]
    assert recovery.terms == [2]


def test_a_second_primary_that_has_to_be_left_alone_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RIVAL_SECONDS", 0.0)
    recovery = RivalledRecovery(may_be_fenced=False)
    recovery.requested = lambda: "b" if looks.append(1) or len(looks) == 5 else None  # type: ignore[method-assign]
    looks: list[int] = []
    events = recovered(tmp_path, recovery, facts.GaveUp)  # no switchover is known: that is after five looks
    assert [event.word for event in events].count("split brain") == 1
    assert next(event.why for event in events if isinstance(event, facts.Refused)) == "end it by hand"


def test_a_rebuild_that_is_not_the_recoverers_is_offered(tmp_path: Path) -> None:
    recovery = FakeRecovery([False])
    events = recovered(tmp_path, recovery, facts.RebuildOffered, failures=1, rebuilds=False)
    assert "rebuild" not in recovery.done
    assert next(event.why for event in events if isinstance(event, facts.RebuildOffered)) == recovery.offer()


def test_what_cannot_be_recovered_safely_is_left_alone_and_said(tmp_path: Path) -> None:
    recovery = FakeRecovery([False], plan="nothing")
    events = recovered(tmp_path, recovery, facts.Refused)
    assert recovery.done == []
    assert next(event.why for event in events if isinstance(event, facts.Refused)) == "the standby is behind"
