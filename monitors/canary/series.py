"""The samples of both arms, each selector asked once. Raw samples are asked for, not rates.

A rate is extrapolated, and a count must be a count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from midwatch import promql
from midwatch.prometheus import Line, RejectedError, Sample
from midwatch.spec.values import format_duration
from monitors.canary import increments
from monitors.canary.arms import Floats
from monitors.canary.expressions import Expressions
from monitors.canary.increments import Axis, Labels

CHUNK_SECONDS = 21600.0
AT_ONCE = 4
"""Questions to Prometheus that are open together."""
KNOWN_SECONDS = 86400.0
"""How far back a series is known from."""


class Querier(Protocol):
    """What is asked of a Prometheus."""

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Instant query."""

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query."""

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples as they were scraped."""


@dataclass
class ArmLines:
    """Lines of one selector for both arms, and values at the start of series without a sample shortly before it."""

    baseline: list[Line]
    canary: list[Line]
    known: dict[Labels, float] = field(default_factory=dict)

    def sides(self) -> tuple[list[Line], list[Line]]:
        """Baseline, canary."""
        return self.baseline, self.canary


class Series:
    """Lines by selector along an axis; `queries` are the expressions that were asked."""

    def __init__(self, querier: Querier, expressions: Expressions, axis: Axis) -> None:
        self._querier, self._expressions, self._axis = querier, expressions, axis
        self._lines: dict[str, ArmLines] = {}
        self._times: Floats = np.empty(0)
        self.queries: list[str] = []

    def ask(self, selectors: Sequence[str]) -> dict[str, ArmLines]:
        """Ask all that was not asked yet, some at once: Prometheus computes while we read. The new ones' lines."""
        new = [selector for selector in dict.fromkeys(selectors) if selector not in self._lines]
        narrowed = [promql.narrowed(selector, arm) for selector in new for arm in self._expressions.matchers()]
        for asked in narrowed:
            self.queries += [f"{asked}{_range(begin, until)} @ {until:.3f}" for begin, until in self._chunks()]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = iter(list(pool.map(self._samples, narrowed)))
        lines = {selector: ArmLines(baseline=next(answers), canary=next(answers)) for selector in new}
        self._lines |= lines
        self._ensure_one_region(lines)
        return lines

    def _ensure_one_region(self, found: Mapping[str, ArmLines]) -> None:
        """Refuse arms of several regions, each with its own traffic: `strata: region` compares like with like."""
        question, settings = self._expressions.question, self._expressions.settings
        if question.region is None or settings.strata == "region":
            return
        lines = [line for arms in found.values() for side in arms.sides() for line in side]
        regions = sorted({line.labels["region"] for line in lines if "region" in line.labels})
        if len(regions) > 1:
            why = f"its series are of several regions, {', '.join(regions)}: a canary is compared within one"
            raise RejectedError(next(iter(found)), why)

    def __getitem__(self, selector: str) -> ArmLines:
        return self._lines[selector]

    def ask_start(self) -> None:
        """Ask where the counters stood at the axis' start, and remember when there were samples."""
        sides = [side for lines in self._lines.values() for side in lines.sides()]
        # Counters of one target are scraped together: there are fewer times than series.
        times = {found.tobytes(): found for side in sides for line in side for found in (_times(line),)}
        self._times = np.unique(np.concatenate([np.empty(0), *times.values()]))
        for lines in self._lines.values():
            for matchers, side in zip(self._expressions.matchers(), lines.sides(), strict=True):
                lines.known |= self._values_at_start(matchers, side)

    def was_scraping(self, at: float) -> bool:
        """Whether there are samples more than one interval, and less than three, before a time."""
        index = int(np.searchsorted(self._times, at - 3 * self._axis.step))
        return index < self._times.size and bool(self._times[index] <= at - self._axis.step)

    def _values_at_start(self, matchers: str, lines: Sequence[Line]) -> dict[Labels, float]:
        late = [line for line in lines if len(line.points) and line.points[0][0] > self._axis.start]
        if not late:
            return {}
        name = late[0].labels["__name__"]
        selector = promql.narrowed(name, *self._model_matcher(late), matchers)
        samples = self._querier.query(
            f"last_over_time({selector}[{format_duration(KNOWN_SECONDS)}])", at=self._axis.start
        )
        return {tuple(sorted({**sample.labels, "__name__": name}.items())): sample.value for sample in samples}

    def _model_matcher(self, lines: Sequence[Line]) -> list[str]:
        model = self._expressions.question.model
        return [promql.matcher("model", model)] if {line.labels.get("model") for line in lines} == {model} else []

    def _chunks(self) -> list[tuple[float, float]]:
        """Stretches of time that are asked for one by one, beginning a little before the start."""
        begin = self._axis.start - 3 * self._axis.step
        chunks: list[tuple[float, float]] = []
        while begin < self._axis.end:
            chunks.append((begin, min(self._axis.end, begin + CHUNK_SECONDS)))
            begin = chunks[-1][1]
        return chunks

    def _samples(self, selector: object) -> list[Line]:
        pieces: dict[Labels, list[Line]] = {}
        for begin, until in self._chunks():
            for line in self._querier.samples(selector, start=begin, end=until):
                pieces.setdefault(increments.labels_of(line), []).append(line)
        return [_joined(lines) for lines in pieces.values()]


def _range(begin: float, until: float) -> str:
    return f"[{format_duration(until - begin)}]"


def _joined(lines: Sequence[Line]) -> Line:
    """One series from the answers of several stretches of time."""
    if len(lines) == 1:
        return lines[0]
    points = np.concatenate([np.array(line.points, dtype=float).reshape(-1, 2) for line in lines])
    if not (np.diff(points[:, 0]) > 0).all():
        points = points[np.unique(points[:, 0], return_index=True)[1]]
    rows: Any = points
    histograms = {at: value for line in lines for at, value in line.histograms}
    return Line(labels=lines[0].labels, points=rows, histograms=tuple(sorted(histograms.items())))


def _times(line: Line) -> Floats:
    """When a series has samples."""
    scraped = np.array(line.points, dtype=float).reshape(-1, 2)[:, 0]
    return np.concatenate([scraped, [at for at, _ in line.histograms]])
