"""What a piece of work takes: seconds, seconds of a core, and memory beyond what was held before."""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Median wall and processor seconds of some runs, and the first one's peak of memory in MiB above the start."""

    wall: float
    cpu: float
    peak: float


def cost(work: Callable[[], object], *, runs: int = 3) -> Cost:
    """Run some work as often as told."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    before = status("VmRSS")
    walls, cpus, peak = [], [], 0.0
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        peak = peak or status("VmHWM") - before
    return Cost(wall=statistics.median(walls), cpu=statistics.median(cpus), peak=peak)


def status(name: str, process: int | str = "self") -> float:
    """MiB that the kernel states of a process (proc(5)); RuntimeError when it has ended."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.M)
    if found is None:
        raise RuntimeError(f"process {process} has no {name}")
    return int(found[1]) / 1024
