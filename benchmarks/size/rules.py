"""Cores that Prometheus takes for the rules of a model: what it takes of many models, less what it takes of few."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figure import Figure
from benchmarks.size import models
from exporters import collector
from exporters.events.state import State
from exporters.incremental import IncrementalText
from midwatch import exposition, jobs, metrics, modules
from midwatch.client.events import Label, Prediction
from midwatch.ports import free_ports
from midwatch.programs import path_of
from midwatch.spec import load
from midwatch.spec.model import Platform
from tests.conftest import wait_for

SIZES, SMOKE_SIZES = (10, 100), (2, 4)
INTERVAL = 15
"""Seconds between scrapes, and between evaluations."""
SECONDS = 120
READY_SECONDS = 300.0
"""A thousand models have seven thousand rule groups to read."""


def run(*, smoke: bool) -> Sequence[Figure]:
    """One figure; beside it the cores of each size."""
    few, many = SMOKE_SIZES if smoke else SIZES
    cores = [_cores(size, 2 if smoke else INTERVAL, 4 if smoke else SECONDS) for size in (few, many)]
    return [
        Figure(
            name=f"Prometheus: cores for a model, of {many} less those of {few}",
            target=0.002,
            measured=(cores[1] - cores[0]) / (many - few),
            unit="cores",
            better="less",
            peer=f"{few}: {cores[0]:.3f}, {many}: {cores[1]:.3f}",
        )
    ]


def _cores(size: int, interval: int, seconds: float) -> float:
    """Mean cores of Prometheus while it scrapes the exporter of so many models and evaluates their rules."""
    with tempfile.TemporaryDirectory() as name:
        file = models.write(Path(name), size)
        command = modules.command("midwatch", "render", "-f", str(file), "-o", f"{name}/out")
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        with exporter_of(load.load_platform(file)) as address, _prometheus(Path(name), address, interval) as process:
            time.sleep(interval)
            before, begun = cpu(process), time.monotonic()
            time.sleep(seconds)
            return (cpu(process) - before) / (time.monotonic() - begun)


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _prometheus(folder: Path, exporter: str, interval: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real one with the rendered rules."""
    with prometheus_of(folder, exporter, interval) as (process, _):
        yield process


@contextmanager
def prometheus_of(folder: Path, exporter: str, interval: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The same, with its URL; a scrape may take as long as its interval."""
    config: dict[str, Any] = {
        "global": {f"{what}_interval": f"{interval}s" for what in ("scrape", "evaluation")}
        | {"scrape_timeout": f"{interval}s"},
        "rule_files": ["out/prometheus/rules/*.yml"],
        "scrape_configs": [{"job_name": jobs.EXPORTER, "static_configs": [{"targets": [exporter]}]}],
    }
    (port,) = free_ports()
    itself = {"job_name": jobs.PROMETHEUS, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    config["scrape_configs"].append(itself)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [path_of("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready", READY_SECONDS)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # with thousands of groups an orderly end takes minutes, and nothing of it is kept
        process.wait()


@contextmanager
def exporter_of(platform: Platform, versions: int = 2) -> Iterator[str]:
    """HOST:PORT of the text of an exporter whose every version answers and is labelled between two scrapes."""
    scrape, pool = _growing(platform, versions), ThreadPoolExecutor(1)
    ahead = [pool.submit(scrape)]  # the next answer is made while Prometheus waits for its time

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ahead[0].result()
            ahead[0] = pool.submit(scrape)
            self.send_response(200)
            self.send_header("content-type", exposition.CONTENT_TYPE)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        pool.shutdown(cancel_futures=True)


def _growing(platform: Platform, versions: int) -> Callable[[], bytes]:
    state, text, lock = State(platform.exporter, platform.models), IncrementalText(), threading.Lock()
    commits = ([0] * (len(metrics.COMMIT_BUCKETS) + 1), 0.0)

    def scrape() -> bytes:
        with lock:
            now = time.time()
            for model in platform.models:
                for place in range(max(len(models.CLASSES) * 2, versions)):
                    name = models.CLASSES[place % len(models.CLASSES)]
                    common = {"id": f"{now}-{place}", "model": model.name, "ts": now}
                    version = f"v{place % versions}"
                    asked = Prediction(**common, version=version, prediction=name, duration_seconds=0.02)
                    state.apply(now, [asked, Label(**common, label=models.CLASSES[place % 3])])
            totals = state.live()
            tables, histograms = collector.tables(totals), collector.histograms(totals, commits)
            for _ in text.write(tables, histograms, [], exposition.CONTENT_TYPE):
                pass
            return b"".join(text.pieces(exposition.CONTENT_TYPE))

    return scrape
