"""Kinds of streams and changes on which judges of drift go blind, or see what is not there; each with its truth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import beta, ks_2samp

from benchmarks.drift import streams
from benchmarks.figure import Comparison
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, seasons, verdict
from monitors.drift.columns import LocalColumns
from monitors.drift.methods import classifier

ALL = ["ks", "psi", "chi2", "mmd", "isolation_forest", "classifier"]
PER_MARGIN = ["ks", "psi", "chi2"]

Row = tuple[str, str, int, int]
"""What is asked, what is right, windows that are called drift, windows."""


def run(*, smoke: bool) -> Comparison:
    """Windows that are called drift, with the 95% interval of Clopper and Pearson (1934)."""
    rows = []
    for name, right, drifted, windows in _rows(1 if smoke else 20):
        low, high = interval(drifted, windows)
        print(f"  {name}: {drifted} of {windows}; right: {right}", file=sys.stderr)
        rows.append([name, right, f"{drifted} of {windows}", f"{low:.0%} to {high:.0%}"])
    return Comparison(
        title="Windows called drift, quorum 2, budget 1 per 90d of hourly windows (of daily ones where they are days)",
        columns=["window", "right", "drift", "95% interval"],
        rows=rows,
    )


def interval(count: int, of: int) -> tuple[float, float]:
    """Of a rate, at 95% (Clopper and Pearson 1934)."""
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return float(low), float(high)


def _rows(runs: int) -> Iterator[Row]:
    for values in (1_200, 2_000, 10_000, 50_000, None):
        yield _ids(values, runs)
    yield from _rare(runs)
    yield _night_and_day(10 * runs)
    yield from _same_hours(runs)
    yield from _days(8 if runs > 1 else 1)
    yield from _slow_among_others(runs)
    for correlation in (0.3, 0.5):
        yield _dependence(correlation, runs)
    yield from _dependence_in_runs(runs)
    yield from _topics(max(1, runs // 4))


def _drifts(
    fitted: reference.Reference,
    columns: dict[str, Any],
    methods: list[str],
    *,
    live: int | None = None,
    seconds: float = 3600.0,
    phase: int | None = None,
) -> bool:
    size = len(next(iter(columns.values())))
    rows = None
    if set(methods) - set(PER_MARGIN):
        every = max(1, size // (live or size))
        rows = fitted.joint.embedding.rows({name: values[::every] for name, values in columns.items()})
    said = verdict.judge(
        fitted.features,
        reference.count(fitted, columns),
        samples=size,
        methods=methods,
        quorum=2,
        alpha=verdict.window_alpha("1 per 90d", seconds),
        min_samples=500,
        together=None if rows is None else (fitted.joint, rows),
        phase=phase,
    )
    return said.verdict is verdict.Verdict.DRIFT


def _kinds(columns: dict[str, Any]) -> dict[str, Feature]:
    return {
        name: Feature.NUMERIC if isinstance(values, np.ndarray) else Feature.CATEGORICAL
        for name, values in columns.items()
    }


def _ids(values: int | None, runs: int) -> Row:
    """A calm column of ids, in a table with a number."""
    generator = np.random.default_rng(values)

    def table(rows: int, first: int) -> dict[str, Any]:
        ids = np.arange(first, first + rows) if values is None else generator.integers(0, values, rows)
        return {"x": generator.normal(size=rows), "id": [f"id-{one}" for one in ids.tolist()]}

    before = table(50_000, 0)
    fitted = fitting.fit(before, _kinds(before), window_rows=2000)
    drifted = sum(_drifts(fitted, table(2000, 50_000 + 2000 * run), PER_MARGIN) for run in range(runs))
    many = "one per row" if values is None else f"{values:,} values"
    return f"calm ids, {many}", "none", drifted, runs


def _rare(runs: int) -> Iterator[Row]:
    """Rare things become more frequent, beside a calm number."""
    generator = np.random.default_rng(3)

    def table(rows: int, flags: float, others: float) -> dict[str, Any]:
        amount = np.where(generator.random(rows) < others, generator.lognormal(size=rows), 0.0)
        flag = np.where(generator.random(rows) < flags, "yes", "no").tolist()
        return {"x": generator.normal(size=rows), "amount": amount, "flag": flag}

    before = table(100_000, 0.01, 0.001)
    fitted = fitting.fit(before, _kinds(before), window_rows=5000)
    for name, right, shares in (
        ("rare things as before", "none", (0.01, 0.001)),
        ("a flag from 1% to 3%", "all", (0.03, 0.001)),
        ("non-zeros from 0.1% to 1%", "all", (0.01, 0.01)),
    ):
        yield name, right, sum(_drifts(fitted, table(5000, *shares), ["ks", "psi"]) for _ in range(runs)), runs


HOUR = 200
"""Rows of an hour."""


def _cycle(generator: np.random.Generator, days: int, features: int, *, cycle: float, noise: float = 1.0) -> Any:
    """Numbers with the time of the day in them, and a disturbance that lasts some hours; shape (features, rows)."""
    rows = 24 * HOUR * days
    wave = cycle * np.sin(2 * np.pi * np.arange(rows) / (24 * HOUR))
    hourly = lfilter([1.0], [1.0, -0.7], generator.normal(size=(features, 24 * days)), axis=1) * 0.1
    return wave + np.repeat(hourly, HOUR, axis=1) + noise * generator.normal(size=(features, rows))


def _night_and_day(windows: int) -> Row:
    """Hours of a stream with a daily cycle, as calm as those before."""
    generator = np.random.default_rng(4)
    whole = _cycle(generator, 28 + -(-windows // 24), 4, cycle=1.0)
    rows = 28 * 24 * HOUR
    before = streams_of(whole[:, :rows])
    fitted = fitting.fit(before, _kinds(before), window_rows=HOUR * 5)
    hours = (whole[:, rows + HOUR * hour : rows + HOUR * (hour + 5)] for hour in range(windows))
    drifted = sum(_drifts(fitted, streams_of(hour), PER_MARGIN) for hour in hours if hour.shape[1] == 5 * HOUR)
    return "calm hours of a daily cycle", "none", drifted, windows


def _same_hours(runs: int) -> Iterator[Row]:
    """Three hours of a daily cycle beside the same hours of other days: calm ones, and all features moved by 0.4."""
    generator = np.random.default_rng(9)
    before = _cycle(generator, 28, 4, cycle=1.0)
    times = 3600.0 / HOUR * np.arange(before.shape[1])
    windows = seasons.by_times(times, 3 * 3600.0)
    table = LocalColumns(streams_of(before))
    fitted = fitting.fit_columns(table, _kinds(streams_of(before)), window_rows=3 * HOUR, windows=windows)
    for name, right, shift in (("calm hours", "none", 0.0), ("hours moved by 0.4", "all", 0.4)):
        after = np.split(_cycle(generator, 3, 4, cycle=1.0) + shift, 24, axis=1)[: 24 if runs > 1 else 1]
        phases = (3 * (place % 8) + 1 for place in range(len(after)))
        drifted = sum(
            _drifts(fitted, streams_of(one), PER_MARGIN, phase=phase) for one, phase in zip(after, phases, strict=True)
        )
        yield f"{name}, beside the same hours", right, drifted, len(after)


def streams_of(values: Any) -> dict[str, Any]:
    """Columns by name."""
    return {f"x{index}": column for index, column in enumerate(values)}


def _days(days: int) -> Iterator[Row]:
    """Days of a stream with a daily cycle: as those before, and all features moved by 0.2 of a day's deviations."""
    generator = np.random.default_rng(5)
    before = streams_of(_cycle(generator, 28, 11, cycle=1.0))
    fitted = fitting.fit(before, _kinds(before), window_rows=24 * HOUR)
    deviation = float(np.std(before["x0"]))
    for name, right, shift in (("calm days", "none", 0.0), ("days moved by 0.2 deviations", "all", 0.2)):
        after = _cycle(generator, days, 11, cycle=1.0) + shift * deviation
        parts = np.split(after, days, axis=1)
        yield name, right, sum(_drifts(fitted, streams_of(day), PER_MARGIN, seconds=86400.0) for day in parts), days
        yield f"{name}: KS beyond 1.5 times the worst calm day, twice", right, sum(_beyond(before, parts)), days


