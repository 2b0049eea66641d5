"""A reference of 100,000 rows and a window of 1,000,000, 20 float64 features, 5 of them shifted by 0.1 deviations."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy import stats

from benchmarks.drift.measure import Cost, cost, status
from benchmarks.figure import Figure
from midwatch.spec.drift import Feature
from monitors.drift import fitting, methods, reference, verdict
from monitors.drift.comparison import Result
from monitors.drift.counts import COARSE, NumericGrid
from monitors.drift.methods import classifier, isolation_forest, ks, mmd, psi
from monitors.drift.sample import Sample, hashes

FEATURES = 20
PEERS = Path(".peers")
"""`make peers` puts an environment for each of the other tools there; those that are there are measured."""

Peers = dict[str, dict[str, float]]


def run(*, smoke: bool) -> list[Figure]:
    """Every figure of cost."""
    rows, window_rows = (5_000, 20_000) if smoke else (100_000, 1_000_000)
    generator = np.random.default_rng(0)
    before, now = generator.normal(size=(FEATURES, rows)), generator.normal(size=(FEATURES, window_rows))
    now[:5] += 0.1
    peers = _peers(before, now) if not smoke else {}
    peers["scipy"] = _scipy(before, now)
    return [
        *_univariate(before, now, peers),
        *_multivariate(before, now, peers),
        _streaming(before, now),
        *_from_parquet(smoke),
    ]


def _figure(name: str, target: float, measured: float, unit: str = "s", peer: str = "") -> Figure:
    return Figure(name=name, target=target, measured=measured, unit=unit, better="less", peer=peer)


def _univariate(before: Any, now: Any, peers: Peers) -> Iterator[Figure]:
    _ensure_exact(before, now)
    both = cost(lambda: _each(before, now, ["ks", "psi"]))
    yield _figure("KS of all features", 0.6, cost(lambda: _each(before, now, ["ks"])).wall, "s", _best(peers, "KS"))
    index = cost(lambda: _each(before, now, ["psi"], COARSE)).wall
    yield _figure("PSI of all features", 0.2, index, "s", _best(peers, "PSI"))
    yield _figure("KS and PSI under the budget, CPU", 1.0, both.cpu)
    yield _figure("their memory above the input", 50, both.peak, "MiB")


def _each(before: Any, now: Any, methods: list[str], most: int | None = None) -> list[Result]:
    """From two arrays to results that are significant or not, nothing prepared."""

    def one(feature: int) -> list[Result]:
        grid = NumericGrid.fit(before[feature]) if most is None else NumericGrid.fit(before[feature], most)
        sides = grid.count(before[feature]), grid.count(now[feature])
        return [{"ks": ks, "psi": psi}[method].compare(*sides) for method in methods]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [result for results in pool.map(one, range(FEATURES)) for result in results]
    level = verdict.window_alpha("1 per 90d", 3600.0) / len(found)
    return [result for result in found if result.p_value < level]


def _ensure_exact(before: Any, now: Any) -> None:
    """A figure of another statistic would be no figure."""
    for feature in range(FEATURES):
        grid = NumericGrid.fit(before[feature])
        ours = ks.compare(grid.count(before[feature]), grid.count(now[feature])).statistic
        exact = stats.ks_2samp(before[feature], now[feature], method="asymp").statistic
        if abs(ours - exact) > 1e-12:
            raise AssertionError(f"KS {ours} is not scipy's {exact}")


def _multivariate(before: Any, now: Any, peers: Peers) -> Iterator[Figure]:
    names = [f"f{index}" for index in range(FEATURES)]
    kinds = dict.fromkeys(names, Feature.NUMERIC)
    fitted = fitting.fit(dict(zip(names, before, strict=True)), kinds, window_rows=min(1000, before.shape[1] // 5))
    rows = fitted.joint.embedding.rows(dict(zip(names, now, strict=True)))
    few, some = fitted.joint.rows[:10_000], rows[:10_000]

    pairs = cost(lambda: mmd.compare(few, some))
    yield _figure("MMD 10,000 x 10,000 rows, 100 permutations", 0.6, pairs.wall, "s", _best(peers, "MMD"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # here it would take memory that others have left
        yield _figure("its memory", 300, pool.apply(_peak_of_mmd, (few, some)), "MiB")
    yield _figure("MMD of the whole window", 1.0, cost(lambda: mmd.compare(few, rows)).wall)
    forest = cost(lambda: isolation_forest.compare(few, rows))
    yield _figure("isolation forest of the whole window", 1.5, forest.wall)
    yield _figure("classifier 10,000 x 10,000 rows", 0.3, cost(lambda: classifier.compare(few, some)).wall)

    whole = cost(lambda: _judged(fitted, dict(zip(names, now, strict=True))))
    yield _figure("five-method verdict on the window", 4.0, whole.wall, "s", _best(peers, "the usual report"))
    yield _memory("its memory above the input", whole)


def _peak_of_mmd(few: Any, some: Any) -> float:
    return cost(lambda: mmd.compare(few, some), runs=1).peak


def _memory(name: str, found: Cost) -> Figure:
    return _figure(name, 1024, found.peak, "MiB")


def _judged(fitted: reference.Reference, columns: dict[str, Any]) -> verdict.Judgement:
    return verdict.judge(
        fitted.features,
        reference.count(fitted, columns),
        samples=len(columns["f0"]),
        methods=["ks", "psi", *methods.ROW],
        quorum=3,
        alpha=verdict.window_alpha("1 per 90d", 3600.0),
        min_samples=500,
        together=(fitted.joint, fitted.joint.embedding.rows(columns)),
    )


def _streaming(before: Any, now: Any) -> Figure:
    """Batches into a window's counts and sample of rows, on one core."""
    names = [f"f{index}" for index in range(FEATURES)]
    kinds = dict.fromkeys(names, Feature.NUMERIC)
    fitted = fitting.fit(dict(zip(names, before, strict=True)), kinds, window_rows=1000)
    ids = [f"request-{index}" for index in range(now.shape[1])]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        begun = time.perf_counter()
        counters = {name: feature.coarse.grid.counter() for name, feature in fitted.features.items()}
        counts, sample = {}, Sample.empty(FEATURES)
        for start in range(0, now.shape[1], 10_000):
            part = dict(zip(names, now[:, start : start + 10_000], strict=True))
            found = {name: counters[name](part[name]) for name in names}
            counts = {name: counts[name] + found[name] for name in names} if counts else found
            sample = sample.taking(
                np.fromiter(hashes(ids[start : start + 10_000]), np.uint64),
                fitted.joint.embedding,
                lambda places, part=part: {name: values[places] for name, values in part.items()},
            )
        rate = now.shape[1] / (time.perf_counter() - begun)
    finally:
        os.sched_setaffinity(0, cores)
    return Figure(
        name="into a window's statistics, one core", target=1_000_000, measured=rate, unit="rows/s", better="more"
    )


