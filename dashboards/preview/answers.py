"""What Prometheus answers to a panel's queries, with their variables filled in; how often it is asked is bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import reader
from dashboards.reader import Document, Panel
from dashboards.verify import Choice, Prometheus, TimeRange
from midwatch.errors import MidwatchError

_IN_LEGEND = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


class TooManyQueriesError(MidwatchError):
    """Prometheus has been asked as often as it may be."""


class Bounded:
    """A Prometheus that is asked at most `most` times; TooManyQueriesError from then on."""

    def __init__(self, prometheus: Prometheus, most: int) -> None:
        self._prometheus, self._most, self.asked = prometheus, most, 0

    def query(self, expr: object, *, at: float | None = None) -> Sequence[Any]:
        """Samples now."""
        self._count()
        return self._prometheus.query(expr, at=at)

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> Sequence[Any]:
        """Lines."""
        self._count()
        return self._prometheus.query_range(expr, start=start, end=end, step=step)

    def _count(self) -> None:
        if self.asked >= self._most:
            raise TooManyQueriesError(f"not asked: {self._most} queries were (--max-queries)")
        self.asked += 1


@dataclass(frozen=True, kw_only=True)
class Series:
    """One answer of a query: values at the times of the range, or one value now. What is missing is NaN."""

    ref: str
    labels: Mapping[str, str]
    name: str
    values: Sequence[float]
    format: str = "time_series"

    @property
    def last(self) -> float:
        """The newest value that is known."""
        return next((value for value in reversed(self.values) if not math.isnan(value)), math.nan)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything that a panel draws from: its series in the order of its queries, over `times`.

    `queries` are those that were asked, by refId, and `empty` the refIds of those without an answer.
    """

    panel: Document
    times: Sequence[float]
    series: Sequence[Series]
    queries: Mapping[str, str]
    empty: Sequence[str] = ()

    def subjects(self, references: Sequence[str]) -> list[Series]:
        """The series that the panel is about, without those that only draw a line beside them."""
        return [one for one in self.series if one.ref not in references]


def ask(prometheus: Prometheus, panel: Panel, choice: Choice, time: TimeRange) -> Answer:
    """The answer to a panel's queries; MidwatchError from whoever is asked."""
    times = [time.end - time.since + step * time.step for step in range(math.floor(time.since / time.step) + 1)]
    queries: dict[str, str] = {}
    series: list[Series] = []
    empty: list[str] = []
    targets = {target["refId"]: target for target in panel.document["targets"]}
    for query in panel.queries:
        queries[query.ref] = expr = reader.filled(query.expr, choice.values)
        target = targets[query.ref]
        if query.instant:
            found = [(one.labels, [one.value]) for one in prometheus.query(expr, at=time.end)]
        else:
            lines = prometheus.query_range(expr, start=times[0], end=times[-1], step=time.step)
            found = [(line.labels, _on(times, line.points)) for line in lines]
        known = [(labels, values) for labels, values in found if not all(map(math.isnan, values))]
        if not known:
            empty.append(query.ref)
        series += [
            Series(
                ref=query.ref,
                labels={name: value for name, value in labels.items() if name != "__name__"},
                name=_name(target.get("legendFormat") or "", labels, expr),
                values=values,
                format=target.get("format") or "time_series",
            )
            for labels, values in known
        ]
    return Answer(panel=panel.document, times=times, series=series, queries=queries, empty=empty)


def _on(times: Sequence[float], points: Sequence[tuple[float, float]]) -> list[float]:
    """Values at each of the times; NaN where there is none."""
    at = {round(when, 3): value for when, value in points}
    return [at.get(round(when, 3), math.nan) for when in times]


def _name(legend: str, labels: Mapping[str, str], expr: str) -> str:
    """A series' name by its legend; without one its labels, else the query."""
    if legend and legend != "__auto":
        return _IN_LEGEND.sub(lambda match: labels.get(match[1], ""), legend).strip() or expr
    named = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")
    return named or expr
