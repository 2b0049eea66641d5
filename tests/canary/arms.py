"""Simulated arms, made-up series, and a real Prometheus that holds a past made to order."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from midwatch.prometheus import Line, Sample
from midwatch.spec.canary import Canary
from monitors.canary.arms import Arms
from monitors.canary.counts import Counted, Counts
from tests.conftest import free_port, need_program, wait_for

START = 1_767_571_200.0  # 2026-01-05T00:00:00Z
STEP = 15.0


def simulated(
    *,
    base: float = 0.01,
    ratio: float = 1.0,
    rps: float = 50.0,
    share: float = 0.1,
    intervals: int = 240,
    runs: int | None = None,
    seed: int = 1,
) -> Arms:
    """Poisson requests and independent events of both arms; shape (intervals) or (runs, intervals)."""
    generator = np.random.default_rng(seed)
    shape = (intervals,) if runs is None else (runs, intervals)
    canary = generator.poisson(rps * STEP * share, shape)
    baseline = generator.poisson(rps * STEP * (1 - share), shape)
    return Arms(
        baseline_events=generator.binomial(baseline, base),
        baseline_requests=baseline,
        canary_events=generator.binomial(canary, min(1.0, base * ratio)),
        canary_requests=canary,
    )


def with_retries(tries: int, *, base: float = 0.01, ratio: float = 1.0, **more: Any) -> Arms:
    """Arms whose failing requests are tried again, each time in vain; `ratio` is that of the counts."""
    first = base / (tries - base * (tries - 1))  # so that `base` of all requests fail
    bad = base * ratio / (tries - base * ratio * (tries - 1))
    arms = simulated(base=first, ratio=bad / first, **more)
    return Arms(
        baseline_events=tries * arms.baseline_events,
        baseline_requests=arms.baseline_requests + (tries - 1) * arms.baseline_events,
        canary_events=tries * arms.canary_events,
        canary_requests=arms.canary_requests + (tries - 1) * arms.canary_events,
    )


def scraped_out_of_phase(
    *,
    runs: int,
    rps: float = 50.0,
    share: float = 0.1,
    base: float = 0.01,
    ratio: float = 1.0,
    pods: int = 1,
    outages: float = 4.0,
    seconds: float = 15.0,
    heat: float = 1.0,
    canary_every: int = 1,
    intervals: int = 240,
    seed: int = 1,
) -> Arms:
    """Arms that share `outages` an hour, each of so many `seconds` with `heat` of the requests failing.

    The baseline has so many `pods`, each scraped at its own phase; the canary is one, scraped every so many intervals.
    """
    generator = np.random.default_rng(seed)
    size = round(intervals * STEP) + 120
    often = np.full((runs, size), base)
    second = np.arange(size)
    for run in range(runs):
        for begin in generator.uniform(0, size, generator.poisson(outages * size / 3600)):
            covered = np.clip(np.minimum(begin + seconds, second + 1) - np.maximum(begin, second), 0, 1)
            often[run] = np.minimum(1.0, often[run] + heat * covered)

    def scraped(rate: float, every: float, times: float) -> tuple[Any, Any]:
        requests = generator.poisson(rate, (runs, size))
        events = generator.binomial(requests, np.minimum(1.0, often * times))
        found = np.zeros((2, runs, intervals), dtype=np.int64)
        for run, phase in enumerate(generator.uniform(0, every, runs)):
            seen = phase + np.ceil((second + 1 - phase) / every) * every - 60  # the first minute was before the start
            index = (np.ceil(seen / STEP) - 1).astype(int)
            inside = (index >= 0) & (index < intervals)
            for side, values in enumerate((events, requests)):
                found[side, run] = np.bincount(index[inside], values[run][inside], intervals)
        return found[0], found[1]

    baseline = np.sum([scraped(rps * (1 - share) / pods, STEP, 1.0) for _ in range(pods)], axis=0)
    canary = scraped(rps * share, STEP * canary_every, ratio)
    return Arms(
        baseline_events=baseline[0],
        baseline_requests=baseline[1],
        canary_events=canary[0],
        canary_requests=canary[1],
    )


def counted(arms: Arms, name: str = "errors") -> Counted:
    return Counted(
        channels=(name,),
        baseline_events=arms.baseline_events[None],
        canary_events=arms.canary_events[None],
        baseline_requests=arms.baseline_requests,
        canary_requests=arms.canary_requests,
    )


def counts(arms: Arms, **more: Any) -> Counts:
    given: dict[str, Any] = {
        "model": "fraud",
        "baseline": "v1",
        "canary": "v2",
        "start": START,
        "interval": STEP,
        "baseline_requests": arms.baseline_requests,
        "canary_requests": arms.canary_requests,
        "counted": {"errors": counted(arms)},
    }
    return Counts(**(given | more))


def settings(*criteria: Mapping[str, Any], **more: Any) -> Canary:
    return Canary.model_validate({"criteria": list(criteria or [{"metric": "errors"}]), **more})


# Series ------------------------------------------------------------------------------------------------------------


class Past:
    """Series by name and labels; answers what a fetch asks of a Prometheus, matching `label="value"` exactly."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        self.asked: list[str] = []

    def add(self, name: str, points: Sequence[tuple[float, float]], **labels: str) -> None:
        self.series[tuple(sorted({"__name__": name, "instance": "a:1", "job": "j", **labels}.items()))] = list(points)

    def grow(self, name: str, counts: Sequence[int], *, first: float = START, begin: float = 0, **labels: str) -> None:
        """A counter that stands at `begin` at `first` and grows by each count in a step."""
        times = [first + STEP * index for index in range(len(counts) + 1)]
        self.add(name, list(zip(times, np.cumsum([begin, *counts]).astype(float), strict=True)), **labels)

    def _matching(self, selector: str) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        name, _, inside = selector.partition("{")
        wanted = re.findall(r'(\w+)(!?=)"([^"]*)"', inside)
        found = []
        for key, points in self.series.items():
            labels = dict(key)
            fits = all((labels.get(one) == value) == (sign == "=") for one, sign, value in wanted)
            if labels["__name__"] == name and fits:
                found.append((labels, points))
        return found

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        text = str(expr)
        if text == "time()":
            return [Sample(labels={}, value=self.now, time=self.now)]
        if (whole := re.fullmatch(r"(sum|max|count)\((.*)\)", text)) is not None:
            return self._aggregated(*whole.groups(), at or 0)
        selector = text.rpartition("last_over_time(")[2].partition("[")[0]
        return [
            Sample(labels=labels, value=before[-1][1], time=at or 0)
            for labels, points in self._matching(selector)
            if (before := [point for point in points if (at or 0) - 86400 <= point[0] <= (at or 0)])
        ]

    def _aggregated(self, function: str, selector: str, at: float) -> list[Sample]:
        near = [[value for time, value in points if at - 300 < time <= at] for _, points in self._matching(selector)]
        values = [found[-1] for found in near if found]
        made = {"sum": sum, "max": max, "count": len}[function](values) if values else None
        return [] if made is None else [Sample(labels={}, value=float(made), time=at)]

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        selector = str(expr).partition("(")[2].removesuffix(")")
        moments = np.arange(start, end + 1e-6, step)
        sums: dict[float, list[float]] = {}
        for _, points in self._matching(selector):
            for at in moments:
                near = [value for time, value in points if at - 300 < time <= at]
                if near:
                    sums.setdefault(float(at), []).append(near[-1])
        mean = str(expr).startswith("avg")
        line = tuple((at, sum(values) / (len(values) if mean else 1)) for at, values in sorted(sums.items()))
        return [Line(labels={}, points=line)] if line else []

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        self.asked.append(str(selector))
        return [
            Line(labels=labels, points=inside)
            for labels, points in self._matching(str(selector))
            if (inside := tuple(point for point in points if start <= point[0] <= min(end, self.now)))
        ]


@contextmanager
def prometheus_with(past: Past, folder: Path) -> Iterator[str]:
    """URL of a real Prometheus that holds the series."""
    lines = []
    for name in sorted({dict(key)["__name__"] for key in past.series}):
        lines.append(f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'unknown'}\n")
        for key, points in past.series.items():
            labels = dict(key)
            if labels.pop("__name__") == name:
                inside = ",".join(f'{one}="{value}"' for one, value in labels.items())
                lines += [f"{name}{{{inside}}} {value:g} {at:.3f}\n" for at, value in points]
    (folder / "past.txt").write_text("".join(lines) + "# EOF\n")
    command = [need_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(folder / "past.txt")]
    subprocess.run([*command, str(folder / "data")], check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    port = free_port()
    process = subprocess.Popen(
        [
            need_program("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
