"""How long a verdict takes: as a function, at the gate, and of a whole canary."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import gate_process
from benchmarks.canary.simulation import LOOKS, NEVER, SEEDS, STEP, figure, share_slower
from benchmarks.figure import Figure
from midwatch import prometheus
from midwatch.spec import canary as spec
from monitors.canary import ask
from monitors.canary.question import Question
from monitors.canary.times import moment
from tests.canary.arms import START, Past, prometheus_with

HISTOGRAMS = [f"stage{index}_seconds" for index in range(10)]
BUCKETS = np.geomspace(0.001, 10, 14)


def _past(size: int) -> Past:
    """Two versions at 500/s with ten histograms of fifteen buckets."""
    past = Past(START + size * STEP)
    generator = np.random.default_rng(SEEDS + 31)
    for version, rps in (("v1", 450.0), ("v2", 50.0)):
        requests = generator.poisson(rps * STEP, size)
        labels = {"model": "fraud", "version": version}
        past.grow("ml_requests_total", requests, outcome="ok", **labels)
        for name in HISTOGRAMS:
            for bound in BUCKETS:
                slower = generator.binomial(requests, share_slower(bound))
                past.grow(f"{name}_bucket", requests - slower, le=f"{bound:g}", **labels)
            past.grow(f"{name}_bucket", requests, le="+Inf", **labels)
    return past


def _criteria() -> list[dict[str, object]]:
    return [{"metric": "latency", "name": f"stage-{i}", "histogram": name} for i, name in enumerate(HISTOGRAMS)]


def speed(*, smoke: bool) -> list[Figure]:
    """Seconds to a verdict from a real Prometheus, called as a function and asked for at the gate."""
    size = 24 if smoke else LOOKS
    settings = spec.Canary.model_validate({"criteria": _criteria()})
    question = Question(model="fraud", baseline="v1", canary="v2", start=START, end=START + size * STEP)
    with tempfile.TemporaryDirectory() as name, prometheus_with(_past(size), Path(name)) as url:
        client = prometheus.Client(url)
        times = []
        for _ in range(2 if smoke else 6):
            begun = time.perf_counter()
            counts, said = ask.ask(client, question, settings, interval=STEP)
            times.append(time.perf_counter() - begun)
        if len(counts.counted) != len(HISTOGRAMS) or counts.baseline_requests.size != size:
            raise RuntimeError(f"the verdict is not of {len(HISTOGRAMS)} criteria: {said.reason}")
        with gate_process.started(url, Path(name), _criteria()) as (gate, _):
            one = [_answered(gate, size) for _ in range(2 if smoke else 40)]
            with ThreadPoolExecutor(8) as pool:
                many = list(pool.map(lambda _: _answered(gate, size), range(8 if smoke else 160)))
    with (
        tempfile.TemporaryDirectory() as name,
        _hanging() as url,
        gate_process.started(url, Path(name), _criteria()) as (gate, _),
    ):
        hanging = [_answered(gate, size)[0] for _ in range(1 if smoke else 5)]
    undecided = sum(why for _, why in (*one, *many))
    return [
        figure("verdict from Prometheus, 60 min x 10 criteria x 15 buckets, slowest", 1, max(times[1:]), "s", "less"),
        figure("the same at the gate, slowest", 1, max(took for took, _ in one), "s", "less"),
        figure("the same at the gate, 8 at once, slowest", 1, max(took for took, _ in many), "s", "less"),
        figure(f"of these {len(one) + len(many)}, without an answer in time", 0, undecided, "answers", "less"),
        figure("the gate while Prometheus hangs, slowest", 1, max(hanging), "s", "less"),
    ]


def _answered(gate: str, size: int) -> tuple[float, bool]:
    """Seconds to an answer, and whether it was given up for time."""
    times = {"start": moment(START), "end": moment(START + size * STEP)}
    body = json.dumps({"model": "fraud", "baseline": "v1", "canary": "v2", **times}).encode()
    begun = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{gate}/verdict", body), timeout=30) as response:
        said = json.load(response)
    return time.perf_counter() - begun, "answer" in said["reason"] or "busy" in said["reason"]


@contextmanager
def _hanging() -> Iterator[str]:
    """URL of something that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def whole() -> list[Figure]:
    """One run of everything: real Prometheus, model servers under load, a good canary and a bad one at the gate."""
    command = [sys.executable, "-P", "-m", "midwatch", "up", "-f", "examples/flights/platform.yaml"]
    done = subprocess.run([*command, "--duration", "60s", "--json"], capture_output=True, check=False)
    said = {one["canary"]: one for one in json.loads(done.stdout)["canaries"]}
    right = sum(said[name]["verdict"] == verdict for name, verdict in (("v3", "pass"), ("v2", "fail")))
    return [
        figure("flights, real servers: right verdicts on a good and a bad canary", 2, right, "verdicts", "more"),
        figure("flights: the good one passed after", 60, said["v3"]["decided_after_seconds"] or NEVER, "s", "less"),
        figure("flights: the bad one failed after", 60, said["v2"]["decided_after_seconds"] or NEVER, "s", "less"),
    ]
