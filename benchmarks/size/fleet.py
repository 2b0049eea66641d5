"""A thousand models of twenty versions each: series, the rules' cost and the dashboards' on a real Prometheus.

One exporter has them all, scraped and evaluated every 60 s; every version answers and is labelled between two scrapes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.size import models, rules
from midwatch import modules
from midwatch.spec import load
from midwatch.spec.model import Caps, Platform

MODELS, VERSIONS = 1000, 20
INTERVAL, SECONDS = 60, 120
START_SECONDS = 300.0
"""How long the first scrape, in which every series is new, may take on a busy machine."""


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of one run."""
    count, versions = (3, 4) if smoke else (MODELS, VERSIONS)
    interval, seconds = (2, 4) if smoke else (INTERVAL, SECONDS)
    with tempfile.TemporaryDirectory() as name:
        file = models.write(Path(name), count)
        render = modules.command("midwatch", "render", "-f", str(file), "-o", f"{name}/out", "--only", "rules")
        platform = _with_room(load.load_platform(file), versions)
        with ExitStack() as running:
            address = running.enter_context(rules.exporter_of(platform, versions))
            subprocess.run(render, check=True, stderr=subprocess.DEVNULL)
            process, url = running.enter_context(rules.prometheus_of(Path(name), address, interval))
            of_exporter = f'{{instance="{address}"}}'
            _until_scraped(url, of_exporter)
            time.sleep(interval)
            before, begun = rules.cpu(process), time.monotonic()
            time.sleep(seconds)
            cores = (rules.cpu(process) - before) / (time.monotonic() - begun)
            slowest = _value(url, "max(prometheus_rule_group_last_duration_seconds)")
            figures = [
                _figure("series in Prometheus", 2_000_000, _value(url, "prometheus_tsdb_head_series"), "series"),
                _figure("of these the exporter's", 2_000_000, _value(url, f"scrape_samples_scraped{of_exporter}"), ""),
                _figure("samples a second, rules' own with them", 200_000, _samples(url, seconds), "1/s"),
                _figure("evaluating the slowest group", interval, slowest, "s"),
                _figure("groups that took longer than the interval", 0, _late(url), "groups"),
                _figure("cores of Prometheus", 2, cores, "cores"),
                _figure("its memory", 8192, _memory(process.pid), "MiB"),
                _figure("asking every panel of every dashboard", 120, _verified(file, url), "s"),
            ]
    return [replace(one, name=f"{count:,} models x {versions} versions: {one.name}") for one in figures]


def _figure(name: str, target: float, measured: float, unit: str) -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better="less")


def _with_room(platform: Platform, versions: int) -> Platform:
    caps = Caps(models=len(platform.models), versions=versions, series=10_000_000)
    return platform.model_copy(update={"exporter": platform.exporter.model_copy(update={"caps": caps})})


def _value(url: str, expr: str) -> float:
    asked = urllib.parse.urlencode({"query": expr})
    with urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=60) as answer:
        found = json.load(answer)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def _until_scraped(url: str, targets: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while _value(url, f"up{targets}") == 0:
        if time.monotonic() > deadline:
            raise RuntimeError("the exporter is not scraped")
        time.sleep(1)


def _samples(url: str, seconds: float) -> float:
    return _value(url, f"sum(rate(prometheus_tsdb_head_samples_appended_total[{max(8, int(seconds))}s]))")


def _late(url: str) -> float:
    return _value(url, "count(prometheus_rule_group_last_duration_seconds > prometheus_rule_group_interval_seconds)")


def _memory(pid: int) -> float:
    """Largest resident MiB so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _verified(file: Path, url: str) -> float:
    """Seconds in which every panel, variable and annotation is asked once."""
    begun = time.perf_counter()
    command = [sys.executable, "-P", "-m", "midwatch", "dashboards", "verify", "-f", str(file), "--prometheus", url]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun
