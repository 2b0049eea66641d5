"""Many canaries at one gate: processor seconds of the gate for each look, and how long answers take.

Each canary is an analysis of its own start. Rounds are ten seconds of the analyses apart, so that two of three bring an
interval of 15 s that is new. Processor seconds are of the gate alone; the wall's are of this machine, with Prometheus.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from benchmarks.figure import Figure
from midwatch.ports import free_ports
from monitors.canary.times import moment
from tests.canary.arms import START, STEP, Past, prometheus_with
from tests.conftest import wait_for

ROUND_SECONDS = 10.0
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
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "prometheus": {"url": prometheus},
        "gate": {"deadline": deadline},
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [
            {
                "name": "fraud",
                "owner": "ml",
                "task": "classification",
                "canary": {"criteria": [{"metric": "errors"}, {"metric": "latency"}]},
            }
        ],
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    (port,) = free_ports()
    command = [sys.executable, "-P", "-m", "midwatch", "canary", "gate", "-f", str(folder / "platform.yaml")]
    command += ["--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", 60)  # its imports take 15 s on a machine with much else to do
        yield _Gate(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


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
    took: list[float]
    answered: list[bool]
    cpu: float


def _rounds(gate: _Gate, canaries: int, intervals: int, rounds: int, at_once: int) -> _Asked:
    """Ask about each canary in each round; the first round, which reads the whole past, is not measured."""
    starts = [START + 0.01 * number for number in range(canaries)]
    before, found = gate.cpu(), list[tuple[float, bool]]()
    with ThreadPoolExecutor(at_once) as pool:
        for number in range(rounds + 1):
            end = START + intervals * STEP + number * ROUND_SECONDS
            asked = list(pool.map(lambda start, end=end: gate.ask(start, end), starts))
            if number == 0:
                before = gate.cpu()
            else:
                found += asked
    took, answered = zip(*found, strict=True)
    return _Asked(list(took), list(answered), (gate.cpu() - before) / len(found))


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of 200 canaries of an hour, and of one of a day."""
    canaries, rounds, day = (3, 1, HOUR) if smoke else (200, 3, DAY - 20)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name, prometheus_with(_past(day + 10), Path(name)) as url:
        with _gate(url, Path(name), "800ms") as gate:
            # One at a time: what a core is asked for when the questions come spread over the ten seconds.
            hour = _rounds(gate, canaries, HOUR - 20, rounds, at_once=1)
        with _gate(url, Path(name), "20s") as gate:
            longer = _rounds(gate, 1, day, 2, at_once=1)
    cores = hour.cpu * canaries / ROUND_SECONDS
    late = hour.answered.count(False)
    p99 = float(np.quantile(hour.took, 0.99))
    figures.append(_figure(f"gate: {canaries} canaries of an hour every 10 s", 1, cores, "cores", "less"))
    figures.append(
        _figure(f"gate: of these {len(hour.took)} looks without a verdict in time", 0, late, "looks", "less")
    )
    figures.append(_figure("gate: an answer among these, p99", 0.8, p99, "s", "less"))
    figures.append(_figure("gate: CPU of a look at an analysis of 24 h", 0.8, longer.cpu, "s", "less"))
    return figures


def _figure(name: str, target: float, measured: float, unit: str, better: str) -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better=better)
