"""A scrape of an exporter with 300,000 series: its processor time, its size, and what events wait for meanwhile.

Every outcome of every version comes once: 5 classes by 5, within 6 groups of 2 attributes, counted as they come and
again when they are settled. Before a scrape "of all that changed" each has come once more.
"""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.exporter import Server, serving
from benchmarks.figure import Figure
from benchmarks.size import models

VERSIONS = 2
MODELS, SMOKE_MODELS = 320, 2
BATCH = 1000
SCRAPE = {"accept-encoding": "gzip"}
PROBES = 200
"""Single events that are sent while scrapes go on."""


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of a scrape of all that changed, of one of nothing new, and of events during scrapes."""
    count = SMOKE_MODELS if smoke else MODELS
    with tempfile.TemporaryDirectory() as name:
        file = models.write(Path(name), count)
        with serving(Path(name) / "state", "-f", str(file)) as server:
            _tell(server, count, "a")
            time.sleep(0 if smoke else 3)  # the cohorts of a second are settled
            scrape(server)
            _tell(server, count, "b")
            time.sleep(0 if smoke else 3)
            changed, size = _cost(server)
            same, _ = _cost(server)
            series = _series(server)
            probes = 20 if smoke else PROBES
            p99 = _p99_during_scrapes(server, probes)
            alone = _p99(_latencies(server, probes, "q"))
    of = f"{series:,.0f} series"
    return [
        _figure(f"scrape of {of}, all changed: CPU for 300,000", 1.0, changed * 300_000 / series, "s"),
        _figure(f"scrape of {of}, none changed: CPU for 300,000", 0.3, same * 300_000 / series, "s"),
        _figure(f"scrape of {of}: gzip", 5.0, size / 2**20, "MiB"),
        _figure(f"an event during scrapes of {of}, p99", 50.0, p99 * 1000, "ms", f"without scrapes {alone * 1000:.3g}"),
    ]


def _figure(name: str, target: float, measured: float, unit: str, peer: str = "") -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better="less", peer=peer)


def _events(count: int, prefix: str) -> Iterator[bytes]:
    """A prediction and its label of each outcome, of every model and version."""
    now = time.time()
    groups = list(zip(*models.GROUPS.values(), strict=True))
    for number, version in itertools.product(range(count), range(VERSIONS)):
        outcomes = itertools.product(models.CLASSES, models.CLASSES, groups)
        for place, (predicted, actual, group) in enumerate(outcomes):
            common = {"id": f"{prefix}{version}-{place}", "model": models.name(number), "ts": now}
            asked = {"version": f"v{version}", "prediction": predicted, "duration_seconds": 0.01 * (place % 7)}
            named = dict(zip(models.GROUPS, group, strict=True))
            yield json.dumps({"event": "prediction", **common, **asked, "groups": named}).encode()
            yield json.dumps({"event": "label", **common, "label": actual}).encode()


def _tell(server: Server, count: int, prefix: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    events = _events(count, prefix)
    while batch := list(itertools.islice(events, BATCH)):
        connection.request("POST", "/events", b"\n".join(batch))
        with connection.getresponse() as answer:
            if answer.status != http.client.OK:
                raise RuntimeError(f"{answer.status}: {answer.read()[:200]!r}")
            answer.read()
    connection.close()


def scrape(server: Server) -> bytes:
    """Compressed metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/metrics", headers=SCRAPE)
    with connection.getresponse() as answer:
        body = answer.read()
    connection.close()
    return body


def _cost(server: Server) -> tuple[float, int]:
    """Processor seconds of a scrape, and bytes of its answer."""
    before = server.cpu_seconds()
    size = len(scrape(server))
    return server.cpu_seconds() - before, size


def _series(server: Server) -> float:
    found = [line for line in server.metrics().splitlines() if line.startswith("midwatch_exporter_series ")]
    return float(found[0].split()[1])


def _p99_during_scrapes(server: Server, probes: int) -> float:
    """Seconds that the slowest hundredth of single events wait while one scrape follows the other."""
    ended = threading.Event()

    def scrape_on() -> None:
        while not ended.is_set():
            scrape(server)

    thread = threading.Thread(target=scrape_on)
    thread.start()
    try:
        return _p99(_latencies(server, probes, "p"))
    finally:
        ended.set()
        thread.join()


def _p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def _latencies(server: Server, probes: int, prefix: str) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found = []
    for number in range(probes):
        event = {"event": "prediction", "id": f"{prefix}{number}", "model": models.name(0), "ts": time.time()}
        body = json.dumps({**event, "version": "v0", "prediction": models.CLASSES[0]}).encode()
        begun = time.perf_counter()
        connection.request("POST", "/events", body)
        with connection.getresponse() as answer:
            answer.read()
        found.append(time.perf_counter() - begun)
        time.sleep(0.01)
    connection.close()
    return found
