"""An exporter with 1,000,000 predictions waiting is killed and starts again; what a snapshot of them costs others."""

from __future__ import annotations

import signal
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import load
from benchmarks.exporter import serving
from benchmarks.figure import Figure
from exporters.events.store import SNAPSHOT_EVENTS, SNAPSHOT_SHARE


def run(*, smoke: bool) -> Sequence[Figure]:
    """Figures of one restart, and of single requests while snapshots are written."""
    waiting = 20_000 if smoke else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        state = Path(name) / "state"
        with serving(state) as server:
            load.on_other_core(load.batches, server.port, 240, 100, 0, waiting // 100)
            before = server.memory()
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(60)
        with serving(state) as server:
            spent, after = server.cpu_seconds(), server.memory()
            if server.requests() != waiting:
                raise RuntimeError("not every prediction was counted again")
            # As many single requests as it takes for one snapshot at least.
            rate = 1_000 if smoke else 5_000
            seconds = 2 if smoke else 1.5 * max(SNAPSHOT_EVENTS, waiting / SNAPSHOT_SHARE) / rate
            got = load.on_other_core(load.singles, server.port, seconds, rate, "d")
    p99 = statistics.quantiles(got["latencies"], n=100)[98] * 1000
    at = f"{waiting:,} predictions waiting"
    return [
        Figure(name=f"restart: CPU after kill -9, {at}", target=3, measured=spent, unit="s", better="less"),
        Figure(name="restart: memory before the kill", target=400, measured=before, unit="MiB", better="less"),
        Figure(name="restart: memory after it", target=400, measured=after, unit="MiB", better="less"),
        Figure(name="restart: p99 at 5,000/s over a snapshot", target=50, measured=p99, unit="ms", better="less"),
    ]