def _from_parquet(smoke: bool) -> Iterator[Figure]:
    """A table of 20,000,000 rows and 50 columns, 8 GB, through the command."""
    groups, size, columns = (2, 10_000, 50) if smoke else (20, 1_000_000, 50)
    generator = np.random.default_rng(1)
    names = [f"f{index}" for index in range(columns)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        block = generator.normal(size=(columns, size))
        parquet.write_table(pa.table(dict(zip(names, block[:, :100_000], strict=True))), folder / "before.parquet")
        command = [sys.executable, "-P", "-m", "midwatch", "drift"]
        made = [*command, "fit", str(folder / "before.parquet"), "-o", str(folder / "r.npz"), "--window-rows", "1000"]
        subprocess.run(made, check=True, stderr=subprocess.DEVNULL)
        schema = pa.schema([(one, pa.float64()) for one in names])
        with parquet.ParquetWriter(folder / "now.parquet", schema, compression="none", use_dictionary=False) as writer:
            for group in range(groups):
                rolled = np.roll(block, group * 1000, axis=1)
                writer.write_table(pa.table(dict(zip(names, rolled, strict=True)), schema=schema))
        del block, rolled
        looked = [*command, "compare", "--reference", str(folder / "r.npz"), "--current", str(folder / "now.parquet")]
        yield _figure("Parquet of 20,000,000 x 50: peak memory", 1024, _peak([*looked, "--json"]), "MiB")


def _peak(command: list[str]) -> float:
    """Most MiB that a command held; what wait4 says would be at least what this process holds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, status("VmHWM", process.pid))
        except (OSError, RuntimeError):
            break  # it has just ended
        time.sleep(0.1)
    if process.wait() not in (0, 1):
        raise RuntimeError(f"drift compare ended with {process.returncode}")
    return peak


def _scipy(before: Any, now: Any) -> dict[str, float]:
    begun = time.perf_counter()
    for feature in range(FEATURES):
        stats.ks_2samp(before[feature], now[feature], method="asymp")
    return {"KS, all features": time.perf_counter() - begun}


def _peers(before: Any, now: Any) -> Peers:
    """Seconds by tool and work, of the tools that are installed."""
    found: Peers = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data.npz"
        np.savez(data, reference=before.T, window=now.T)
        for python in sorted(PEERS.glob("*/bin/python")):
            print(f"measuring: {python.parts[-3]}", file=sys.stderr)
            script = Path(__file__).with_name("peers.py")
            done = subprocess.run(
                [python, script, "cost", data], capture_output=True, text=True, timeout=1800, check=False
            )
            if done.returncode:
                print(f"{python}: {done.stderr[-500:]}", file=sys.stderr)
            else:
                found |= json.loads(done.stdout)
    return found


def _best(peers: Peers, work: str) -> str:
    times = [
        (seconds, f"{tool} ({name})" if work == "MMD" else tool)
        for tool, works in peers.items()
        for name, seconds in works.items()
        if name.startswith(work)
    ]
    return "; ".join(f"{seconds:.2f} {tool}" for seconds, tool in sorted(times)[:2])
