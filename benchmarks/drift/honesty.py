"""How often a calm stream is called drift, what kind of change each method and the vote see, and real months."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.drift import kinds, streams
from benchmarks.drift.speed import PEERS
from benchmarks.figure import Comparison, Figure
from midwatch.spec.drift import Feature
from monitors.drift import fitting, methods, reference, verdict
from monitors.drift.counts import Counts

CHEAP = ["ks", "psi", "chi2"]
METHODS = [*CHEAP, *methods.ROW]
QUORUM = 2
ALPHA = 0.01
"""False alarms per calm window that are budgeted where they are counted: a budget of 1 per 90d would show none."""

LIVE_ROWS = 2000


def run(*, smoke: bool) -> list[Figure | Comparison]:
    """The figures of false alarms, then the tables."""
    sizes = {500: 10} if smoke else {500: 200, 5_000: 200, 50_000: 50}
    alarms = [
        _false_alarms(name, make, size, windows)
        for name, make in (("independent", streams.independent), ("autocorrelated", streams.autocorrelated))
        for size, windows in sizes.items()
    ]
    return [*alarms, kinds.run(smoke=smoke), _power(2 if smoke else 10, smoke=smoke), _months(smoke=smoke)]


# Calm streams ------------------------------------------------------------------------------------------------------


def _false_alarms(name: str, make: Callable[[np.random.Generator, int], Any], size: int, windows: int) -> Figure:
    """Windows in time order after a reference of the same stream, through the code of the exporter's windows."""
    print(f"measuring: {windows} calm windows of {size} rows, {name}", file=sys.stderr)
    generator = np.random.default_rng([len(name), size])
    fitted = _fitted(make(generator, max(100_000, 20 * size)), size)
    alarms = sum(
        _live(fitted, _named(make(generator, size)), generator).verdict is verdict.Verdict.DRIFT for _ in range(windows)
    )
    allowed = int(binom.ppf(0.975, windows, ALPHA))
    print(f"  {alarms} called drift; up to {allowed} are within the budget", file=sys.stderr)
    return Figure(
        name=f"drift verdicts of {windows:,} calm windows of {size:,} rows, {name}; budget {ALPHA * windows:g}",
        target=allowed,
        measured=alarms,
        unit="windows",
        better="less",
        peer="95% interval {:.1%} to {:.1%}".format(*kinds.interval(alarms, windows)),
    )


def _named(values: Any) -> dict[str, Any]:
    return {f"x{index}": column for index, column in enumerate(values)}


def _fitted(values: Any, window_rows: int) -> reference.Reference:
    columns = _named(values)
    return fitting.fit(columns, dict.fromkeys(columns, Feature.NUMERIC), window_rows=window_rows)


def _live(fitted: reference.Reference, columns: dict[str, Any], generator: np.random.Generator) -> verdict.Judgement:
    """As the exporter judges a window: on the coarse grid, with a sample of the rows."""
    size = len(columns["x0"])
    features = {name: feature.coarse for name, feature in fitted.features.items()}
    counts = {name: features[name].grid.count(values) for name, values in columns.items()}
    chosen = np.sort(generator.choice(size, min(size, LIVE_ROWS), replace=False))
    rows = fitted.joint.embedding.rows({name: values[chosen] for name, values in columns.items()})

    return verdict.judge(
        features,
        counts,
        samples=size,
        methods=METHODS,
        quorum=QUORUM,
        alpha=ALPHA,
        min_samples=100,
        together=(fitted.joint, rows),
    )


# Changes -----------------------------------------------------------------------------------------------------------

ROWS = 5000
GRADUAL = "gradual: to 0.3 deviations in 5 features over ten windows"
LABELS = "label shift: positives 20% to 30%"


def _power(runs: int, *, smoke: bool) -> Comparison:
    """Share of windows in which each method votes, the verdict is drift, and other tools say so by default."""
    generator = np.random.default_rng(7)
    before = streams.table(generator, 4 * ROWS)
    kinds_of = dict.fromkeys((*streams.NUMERIC, "score"), Feature.NUMERIC)
    kinds_of |= dict.fromkeys((*streams.CATEGORICAL, "prediction"), Feature.CATEGORICAL)
    fitted = fitting.fit(before, kinds_of, window_rows=ROWS)
    windows = {name: list(_windows(name, generator, runs)) for name in (*streams.CHANGES, GRADUAL, LABELS)}
    peers = {} if smoke else _peers(before, windows)
    rows = []
    for name, of_runs in windows.items():
        print(f"measuring: {name}", file=sys.stderr)
        votes = [_votes([_judged(fitted, window) for window in run]) for run in of_runs]
        seen = (*METHODS, "kind", "any", "verdict")
        shares = [_rate(sum(method in said for said in votes), runs) for method in seen]
        rows.append([name, *shares, *(f"{found[name]:.0%}" for found in peers.values())])
    return Comparison(
        title=f"Detected, of {runs} windows of {ROWS:,} rows each (gradual: within ten windows); budget 1 per 90d "
        f"of hourly windows; the last columns are other tools' verdicts by default",
        columns=["change", *METHODS, "own kind", "quorum 1", f"quorum {QUORUM}", *peers],
        rows=rows,
    )


