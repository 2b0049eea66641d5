"""The drift judge of 300 models at 20,000 predictions a second: processor time, memory, how far it is behind."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.figure import Figure
from exporters.drift import published
from exporters.events import journal
from midwatch import modules
from midwatch.client.events import Prediction
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference_file

NUMERIC, CATEGORICAL = 26, 4
"""Features of a model."""

GROUP = 1000
"""Predictions of one frame of the journal, of all models in turn."""

MOMENT = 1.5e308
"""Stands for the time of a prediction in a frame that is made once."""

_LINE = msgspec.json.Decoder(published.Line)


def _columns(generator: np.random.Generator, rows: int) -> dict[str, Any]:
    numbers = {f"amount_of_something_{place}": generator.normal(size=rows) for place in range(NUMERIC)}
    texts = {f"kind_{place}": generator.choice(["UA", "AA", "EWR"], rows).tolist() for place in range(CATEGORICAL)}
    return numbers | texts


def _platform(folder: Path, models: int, window: str) -> Path:
    """A platform file whose models share one reference."""
    columns = _columns(np.random.default_rng(0), 20_000)
    kinds = {name: Feature.NUMERIC if name.startswith("amount") else Feature.CATEGORICAL for name in columns}
    reference_file.save(fitting.fit(columns, kinds, window_rows=2_000), folder / "reference.npz")
    features = {name: kind.value for name, kind in kinds.items()}
    drift = {"reference": "reference.npz", "window": window, "min_samples": 100, "features": features}
    document = {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "exporter": {"caps": {"models": models, "series": 1_000_000}},
        "models": [
            {"name": f"model-{number:03d}", "owner": "ml", "task": "classification", "drift": drift}
            for number in range(models)
        ],
    }
    (folder / "platform.yaml").write_text(yaml.safe_dump(document))
    return folder / "platform.yaml"


def _groups(models: int, count: int) -> list[bytes]:
    """Bodies of frames, whose predictions have `MOMENT` as their time."""
    columns = {name: list(column) for name, column in _columns(np.random.default_rng(1), GROUP).items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    groups = []
    for number in range(count):
        events = [
            Prediction(
                id=f"{number}-{place}-4f5a-bbe3-0123456789ab",
                model=f"model-{(number * GROUP + place) % models:03d}",
                version="v1",
                ts=MOMENT,
                duration_seconds=0.012,
                prediction="late",
                score=0.73,
                features={name: float(value) if isinstance(value, float) else value for name, value in row.items()},
            )
            for place, row in enumerate(rows)
        ]
        groups.append(msgspec.msgpack.encode(events))
    return groups


class _Judge:
    """A running judge, and what it said last."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.windows: dict[str, float] = {}
        self.status: published.Status | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for text in self._process.stdout or ():
            line = _LINE.decode(text)
            if isinstance(line, published.Status):
                self.status = line
            elif line.subject[0] == "record":
                counts = (values.get("ml_drift_windows_total", 0.0) for _, values in line.groups)
                self.windows[line.subject[1]] = sum(counts)

    def memory(self) -> float:
        """Largest resident MiB so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def cpu_seconds(self) -> float:
        """Processor time it has taken."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _judging(state: Path, platform_file: Path) -> Iterator[_Judge]:
    command = modules.command("exporters.drift.worker", "--state", str(state), "--platform", str(platform_file))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
    try:
        yield _Judge(process)
    finally:
        process.kill()
        process.communicate()


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of a minute; windows of half a minute, so that all models' windows end together twice.

    Processor time is that of all events and windows, also of those that come to an end later where the machine has
    other work: the judge gives way to that.
    """
    models, rate, seconds = (10, 2_000, 4) if smoke else (300, 20_000, 60)
    marker = struct.pack(">d", MOMENT)
    behind = [0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        platform_file = _platform(folder, models, "2s" if smoke else "30s")
        groups = _groups(models, max(10, rate // GROUP))
        kept = journal.Journal(folder / "state")
        kept.start_segment()
        with _judging(folder / "state", platform_file) as judge:
            while judge.status is None:
                time.sleep(0.1)
            before, begun, written = judge.cpu_seconds(), time.time(), 0
            while time.time() < begun + seconds:
                body = groups[written % len(groups)].replace(marker, struct.pack(">d", time.time()))
                kept.append(journal.encode(journal.EVENTS, time.time(), body))
                written += 1
                behind.append(_behind(folder / "state", judge.status))
                time.sleep(max(0.0, begun + written * GROUP / rate - time.time()))
            while _behind(folder / "state", judge.status) or sum(judge.windows.values()) < models:
                if time.time() > begun + seconds + 600:
                    raise RuntimeError("the judge does not come to an end")
                time.sleep(0.5)
            spent, memory = judge.cpu_seconds() - before, judge.memory()
        kept.close()
    cores = spent / (written * GROUP / rate)
    at = f"judge: {models} models, {rate:,} predictions/s"
    return [
        Figure(name=at, target=1, measured=cores, unit="cores", better="less"),
        Figure(name="judge: its memory", target=500, measured=memory, unit="MiB", better="less"),
        Figure(name="judge: behind, at the most", target=30, measured=max(behind), unit="s", better="less"),
    ]


def _behind(state: Path, status: published.Status) -> float:
    unread = journal.next_time(state, journal.Position(status.segment, status.offset))
    return max(status.waiting_seconds, 0.0 if unread is None else time.time() - unread)