def _beyond(before: dict[str, Any], days: list[Any]) -> list[bool]:
    """The rule that is compared with: in two features KS is above 1.5 times that of the worst day of the reference."""

    def distance(name: str, values: Any) -> float:
        return float(ks_2samp(before[name], values, method="asymp").statistic)

    size = 24 * HOUR
    worst = {
        name: max(distance(name, values[start : start + size]) for start in range(0, len(values), size))
        for name, values in before.items()
    }
    named = [streams_of(day) for day in days]
    return [sum(distance(name, day[name]) > 1.5 * worst[name] for name in before) >= 2 for day in named]


def _slow_among_others(runs: int) -> Iterator[Row]:
    """One column that changes by the hour beside ten of independent rows, five of which move by a deviation."""
    generator = np.random.default_rng(6)

    def table(hours: int, shift: float) -> dict[str, Any]:
        values = generator.normal(size=(11, hours * HOUR))
        values[1:6] += shift
        values[0] = np.repeat(generator.normal(size=hours), HOUR)
        return streams_of(values)

    before = table(200, 0.0)
    fitted = fitting.fit(before, _kinds(before), window_rows=2000)
    for method in ("mmd", "classifier"):
        for name, right, shift in (("calm", "none", 0.0), ("a deviation in 5 of 11", "all", 1.0)):
            drifted = sum(_drifts(fitted, table(10, shift), [method]) for _ in range(runs))
            yield f"beside a slow column, {name}: {method}", right, drifted, runs