def _rate(count: int, of: int) -> str:
    """With its 95% interval."""
    return "{:.0%} ({:.0%} to {:.0%})".format(count / of, *kinds.interval(count, of))


def _windows(name: str, generator: np.random.Generator, runs: int) -> Iterator[list[streams.Columns]]:
    """Of each run the windows in which the change may be seen."""
    for _ in range(runs):
        if name == LABELS:
            yield [streams.table(generator, ROWS, positives=0.3)]
        elif name == GRADUAL:
            steps = np.linspace(0.03, 0.3, 10)
            yield [
                table | {one: table[one] + step for one in streams.NUMERIC[4:9]}
                for step in steps
                for table in [streams.table(generator, ROWS)]
            ]
        else:
            yield [streams.CHANGES[name](streams.table(generator, ROWS), generator)]


def _judged(fitted: reference.Reference, columns: streams.Columns) -> verdict.Judgement:
    counts: Mapping[str, Counts] = reference.count(fitted, columns)
    return verdict.judge(
        fitted.features,
        counts,
        samples=len(columns["score"]),
        methods=METHODS,
        quorum=QUORUM,
        alpha=verdict.window_alpha("1 per 90d", 3600.0),
        min_samples=500,
        together=(fitted.joint, fitted.joint.embedding.rows(columns)),
    )


def _votes(said: list[verdict.Judgement]) -> set[str]:
    """Methods that vote, `kind` for drift of its own kind, `any` where one does, `verdict` where it is drift."""
    found = {finding.method for one in said for finding in one.findings if finding.votes}
    found |= {"kind" for one in said for finding in one.quality if finding.votes}
    if found:
        found.add("any")
    return found | {"verdict" for one in said if one.verdict is verdict.Verdict.DRIFT}


def _peers(before: streams.Columns, windows: Mapping[str, list[list[streams.Columns]]]) -> dict[str, dict[str, float]]:
    """By tool and change, the share of runs with a window that it calls drift."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "windows.npz"
        flat = {
            f"{place}|{index}|{step}|{column}": np.asarray(values)
            for place, runs in enumerate(windows.values())
            for index, run in enumerate(runs)
            for step, window in enumerate(run)
            for column, values in window.items()
        }
        np.savez(data, **{f"before|{column}": np.asarray(values) for column, values in before.items()}, **flat)
        for python in [Path(sys.executable), *sorted(PEERS.glob("*/bin/python"))]:
            print(f"measuring: {python.parts[-3]}", file=sys.stderr)
            script = Path(__file__).with_name("peers.py")
            done = subprocess.run(
                [python, script, "verdicts", data], capture_output=True, text=True, timeout=3600, check=False
            )
            if done.returncode:
                print(f"{python}: {done.stderr[-500:]}", file=sys.stderr)
                continue
            for tool, drifted in json.loads(done.stdout).items():
                runs = Counter(place for place, _ in {tuple(one) for one in drifted})
                found[tool] = {change: runs[place] / len(windows[change]) for place, change in enumerate(windows)}
    return found


# Real months -------------------------------------------------------------------------------------------------------


def _months(*, smoke: bool) -> Comparison:
    """The flights from New York in 2013: each later month against the first quarter."""
    sys.path.append("examples/flights")
    import data  # type: ignore[import-not-found]

    print("measuring: months of real flights", file=sys.stderr)
    table = data.load()
    quarter = table[table["month"] <= 3]
    kinds_of = dict.fromkeys(data.NUMERIC, Feature.NUMERIC) | dict.fromkeys(data.CATEGORICAL, Feature.CATEGORICAL)
    day = len(quarter) // 90
    fitted = fitting.fit(_columns(quarter, kinds_of), kinds_of, window_rows=7 * day)
    rows = []
    for month in (4,) if smoke else range(4, 13):
        window = _columns(table[table["month"] == month], kinds_of)
        said = verdict.judge(
            fitted.features,
            reference.count(fitted, window),
            samples=len(window["hour"]),
            methods=METHODS,
            quorum=QUORUM,
            alpha=verdict.window_alpha("1 per 90d", 30 * 86400.0),
            min_samples=500,
            together=(fitted.joint, fitted.joint.embedding.rows(window)),
        )
        named = list(dict.fromkeys(f"{one.feature} {one.direction}" for one in said.drifted))
        effects = {one.feature: one.result.effect for one in said.findings if one.method in ("ks", "chi2")}
        most = ", ".join(f"{name} {effects[name]:.2f}" for name in sorted(effects, key=lambda one: -effects[one])[:3])
        rows.append(
            [f"2013-{month:02}", said.verdict.value, f"{said.votes} of {said.needed}", most, "; ".join(named[:4])]
        )
    return Comparison(
        title="Real months of flights against the first quarter (weeks of which are the calm windows)",
        columns=["month", "verdict", "votes", "largest distances (KS, Cramér's V)", "said of"],
        rows=rows,
    )


def _columns(table: Any, kinds: Mapping[str, Feature]) -> dict[str, Any]:
    return {
        name: table[name].to_numpy(float) if kind is Feature.NUMERIC else table[name].tolist()
        for name, kind in kinds.items()
    }
