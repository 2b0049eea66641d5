"""How surely and how soon an experiment ends: stops, kills, preconditions, false stops, and what the evidence keeps."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from chaos import preconditions
from chaos.run import watchdog
from chaos.run.sequential import Counts, StopCondition
from midwatch import evidence, processes

RUNNER = """
import os, subprocess, time, uuid
from pathlib import Path
from midwatch import evidence
from chaos import faults
from chaos.places.local.faults import Hogs
folder = Path(os.environ["MIDWATCH_CHAOS_RUN"])
ledger = faults.Ledger(folder, evidence.Log(folder / "evidence.jsonl"))
ledger.inject(Hogs(target="machine", number=uuid.uuid4().hex, takes="memory", count=1, size=2**20, seconds=120.0))
subprocess.run(["setsid", "--fork", "sleep", "120"])
subprocess.run(["setsid", "--fork", "env", "-i", "MARK=" + folder.name, "sleep", "120"])
(folder / "ready").touch()
time.sleep(120)
"""
"""A fault with a process, and two daemons, one of which has lost the run's mark."""


class Run:
    """A watched run whose fault is there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.log = folder, folder / "evidence.jsonl"
        command = [sys.executable, "-m", "chaos.run.watchdog", str(folder), "--log", str(self.log), "--"]
        self.watchdog = subprocess.Popen(
            [*command, sys.executable, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if not processes.wait_until((folder / "ready").exists, 60):
            raise RuntimeError("the fault was not injected")
        self.runner = next(one.data["runner"] for one in evidence.read(self.log) if one.kind == "runner-started")

    def orphans(self) -> int:
        """Processes of the run that are still there."""
        found = processes.marked(watchdog.RUN_VARIABLE, str(self.folder)) | processes.marked("MARK", self.folder.name)
        return sum(processes.identify(pid) is not None for pid in found)

    def is_reverted(self) -> bool:
        """Whether nothing of it is left."""
        return not any((self.folder / "faults").iterdir()) and self.orphans() == 0

    def end(self) -> None:
        """Close what connects us."""
        for stream in (self.watchdog.stdin, self.watchdog.stdout):
            if stream:
                stream.close()
        self.watchdog.wait(30)


def _stops(state: Path, smoke: bool) -> Iterator[Figure]:
    seconds, orphans = [], 0
    for number in range(3 if smoke else 100):
        run = Run(state / f"stop-{number}")
        begun = time.perf_counter()
        assert run.watchdog.stdin is not None
        assert run.watchdog.stdout is not None
        run.watchdog.stdin.write("measured\n")
        run.watchdog.stdin.flush()
        outcome = json.loads(run.watchdog.stdout.readline())
        seconds.append(time.perf_counter() - begun)
        orphans += run.orphans() + len(outcome["problems"])
        run.end()
    name = f"chaos: stop to all clean, p99 of {len(seconds)}"
    yield Figure(name=name, target=1, measured=float(np.quantile(seconds, 0.99)), unit="s", better="less")
    yield Figure(name="chaos: processes or faults left", target=0, measured=orphans, unit="", better="less")


def _kills(state: Path, smoke: bool) -> Iterator[Figure]:
    """Every second time the command is killed with the runner, as far as the watchdog can tell."""
    seconds, rounds = [], 3 if smoke else 100
    for number in range(rounds):
        run = Run(state / f"kill-{number}")
        begun = time.perf_counter()
        os.kill(run.runner, signal.SIGKILL)
        if number % 2 and run.watchdog.stdin:
            run.watchdog.stdin.close()
        if processes.wait_until(run.is_reverted, 10):
            seconds.append(time.perf_counter() - begun)
        run.end()
    name = f"chaos: reverted within 10 s of kill -9, of {rounds}"
    yield Figure(name=name, target=rounds, measured=len(seconds), unit="runs", better="more")
    slowest = max(seconds, default=10.0)
    yield Figure(name="chaos: slowest of them", target=10, measured=slowest, unit="s", better="less")


def _preconditions(smoke: bool) -> Iterator[Figure]:
    def raises() -> str:
        raise RuntimeError("boom")

    def hangs() -> str:
        time.sleep(0.2)
        return "too late"

    def without_data() -> str:
        raise preconditions.NoDataError("nothing")

    def refuses() -> str:
        raise preconditions.RefusalError("no")

    broken = [raises, hangs, without_data, refuses, lambda: False, lambda: None, lambda: True]
    rounds = 1 if smoke else 20
    decisions = [preconditions.decide("it", one, 0.05) for one in broken for _ in range(rounds)]  # type: ignore[arg-type]
    refused = 100 * sum(not one.allowed for one in decisions) / len(decisions)
    yield Figure(name="chaos: broken preconditions that refuse", target=100, measured=refused, unit="%", better="more")


def _condition() -> StopCondition:
    return StopCondition(target_tolerated=0.02, control_tolerated=0.02, false_stops=0.01)


def _sequential(smoke: bool) -> Iterator[Figure]:
    """At 100 requests/s per arm, looked at each second for ten minutes; healthy is exactly what is tolerated."""
    generator, runs = np.random.default_rng(11), 50 if smoke else 1000
    stopped = 0
    for _ in range(runs):
        condition, errors = _condition(), generator.binomial(100, 0.02, size=(600, 2))
        for target, control in errors.tolist():
            condition.observe(Counts(100, target), Counts(100, control))
            if condition.reason():
                stopped += 1
                break
    name = f"chaos: healthy runs stopped, of {runs:,}"
    yield Figure(name=name, target=0.01 * runs, measured=stopped, unit="runs", better="less")
    seconds = []
    for _ in range(20 if smoke else 300):
        condition, second = _condition(), 0
        while not condition.reason():
            second += 1
            target, control = generator.binomial(100, [0.05, 0.005]).tolist()
            condition.observe(Counts(100, target), Counts(100, control))
        seconds.append(second)
    name = "chaos: 5% errors, 2% tolerated: stopped (median)"
    yield Figure(name=name, target=10, measured=float(np.median(seconds)), unit="s", better="less")


WRITER = """
import sys; from pathlib import Path; from midwatch import evidence
log = evidence.Log(Path(sys.argv[1]))
while True:
    print(log.append("step", text="x" * 200).seq, flush=True)
