"""Drift on the stream: rows a second into the windows' counts on two cores, as the buckets of a batch give them.

Measured is what the driver waits for: versions admitted, rows counted by Spark's workers on the reference's cells, a
sample of rows kept, counts taken into the windows, and the state ready for its transaction. Per core: what driver,
Java and workers take of the processors, whoever else is on the machine. The peer is the counting alone, in
this process, on one core. Decoding events and dropping retries come before; `stream` measures all together.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.figure import Figure
from exporters.stream import session
from exporters.stream.drift import collected, counting
from exporters.stream.drift.collected import Columns, Seen
from exporters.stream.drift.judging import Judging
from exporters.stream.drift.kept import Changes
from exporters.stream.session import Machine
from midwatch.spec import load
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference_file

GOAL = 1_000_000
START = 1_700_000_000.0
NUMERIC, CATEGORICAL = tuple(f"x{place}" for place in range(8)), ("country", "channel")
CATEGORIES = ("a", "b", "c", "d", "e", "f", "g", "h")
REPEATS = 5
VERSION = ("fraud", "v1")

PLATFORM = """
apiVersion: midwatch/v1
platform: bench
owners: {{ml: {{page: [mail], ticket: [mail]}}}}
channels: {{mail: {{email: {{to: ml@example.com, from: p@example.com, smarthost: "mail:25"}}}}}}
models:
  - name: fraud
    owner: ml
    task: classification
    positive: fraud
    drift: {{reference: r.npz, window: 1h, methods: {methods}, features: {features}}}
"""

KINDS = dict.fromkeys(NUMERIC, Feature.NUMERIC) | dict.fromkeys(CATEGORICAL, Feature.CATEGORICAL)


def run(*, smoke: bool) -> Sequence[Figure]:
    """Rows with and without a sample for methods that look at whole rows."""
    rows, buckets = (2_000, 4) if smoke else (125_000, 16)
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        draw = np.random.default_rng(1)
        reference_file.save(fitting.fit(_values(draw, 20_000), KINDS, window_rows=2_000), folder / "r.npz")
        found = _found(draw, rows, buckets)
        counts, whole = _platform(folder, "ks, psi"), _platform(folder, "ks, psi, mmd")
        plain, sampled = _measured(found, rows * buckets, counts, whole)
        alone = _alone(counts, found, rows * buckets)
    said = f"{len(NUMERIC)} numbers, {len(CATEGORICAL)} categories"
    return [
        Figure(
            name=f"rows into drift counts on two cores ({said})",
            target=GOAL,
            measured=plain.of_clock,
            unit="rows/s",
            better="more",
            peer=f"with a sample of whole rows: {sampled.of_clock:,.0f}",
        ),
        Figure(
            name="rows into drift counts, per core",
            target=GOAL / 2,
            measured=plain.of_processor,
            unit="rows/CPU s",
            better="more",
            peer=f"counting alone, in this process: {alone:,.0f}",
        ),
        Figure(
            name="the same with a sample of whole rows",
            target=GOAL / 2,
            measured=sampled.of_processor,
            unit="rows/CPU s",
            better="more",
        ),
    ]


def _values(draw: np.random.Generator, rows: int) -> dict[str, Any]:
    numbers = {name: draw.normal(size=rows) for name in NUMERIC}
    return numbers | {name: draw.choice(CATEGORIES, rows).tolist() for name in CATEGORICAL}


def _found(draw: np.random.Generator, rows: int, buckets: int) -> list[tuple[int, str, bytes]]:
    """What buckets give in a batch: the same rows in each, under other ids."""
    numbers = draw.normal(size=(rows, len(NUMERIC))).tobytes()
    texts = [
        (list(CATEGORIES), draw.integers(0, len(CATEGORIES), rows).astype(np.int32).tobytes()) for _ in CATEGORICAL
    ]
    times = (START + draw.uniform(0, 3000, rows)).tobytes()
    made = []
    for bucket in range(buckets):
        keys = draw.integers(0, 2**63, rows).astype(np.uint64).tobytes()
        seen = Seen(bucket, *VERSION, (bucket, "topic", 0, 0, 1))
        columns = Columns(bucket, *VERSION, times, keys, numbers, {}, texts)
        for kind, one in ((collected.SEEN, seen), (collected.ROWS, columns)):
            made.append((bucket, kind, msgspec.msgpack.encode(one)))
    return made


def _platform(folder: Path, methods: str) -> Path:
    features = ", ".join(f"{name}: {kind.value}" for name, kind in KINDS.items())
    file = folder / f"{methods.count(',')}.yaml"
    file.write_text(PLATFORM.format(methods=f"[{methods}]", features=f"{{{features}}}"))
    return file


class _Pieces:
    """A sink in memory."""

    def read(self) -> Mapping[bytes, bytes]:
        return {}

    def write(self, pieces: Changes) -> None:
        self.written = len(pieces)


class _Rate(NamedTuple):
    """Rows a second of the clock, and of the processors' time."""

    of_clock: float
    of_processor: float


def _measured(found: list[tuple[int, str, bytes]], rows: int, *files: Path) -> list[_Rate]:
    """Rates by platform file, of the best of some batches: the first starts the workers."""
    with session.session(Machine(cores=2, memory="2g"), partitions=2) as spark:
        frame = spark.createDataFrame(found, "bucket int, kind string, found binary").repartition(4).persist()
        frame.count()
        rates = []
        for file in files:
            platform = load.load_platform(file)
            judging, clock, processors = Judging(platform, file.parent, file.parent, _Pieces()), [], []
            for _ in range(REPEATS):
                begun, used = time.perf_counter(), _cpu_seconds()
                with judging.batch(frame):
                    clock.append(time.perf_counter() - begun)
                    processors.append(_cpu_seconds() - used)
            rates.append(_Rate(rows / min(clock), rows / min(processors)))
    return rates


def _cpu_seconds() -> float:
    """Time of processors that this process and all that it started have taken (proc(5): ppid, utime, stime)."""
    found: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            found[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours, size = {os.getpid()}, 0
    while len(ours) > size:
        size = len(ours)
        ours |= {process for process, (parent, _) in found.items() if parent in ours}
    return sum(found[process][1] for process in ours if process in found) / os.sysconf("SC_CLK_TCK")


def _alone(file: Path, found: list[tuple[int, str, bytes]], rows: int) -> float:
    """Rows a second of the processor's time, counted in this process."""
    judging = Judging(load.load_platform(file), file.parent, file.parent, _Pieces())
    seen = [collected.decode_seen(body) for _, kind, body in found if kind == collected.SEEN]
    plan, schemas = judging.plan(seen), judging.schemas
    batches = [
        pa.record_batch([pa.array([body], pa.binary())], names=["found"])
        for _, kind, body in found
        if kind == collected.ROWS
    ]
    seconds = []
    for _ in range(REPEATS):
        begun = time.process_time()
        assert sum(part.samples for _, part in counting.part_rows(batches, plan, schemas)) == rows
        seconds.append(time.process_time() - begun)
    return rows / min(seconds)
