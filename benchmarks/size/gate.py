"""Many canaries at one gate: processor seconds of the gate for each look, and how long answers take.

Each canary is an analysis of its own start. Rounds are ten seconds of the analyses apart, so that two of three bring an
interval of 15 s that is new. Processor seconds are of the gate alone; the wall's are of this machine, with Prometheus.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import gate_process
from benchmarks.figure import Figure
from monitors.canary.times import moment
from tests.canary.arms import START, STEP, Past, prometheus_with

ROUND_SECONDS = 10.0
CANARIES = 200
"""That a gate answers on one core."""
MOST_LOOKS = 20
HOUR, DAY = 240, 5760
"""Intervals."""
BOUNDS = np.geomspace(0.001, 10, 14)


@dataclass(frozen=True)
class _Gate:
    url: str
    pid: int

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, start: float, end: float) -> tuple[float, bool]:
        """Seconds to an answer, and whether it is a verdict on what Prometheus said."""
        asked = {"model": "fraud", "baseline": "v1", "canary": "v2", "start": moment(start), "end": moment(end)}
        begun = time.perf_counter()
        request = urllib.request.Request(f"{self.url}/verdict", json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=30) as response:
            said = json.load(response)
        return time.perf_counter() - begun, said["evidence"]["requests"]["canary"] > 0


@contextmanager
def _gate(prometheus: str, folder: Path, deadline: str) -> Iterator[_Gate]:
    criteria = [{"metric": "errors"}, {"metric": "latency"}]
    with gate_process.started(prometheus, folder, criteria, gate={"deadline": deadline}) as process:
        yield _Gate(process.url, process.pid)


def _past(size: int) -> Past:
    """Two versions at 500/s: requests by outcome, and a histogram of fifteen buckets."""
    past, generator = Past(START + size * STEP), np.random.default_rng(31)
    for version, rps in (("v1", 450.0), ("v2", 50.0)):
        labels = {"model": "fraud", "version": version}
        requests = generator.poisson(rps * STEP, size)
        past.grow("ml_requests_total", requests, outcome="ok", **labels)
        past.grow("ml_requests_total", generator.poisson(rps * STEP * 0.01, size), outcome="error", **labels)
        for bound in BOUNDS:
            slower = generator.binomial(requests, float(np.exp(-bound / 0.05)))
            past.grow("ml_request_duration_seconds_bucket", requests - slower, le=f"{bound:g}", **labels)
        past.grow("ml_request_duration_seconds_bucket", requests, le="+Inf", **labels)
    return past


@dataclass(frozen=True)
class _Asked:
    """Seconds to each answer, whether it was a verdict, and processor seconds of a look.

    `first_cpu` are those until an analysis has its first verdict, which took `first_looks` looks at most.
    """

    took: list[float]
    answered: list[bool]
    first_cpu: float
    first_looks: int
    cpu: float


def _rounds(gate: _Gate, canaries: int, intervals: int, rounds: int, at_once: int) -> _Asked:
    """Ask about each canary until it has a verdict, which reads the whole past, and then in each round."""
    starts = [START + 0.01 * number for number in range(canaries)]
    begun, end, found = gate.cpu(), START + intervals * STEP, list[tuple[float, bool]]()
    with ThreadPoolExecutor(at_once) as pool:
        looks = list(pool.map(lambda start: _until_verdict(gate, start, end), starts))
        before = gate.cpu()
        for number in range(1, rounds + 1):
            now = end + number * ROUND_SECONDS
            found += pool.map(lambda start, now=now: gate.ask(start, now), starts)
    took, answered = zip(*found, strict=True)
    cpu = (gate.cpu() - before) / len(found)
    return _Asked(list(took), list(answered), (before - begun) / canaries, max(looks), cpu)


def _until_verdict(gate: _Gate, start: float, end: float) -> int:
    """How many looks it takes until there is a verdict."""
    return next((look for look in range(1, MOST_LOOKS) if gate.ask(start, end)[1]), MOST_LOOKS)


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of 200 canaries of an hour, and of some of a day, each asked about as often."""
    canaries, rounds, day, of_a_day = (3, 1, HOUR, 1) if smoke else (200, 3, DAY - 20, 8)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, prometheus_with(_past(day + 10), Path(name)) as url:
        with _gate(url, Path(name), "800ms") as gate:
            # One at a time: what a core is asked for when the questions come spread over the ten seconds.
            hour = _rounds(gate, canaries, HOUR - 20, rounds, at_once=1)
        with _gate(url, Path(name), "800ms") as gate:
            longer = _rounds(gate, of_a_day, day, rounds, at_once=1)
    cores, cores_of_a_day = (one.cpu * CANARIES / ROUND_SECONDS for one in (hour, longer))
    late = hour.answered.count(False)
    p99 = float(np.quantile(hour.took, 0.99))
    figures.append(_figure(f"gate: {CANARIES} canaries of an hour every 10 s", 1, cores, "cores", "less"))
    figures.append(
        _figure(f"gate: of these {len(hour.took)} looks without a verdict in time", 0, late, "looks", "less")
    )
    figures.append(_figure("gate: an answer among these, p99", 0.8, p99, "s", "less"))
    late, p99 = longer.answered.count(False), float(np.quantile(longer.took, 0.99))
    figures.append(_figure(f"gate: {CANARIES} canaries of 24 h every 10 s", 1, cores_of_a_day, "cores", "less"))
    figures.append(
        _figure(f"gate: of {len(longer.took)} looks at 24 h without a verdict in time", 0, late, "looks", "less")
    )
    figures.append(_figure("gate: an answer among looks at 24 h, p99", 0.8, p99, "s", "less"))
    figures.append(_figure("gate: CPU until the first verdict at 24 h", 0.8, longer.first_cpu, "s", "less"))
    figures.append(_figure("gate: looks until the first verdict at 24 h", 1, longer.first_looks, "looks", "less"))
    return figures


def _figure(name: str, target: float, measured: float, unit: str, better: str) -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better=better)