def _dependence(correlation: float, runs: int) -> Row:
    """A correlation of two features with equal margins, of 2,000 rows that are kept of a window."""
    generator = np.random.default_rng(7)
    before = streams.table(generator, 20_000)
    fitted = fitting.fit(before, _kinds(before), window_rows=5000)

    def table() -> dict[str, Any]:
        one = streams.table(generator, 5000)
        return one | {"x5": correlation * one["x4"] + np.sqrt(1 - correlation**2) * one["x5"]}

    drifted = sum(_drifts(fitted, table(), ALL, live=2000) for _ in range(runs))
    return f"correlation 0 to {correlation}, equal margins", "all", drifted, runs


def _dependence_in_runs(runs: int) -> Iterator[Row]:
    """The same in rows each close to the one before, worth a ninth of independent ones."""
    generator = np.random.default_rng(10)
    before = streams_of(streams.autocorrelated(generator, 100_000))
    fitted = fitting.fit(before, _kinds(before), window_rows=5000)
    for correlation, right in ((0.0, "none"), (0.3, "all"), (0.5, "all")):
        drifted = 0
        for _ in range(runs):
            one = streams_of(streams.autocorrelated(generator, 5000))
            one["x5"] = correlation * one["x4"] + np.sqrt(1 - correlation**2) * one["x5"]
            drifted += _drifts(fitted, one, ALL, live=2000)
        yield f"correlation 0 to {correlation:g}, autocorrelated", right, drifted, runs


TOPICS, DIMENSIONS = 20, 384


def _topics(runs: int) -> Iterator[Row]:
    """Embeddings of texts, of 20 topics as before, and with 2% of the rows from a new one."""
    generator = np.random.default_rng(8)
    centres = generator.normal(size=(TOPICS, DIMENSIONS)) / np.sqrt(DIMENSIONS)

    def rows(count: int, new: Any | None, share: float) -> Any:
        found = centres[generator.integers(0, TOPICS, count)] + 0.05 * generator.normal(size=(count, DIMENSIONS))
        if new is not None:
            chosen = generator.random(count) < share
            found[chosen] = new + 0.05 * generator.normal(size=(int(chosen.sum()), DIMENSIONS))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    before = rows(10_000, None, 0.0)
    scale = before.std(axis=0)
    level = verdict.window_alpha("1 per 90d", 3600.0) / (4 * DIMENSIONS)
    for name, right, share in (("calm topics", "none", 0.0), ("2% of a new topic", "all", 0.02)):
        drifted = 0
        for _ in range(runs):
            new = generator.normal(size=DIMENSIONS) / np.sqrt(DIMENSIONS)
            said = classifier.compare(before / scale, rows(5000, new, share) / scale)
            drifted += said.p_value < level and said.effect > classifier.FLOOR
        yield f"{DIMENSIONS} dimensions, {name}: classifier", right, drifted, runs
