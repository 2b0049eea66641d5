"""The watchdog: whoever dies, the tree of the run ends and its faults are reverted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from chaos.run import watchdog
from midwatch import evidence, processes
from tests.chaos.conftest import running_with

RUNNER = """
import os, subprocess, sys, time, uuid
from pathlib import Path
from midwatch import evidence
from chaos import faults
from chaos.places.local.faults import Hogs
folder = Path(os.environ["MIDWATCH_CHAOS_RUN"])
ledger = faults.Ledger(folder, evidence.Log(folder / "evidence.jsonl"))
ledger.inject(Hogs(target="machine", number=uuid.uuid4().hex, takes="memory", count=1, size=2**20, seconds=60.0))
# A grandchild in a session of its own, whose parent is gone, without the run's mark in its environment.
subprocess.run(["setsid", "--fork", "env", "-i", "sleep", "61.25"])
(folder / "ready").touch()
{rest}
"""


class Watched:
    """A watchdog with a runner, in its own folder."""

    def __init__(self, folder: Path, rest: str = "time.sleep(60)", *options: str) -> None:
        self.folder, self.log = folder, folder / "evidence.jsonl"
        folder.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "chaos.run.watchdog",
            str(folder),
            "--log",
            str(self.log),
            *options,
            "--",
        ]
        command += [sys.executable, "-c", RUNNER.replace("{rest}", rest)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def wait_until_injected(self) -> int:
        assert processes.wait_until((self.folder / "ready").exists, 60)
        (started,) = [one for one in evidence.read(self.log) if one.kind == "runner-started"]
        return int(started.data["runner"])

    def outcome(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        document: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.process.wait(60)
        return document

    def kinds(self) -> list[str]:
        return [one.kind for one in evidence.read(self.log)]

    def left(self) -> set[int]:
        hogs = processes.marked(watchdog.RUN_VARIABLE, str(self.folder))
        return {pid for pid in hogs | running_with("sleep 61.25") if processes.identify(pid)}


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Starts watched runs; nothing of them stays after the test."""
    started: list[Watched] = []

    def start(*arguments: str) -> Watched:
        started.append(Watched(tmp_path / "run", *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stdin, one.process.stdout):
            if stream:
                stream.close()
        for pid in one.left():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def watched(watch: Callable[..., Watched]) -> Watched:
    return watch()


def test_a_stop_ends_grandchildren_too_and_reverts_what_the_runner_did_not(watched: Watched) -> None:
    watched.wait_until_injected()
    assert watched.left()
    watched.stdin.write(b"because I say so\n")
    watched.stdin.flush()
    outcome = watched.outcome()
    assert (outcome["stopped"], outcome["problems"]) == ("because I say so", [])
    assert watched.left() == set()
    assert watched.kinds()[-3:] == ["stopping", "fault-reverted", "clean"]
    assert evidence.verify(watched.log).problems == ()


@pytest.mark.parametrize("who", ["runner", "command", "watchdog is told to end"])
def test_whoever_goes_the_fault_is_reverted(watched: Watched, who: str) -> None:
    runner = watched.wait_until_injected()
    if who == "runner":
        os.kill(runner, signal.SIGKILL)
    elif who == "command":
        watched.stdin.close()
    else:
        watched.process.send_signal(signal.SIGTERM)
    outcome = watched.outcome()
    assert outcome["problems"] == []
    assert outcome["code"] == (-signal.SIGKILL if who == "runner" else outcome["code"])
    assert watched.left() == set()


def test_a_runner_that_ignores_every_signal_is_killed(watch: Callable[..., Watched]) -> None:
    rest = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 10, 12, 15)]; (folder / 'deaf').touch()"
    one = watch(f"{rest}; time.sleep(60)")
    assert processes.wait_until((one.folder / "deaf").exists, 60)
    one.stdin.write(b"stop\n")
    one.stdin.flush()
    assert one.outcome()["problems"] == []
    assert one.left() == set()


def test_a_run_that_takes_longer_than_it_may_is_stopped(watch: Callable[..., Watched]) -> None:
    one = watch("time.sleep(60)", "--seconds", "0.5")
    outcome = one.outcome()
    assert "longer" in outcome["stopped"]
    assert one.left() == set()


def test_a_runner_that_ends_by_itself_is_cleaned_up_after(watch: Callable[..., Watched]) -> None:
    one = watch("sys.exit(3)")
    outcome = one.outcome()
    assert (outcome["code"], outcome["stopped"], outcome["problems"]) == (3, "", [])
    assert one.left() == set()


def test_a_dead_watchdogs_run_can_be_cleaned_by_another(watched: Watched) -> None:
    watched.wait_until_injected()
    watched.process.kill()
    watched.process.wait()
    command = [sys.executable, "-m", "chaos.run.watchdog", str(watched.folder), "--log", str(watched.log)]
    done = subprocess.run(
        [*command, "--of", str(watched.process.pid)], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["problems"] == []
    assert not any(map(processes.identify, processes.marked(watchdog.RUN_VARIABLE, str(watched.folder))))
    assert watched.kinds().count("fault-reverted") == 1
