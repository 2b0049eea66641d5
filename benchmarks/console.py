"""How soon the console's pages are there with 200 models of 20 versions, and what many readers cost.

A real Prometheus has the series of all of them, and a real Chromium says when it painted first (Paint Timing, W3C).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import yaml

from benchmarks.figure import Figure
from tests.browser import pages
from tests.browser.console import seed
from tests.browser.console.conftest import Running, Serving
from tests.conftest import platform_document

MODELS, VERSIONS = 200, 20
READERS = 50
LOADS = 7
FIRST_PAINT = """() => new Promise(told => new PerformanceObserver(list => list.getEntries().forEach(
  one => one.name === "first-contentful-paint" && told(one.startTime))).observe({type: "paint", buffered: true}))"""


def run(*, smoke: bool = False) -> Sequence[Figure]:
    """Measure; `smoke` with few models."""
    models, loads = (5, 1) if smoke else (MODELS, LOADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = _platform_file(folder, models)
        with (
            seed.running_prometheus(folder, _seeded(models)) as prometheus,
            seed.running_alertmanager(folder, ()) as manager,
            Serving(file, prometheus, manager, every=5.0) as running,
        ):
            httpx.get(running.url, timeout=60)  # the first reader of all waits for the first reading
            return list(_figures(running, models, loads))


def _figures(running: Running, models: int, loads: int) -> Iterator[Figure]:
    what = f"{models} models x {VERSIONS} versions"
    with pages.started() as browser:
        for title, address, target in (
            ("overview", "/", 300.0),
            ("model", "/models/model-1", 300.0),
            ("objective", "/objectives/model-1/latency", 300.0),
            ("alerts", "/alerts", 300.0),
        ):
            paints = [_first_paint(browser, running.url + address) for _ in range(loads)]
            yield _at_most(f"first paint, {title}, {what}", target, median(paints), "ms", f"worst {max(paints):.0f} ms")
    seconds, sent, alone = _readers(running)
    yield _at_most(f"questions of {READERS} readers by those of one", 2.0, sent / max(1, alone), "")
    yield _at_most(f"a model's page for {READERS} readers at once, the slowest", 2.0, seconds, "s")


def _at_most(name: str, target: float, measured: float, unit: str, peer: str = "") -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better="less", peer=peer)


def _first_paint(browser: Any, url: str) -> float:
    """Milliseconds from the address to the first paint of content, in a browser that has nothing kept."""
    with pages.opened(browser, url) as page:
        return float(page.evaluate(FIRST_PAINT))


def _readers(running: Running) -> tuple[float, int, int]:
    """Seconds of the slowest of many who open a page at once, the questions they cost, and those of one alone."""
    asked = running.console.asked
    before = asked.sent
    httpx.get(f"{running.url}/models/model-2", timeout=60)
    alone = asked.sent - before
    times: list[float] = []

    def read() -> None:
        begun = time.monotonic()
        httpx.get(f"{running.url}/models/model-3", timeout=60).raise_for_status()
        times.append(time.monotonic() - begun)

    before = asked.sent
    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(times), asked.sent - before, alone


def _platform_file(folder: Path, models: int) -> Path:
    document = platform_document()
    model = document["models"][0]
    document["models"] = [{**model, "name": f"model-{number}"} for number in range(models)]
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def _seeded(models: int) -> seed.Seed:
    known = seed.Seed(now=time.time(), step=60.0, before=900.0, after=900.0)
    for number in range(models):
        versions = [f"v{version}" for version in range(VERSIONS)]
        seed.a_model(known, f"model-{number}", versions, owner="ml", features=(), groups=())
    return known
