"""Faults, one after the other, on an exporter whose clients never stop; then the ledgers against what was counted."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Comparison, Figure
from benchmarks.soak.disk import Disk
from benchmarks.soak.faults import KINDS, STARTING, Scene
from benchmarks.soak.ledger import Client
from benchmarks.soak.process import Exporter

CLIENTS = 3
SEED = 15
FAULTS = 500
TIMES = 3
"""Faults of a kind in one turn, if no exporter has to be started for them: starts take most of the time."""
SECONDS = 420.0
"""After as many no further fault is begun, however few there were."""


def run(*, smoke: bool) -> list[Figure | Comparison]:
    """All figures of the soak; the state and the exporter's log stay where something was lost."""
    folder = Path(tempfile.mkdtemp(prefix="midwatch-soak-"))
    with (folder / "exporter.log").open("w") as log:
        disk = Disk(folder, folder / "state")
        exporter = Exporter(folder / "state", log, disk.environment)
        try:
            figures = [*_measured(exporter, disk, len(KINDS) if smoke else FAULTS)]
        finally:
            exporter.process.kill()
            exporter.process.wait()
    if all(figure.met for figure in figures if isinstance(figure, Figure) and figure.better == "less"):
        shutil.rmtree(folder)
    return figures


def _measured(exporter: Exporter, disk: Disk, count: int) -> Iterator[Figure | Comparison]:
    stop = threading.Event()
    clients = [Client(number, exporter, stop, SEED) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    begun = time.monotonic()
    done = _faults(Scene(exporter=exporter, disk=disk, source=random.Random(SEED)), count)
    stop.set()
    for client in clients:
        client.join(120)
    if failures := [client.failure for client in clients if client.failure or client.is_alive()]:
        raise RuntimeError(f"clients ended before their time: {failures}")
    exporter.end(signal.SIGKILL)
    exporter.start()
    seconds = time.monotonic() - begun
    sent = {
        "ml_requests_total": sum(client.predictions for client in clients),
        "ml_outcomes_total": sum(client.labels for client in clients),
    }
    counted = {metric: exporter.total(metric) for metric in sent}
    lost = sum(max(0, sent[metric] - counted[metric]) for metric in sent)
    double = sum(max(0, counted[metric] - sent[metric]) for metric in sent)
    total = sum(sent.values())
    faults, kinds = sum(done.values()), len(done)
    yield Figure(
        name=f"faults of {kinds} kinds, in {seconds:.0f} s", target=500, measured=faults, unit="", better="more"
    )
    yield Figure(name=f"lost of {total:,} acknowledged", target=0, measured=lost, unit="events", better="less")
    yield Figure(name="counted twice", target=0, measured=double, unit="events", better="less")
    yield Figure(name="restarts needed", target=0, measured=exporter.own_ends, unit="", better="less")
    yield Figure(name="peak memory under attack", target=700, measured=exporter.peak, unit="MiB", better="less")
    rows = [[kind, f"{number:,}"] for kind, number in sorted(done.items())]
    yield Comparison(title="faults by kind", columns=["kind", "times"], rows=rows)


def _faults(scene: Scene, count: int) -> Counter[str]:
    """Kinds in turn, in another order each time; those that cost no start several times in a turn."""
    done: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS
    turn = [*KINDS, *[kind for kind in KINDS if kind not in STARTING] * (TIMES - 1)]
    first = scene.source.sample(list(KINDS), len(KINDS))
    while sum(done.values()) < count and time.monotonic() < deadline:
        for kind in first or scene.source.sample(turn, len(turn)):
            if sum(done.values()) == count or time.monotonic() > deadline:
                break
            try:
                KINDS[kind](scene)
            except Exception as error:
                raise RuntimeError(f"{kind}, after {sum(done.values())} faults: {error}") from error
            done[kind] += 1
            scene.exporter.look()
        first = []
    return done