"""


def _evidence(state: Path, smoke: bool) -> Iterator[Figure]:
    source, path, rounds = random.Random(5), state / "kills.jsonl", 3 if smoke else 50
    lost, told = 0, -1
    for _ in range(rounds):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        told = max(told, int(writer.stdout.readline()))
        time.sleep(source.uniform(0, 0.05))
        writer.kill()
        told = max([told, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
        writer.wait()
        writer.stdout.close()
        kept = max((one.seq for one in evidence.read(path)), default=-1)
        lost = max(lost, told - kept)
    evidence.Log(path).append("end")
    broken = len(evidence.verify(path).problems)
    name = f"chaos: events lost in any of {rounds} kills, at most"
    yield Figure(name=name, target=1, measured=lost + broken, unit="events", better="less")
    yield _changes(state, 2 if smoke else 12)


def _changes(state: Path, records: int) -> Figure:
    """Every byte of a log, changed by one bit."""
    log = evidence.Log(state / "changes.jsonl")
    for number in range(records):
        log.append("step", number=number)
    content, changed, missed = log.path.read_bytes(), state / "changed.jsonl", 0
    for place in range(len(content)):
        changed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        missed += not evidence.verify(changed).problems
    name = f"chaos: changed bytes not found, of {len(content):,}"
    return Figure(name=name, target=0, measured=missed, unit="bytes", better="less")


def run(*, smoke: bool) -> list[Figure]:
    """All figures of the experiments."""
    with tempfile.TemporaryDirectory(prefix="midwatch-bench-chaos-") as name:
        state = Path(name)
        return [
            *_stops(state, smoke),
            *_kills(state, smoke),
            *_preconditions(smoke),
            *_sequential(smoke),
            *_evidence(state, smoke),
        ]
