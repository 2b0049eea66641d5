"""The exporter as one process on one core, the clients on the other: throughput, latency, memory, and kill -9."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks import load
from benchmarks.figure import Figure
from midwatch import modules
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference_file


@dataclass
class Server:
    """A running exporter."""

    process: subprocess.Popen[str]
    port: int

    def metrics(self) -> str:
        """Its exposition."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def requests(self) -> int:
        """Predictions it has counted."""
        return int(sum(map(float, re.findall(r"^ml_requests_total\{.*\} (\S+)$", self.metrics(), re.M))))

    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """Processor time it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(state: Path, *options: str) -> Iterator[Server]:
    """An exporter on the first core, and its drift judge with it where the options ask for one."""
    command = ("midwatch", "exporter", "serve", "--listen", "127.0.0.1:0", "--state", str(state), *options)
    with _on_first_core(modules.command(*command)) as server:
        yield server


@contextmanager
def bare() -> Iterator[Server]:
    """A server on the first core that parses the same events and keeps nothing."""
    with _on_first_core([sys.executable, "-m", "benchmarks.bare"]) as server:
        yield server


@contextmanager
def _on_first_core(command: list[str]) -> Iterator[Server]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    try:
        told = map(json.loads, process.stderr or ())  # one that was killed says first what it found
        url = next(line["url"] for line in told if "url" in line)
        yield Server(process, int(url.rsplit(":", 1)[1]))
    finally:
        process.terminate()
        process.wait(60)


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Events a second, and processor time for each."""

    rate: float
    cpu_microseconds: float

    def beside(self, peer: Rate) -> str:
        """Another server's in the same run, and this one's part of it by time and by processor."""
        share, work = self.rate / peer.rate, peer.cpu_microseconds / self.cpu_microseconds
        return (
            f"bare ASGI {peer.rate:,.0f}/s: {share:.0%}; "
            f"CPU {self.cpu_microseconds:.2f} us to {peer.cpu_microseconds:.2f}: {work:.0%}"
        )


def rate(server: Server, client: Callable[..., Any], *arguments: Any) -> Rate:
    """What a client gets of a server; RuntimeError when not every event was acknowledged."""
    before = server.cpu_seconds()
    got = load.on_other_core(client, server.port, *arguments)
    if got["failed"]:
        raise RuntimeError(f"{got['failed']} events were not acknowledged")
    spent = server.cpu_seconds() - before
    return Rate(rate=got["acknowledged"] / got["seconds"], cpu_microseconds=spent / got["acknowledged"] * 1e6)


def _beside_bare(name: str, target: float, state: Path, client: Callable[..., Any], *arguments: Any) -> Figure:
    """A rate of the exporter, and what the bare server makes of the same."""
    with serving(state) as server:
        ours = rate(server, client, *arguments)
    with bare() as server:
        peer = rate(server, client, *arguments)
    return Figure(name=name, target=target, measured=ours.rate, unit="events/s", better="more", peer=ours.beside(peer))


def _throughput(state: Path, smoke: bool) -> Iterator[Figure]:
    seconds = 2 if smoke else 10
    yield _beside_bare("NDJSON batches of 100, durable", 150_000, state / "batches", load.batches, seconds, 60, 40)
    with serving(state / "singles") as server:
        got = load.on_other_core(load.singles, server.port, 2 if smoke else 10, 1_000 if smoke else 10_000, "a")
        measured = (len(got["latencies"]) - got["failed"]) / got["seconds"]
        yield Figure(
            name="single POSTs at 10,000/s, durable", target=9_900, measured=measured, unit="events/s", better="more"
        )
        p99 = _p99(got["latencies"]) * 1000
        yield Figure(name="their p99 acknowledgement", target=50, measured=p99, unit="ms", better="less")
    count = 5_000 if smoke else 80_000
    name = "KServe CloudEvents, a connection each"
    yield _beside_bare(name, 12_000, state / "kserve", load.cloud_events, count)


def _memory(state: Path, smoke: bool) -> Iterator[Figure]:
    waiting = 20_000 if smoke else 1_000_000
    with serving(state / "memory") as server:
        load.on_other_core(load.batches, server.port, 120, 100, 0, waiting // 100)
        if server.requests() != waiting:
            raise RuntimeError("not every prediction was counted")
        measured = server.memory()
    yield Figure(
        name=f"memory, {waiting:,} predictions waiting", target=250, measured=measured, unit="MiB", better="less"
    )


def _series(count: int) -> bytes:
    """Events that make about `count` series: 20 versions each of as many models as it takes, two classes."""
    events = []
    for number in range(count // 23):
        model, version = f"m{number // 20}", f"v{number % 20}"
        event: dict[str, Any] = {"event": "prediction", "id": f"s{number}", "model": model, "version": version}
        events.append(
            json.dumps({**event, "ts": time.time(), "prediction": "a", "score": 0.5, "duration_seconds": 0.1})
        )
    return "\n".join(events).encode()


def _scrapes(state: Path, smoke: bool) -> Iterator[Figure]:
    with serving(state / "scrapes") as server:
        url = f"http://127.0.0.1:{server.port}/events"
        urllib.request.urlopen(urllib.request.Request(url, _series(11_800)), timeout=30).close()
        series = sum(not line.startswith("#") for line in server.metrics().splitlines())
        calm = []
        for _ in range(5 if smoke else 30):
            begun = time.perf_counter()
            server.metrics()
            calm.append(time.perf_counter() - begun)
        ended = threading.Event()

        def scrape() -> None:
            while not ended.wait(1.0):
                server.metrics()

        scraping = threading.Thread(target=scrape)
        scraping.start()
        got = load.on_other_core(load.singles, server.port, 2 if smoke else 10, 1_000 if smoke else 5_000, "b")
        ended.set()
        scraping.join()
    name = f"/metrics with {series:,} series, slowest of {len(calm)}"
    yield Figure(name=name, target=50, measured=max(calm) * 1000, unit="ms", better="less")
    p99 = _p99(got["latencies"]) * 1000
    yield Figure(name="p99 at 5,000/s, a scrape each second", target=50, measured=p99, unit="ms", better="less")


def _judged(state: Path, smoke: bool) -> Iterator[Figure]:
    """A judge of drift on the exporter's own core: a window each second, all methods."""
    generator = np.random.default_rng(0)
    rows, window = 20_000, 5_000
    numbers = {name: generator.normal(size=rows) for name in ("distance", "wind_speed", "visib")}
    texts = {name: generator.choice(["UA", "AA", "EWR"], rows).tolist() for name in ("carrier", "origin")}
    kinds = dict.fromkeys(numbers, Feature.NUMERIC) | dict.fromkeys(texts, Feature.CATEGORICAL)
    reference_file.save(fitting.fit(numbers | texts, kinds, window_rows=window), state / "reference.npz")
    methods = ["ks", "psi", "chi2", "mmd", "isolation_forest", "classifier"]
    drift = {"reference": "reference.npz", "window": "1s", "min_samples": 100, "methods": methods, "quorum": 3}
    model = {"name": "flight-delay", "owner": "ml", "task": "classification"}
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [model | {"drift": drift | {"features": {name: kind.value for name, kind in kinds.items()}}}],
    }
    (state / "platform.yaml").write_text(yaml.safe_dump(document))
    with serving(state / "judged", "--file", str(state / "platform.yaml")) as server:
        got = load.on_other_core(load.singles, server.port, 4 if smoke else 15, 1_000 if smoke else 5_000, "c")
        deadline = time.monotonic() + 60  # the judge gives way to ingestion, and comes after it
        while not re.search(r"^ml_drift_windows_total\{.* [1-9]", server.metrics(), re.M):
            if time.monotonic() > deadline:
                raise RuntimeError("no window was judged")
            time.sleep(0.5)
    p99 = _p99(got["latencies"]) * 1000
    yield Figure(name="p99 at 5,000/s, drift judged each second", target=50, measured=p99, unit="ms", better="less")


def _kills(state: Path, smoke: bool) -> Iterator[Figure]:
    """A client that keeps a ledger of what was acknowledged; what it does not know it sends again."""
    rounds = 3 if smoke else 20
    source = random.Random(7)
    acknowledged, lost, twice = 0, 0, 0
    unknown: bytes | None = None
    for number in range(rounds + 1):
        with serving(state / "kills") as server:
            if unknown is not None:
                acknowledged += _send(server.port, unknown)
            counted = server.requests()
            lost += max(0, acknowledged - counted)
            twice += max(0, counted - acknowledged)
            if number == rounds:
                break
            killer = threading.Timer(source.uniform(0.2, 0.6), server.process.send_signal, (signal.SIGKILL,))
            killer.start()
            batch, body = 0, load.template(50, 0)
            try:
                while True:
                    unknown = load.filled(body, number * 100_000 + batch, 0)
                    acknowledged += _send(server.port, unknown)
                    batch += 1
            except OSError:
                killer.join()
    yield Figure(
        name=f"kill -9 under load, {rounds} times: lost", target=0, measured=lost, unit="events", better="less"
    )
    name = f"counted twice (of {acknowledged:,} acknowledged)"
    yield Figure(name=name, target=0, measured=twice, unit="events", better="less")


def _send(port: int, body: bytes) -> int:
    """Events that are kept now: those accepted, and those of a batch that was kept before it could be said."""
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/events", body), timeout=10) as answer:
        document = json.load(answer)
    return int(document["accepted"] + document["duplicates"])


def run(*, smoke: bool) -> list[Figure]:
    """All figures of the exporter."""
    with tempfile.TemporaryDirectory(prefix="midwatch-bench-") as name:
        return [
            figure for part in (_throughput, _memory, _scrapes, _judged, _kills) for figure in part(Path(name), smoke)
        ]
