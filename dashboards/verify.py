"""Does every panel have data? Each query of a dashboard asked of a Prometheus, with the variables filled in.

The document is what is verified, as Grafana would load it: variables take the values that Prometheus gives them, a
section that repeats is asked for each value, a panel about one model for each model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from dashboards import reader
from dashboards.reader import Document, Panel, Variable
from midwatch.errors import MidwatchError
from midwatch.spec.values import format_duration

POINTS = 60
"""Steps of a range query: as many as a small panel draws."""


class Prometheus(Protocol):
    """What answers: `midwatch.prometheus.Client` does. A query that cannot be answered raises MidwatchError."""

    def query(self, expr: object, *, at: float | None = None) -> Sequence[Any]:
        """Samples now, each with `labels` and `value`."""
        ...

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> Sequence[Any]:
        """Lines, each with `points`."""
        ...


class Status(StrEnum):
    """What is known of a panel, a variable or an annotation."""

    OK = "ok"
    EMPTY = "empty"
    ERROR = "error"
    QUIET = "quiet"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing asked: where it stands, with which values, and why it is not ok.

    `kind` is panel, variable or annotation. An annotation is quiet when nothing happened; what Loki or Tempo is asked
    is skipped. `series` are those with a value; `queries` are the empty ones of a panel, each with the reason.
    """

    dashboard: str
    kind: str
    title: str
    values: Mapping[str, str] = field(default_factory=dict)
    status: Status = Status.EMPTY
    reason: str = ""
    series: int = 0
    queries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Time:
    """When is asked for: up to `end` (seconds since 1970), `since` seconds back; `scrape` is Prometheus' interval."""

    end: float
    since: float
    scrape: float

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(1.0, math.ceil(self.since / POINTS))

    def built_in(self) -> dict[str, str]:
        """Grafana's own variables; `$__rate_interval` by Grafana's rule: four scrapes, or a step and a scrape."""
        rate = max(self.step + self.scrape, 4 * self.scrape)
        return {
            "__interval": format_duration(self.step),
            "__rate_interval": format_duration(rate),
            "__range": format_duration(self.since),
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """One choice of variables: what is put into queries, and the values behind each multiple choice."""

    values: Mapping[str, str]
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def chosen(self, name: str, value: str, options: Sequence[str]) -> Run:
        """The run with one more variable."""
        return Run(values={**self.values, name: value}, options={**self.options, name: options})

    def asked(self, names: set[str]) -> dict[str, str]:
        """The values of those variables, without Grafana's own."""
        return {name: value for name, value in self.values.items() if name in names and not name.startswith("__")}


class Verifier:
    """Asks one Prometheus about dashboards; `chosen` fixes variables by name."""

    def __init__(self, prometheus: Prometheus, time: Time, chosen: Mapping[str, str] | None = None) -> None:
        self._prometheus, self._time, self._chosen = prometheus, time, dict(chosen or {})
        self._counts: dict[str, int] = {}

    def verify(self, document: Document, done: Callable[[], None] = lambda: None) -> Iterator[Finding]:
        """Findings of a dashboard: its variables, its annotations, then its panels; `done` after each panel."""
        title = document["title"]
        found, runs = self._variables(document)
        yield from found
        for name, expr in reader.events(document).items():
            yield self._annotation(title, name, expr, runs[0])
        for panel in reader.panels(document):
            yield from self._panel(title, panel, runs)
            done()

    # Variables ----------------------------------------------------------------------------------------------------

    def _variables(self, document: Document) -> tuple[list[Finding], list[Run]]:
        """Findings of the variables, and the choices to ask with: one for each value of a first single choice."""
        found: list[Finding] = []
        runs = [Run(values=self._time.built_in() | reader.fixed_values(document) | self._chosen)]
        for index, variable in enumerate(reader.variables(document)):
            longer: list[Run] = []
            for run in runs:
                options, finding = self._options(document["title"], variable, run)
                found.append(finding)
                longer += _choices(run, variable, options, every=index == 0)
            runs = longer
        return found, runs

    def _options(self, title: str, variable: Variable, run: Run) -> tuple[list[str], Finding]:
        """Values of a variable, the one that Grafana starts with first."""
        if variable.name in self._chosen:
            return [self._chosen[variable.name]], _finding(title, variable, run, Status.OK, "chosen")
        try:
            options = self._label_values(variable, run)
        except MidwatchError as error:
            return [], _finding(title, variable, run, Status.ERROR, str(error))
        if not options:
            reason = self._why_empty(reader.filled(variable.series or "up", run.values))
            return [], _finding(title, variable, run, Status.EMPTY, reason)
        return options[::-1] if variable.newest else options, _finding(
            title, variable, run, Status.OK, "", len(options)
        )

    def _label_values(self, variable: Variable, run: Run) -> list[str]:
        series = reader.filled(variable.series or '{__name__!=""}', run.values)
        expr = f"count by ({variable.label}) (last_over_time({series}[{format_duration(self._time.since)}]))"
        samples = self._prometheus.query(expr, at=self._time.end)
        return sorted(sample.labels[variable.label] for sample in samples if sample.labels.get(variable.label))

    # Annotations and panels ---------------------------------------------------------------------------------------

    def _annotation(self, title: str, name: str, expr: str, run: Run) -> Finding:
        found = Finding(dashboard=title, kind="annotation", title=name, values=run.asked(reader.named(expr)))
        try:
            asked = reader.filled(expr, run.values)
            count = self._count(asked, instant=False)
        except MidwatchError as error:
            return replace(found, status=Status.ERROR, reason=str(error))
        if count:
            return replace(found, status=Status.OK, series=count)
        return replace(found, status=Status.QUIET, reason=self._why_empty(asked))

    def _panel(self, title: str, panel: Panel, runs: Sequence[Run]) -> Iterator[Finding]:
        found = Finding(dashboard=title, kind="panel", title=panel.title)
        if panel.datasource != "prometheus":
            yield replace(found, status=Status.SKIPPED, reason=f"{panel.datasource} is not asked")
            return
        names = {name for question in panel.questions for name in reader.named(question.expr)}
        seen: list[dict[str, str]] = []
        for run in _repeated(panel, runs):
            values = run.asked(names)
            if values not in seen:
                seen.append(values)
                yield self._answered(replace(found, values=values), panel, run)

    def _answered(self, found: Finding, panel: Panel, run: Run) -> Finding:
        empty: dict[str, str] = {}
        series = 0
        for question in panel.questions:
            try:
                expr = reader.filled(question.expr, run.values)
                count = self._count(expr, instant=question.instant)
            except MidwatchError as error:
                return replace(found, status=Status.ERROR, reason=f"query {question.ref}: {error}")
            if not count:
                empty[question.ref] = self._why_empty(expr)
            elif not question.reference:
                series += count
        if series:
            return replace(found, status=Status.OK, series=series, queries=empty)
        subjects = [question.ref for question in panel.questions if not question.reference]
        reason = "; ".join(dict.fromkeys(empty[ref] for ref in subjects))
        return replace(found, status=Status.EMPTY, reason=reason, queries=empty)

    # What Prometheus has ------------------------------------------------------------------------------------------

    def _count(self, expr: str, *, instant: bool) -> int:
        """Series with at least one number."""
        if instant:
            samples = self._prometheus.query(expr, at=self._time.end)
            return sum(not math.isnan(sample.value) for sample in samples)
        lines = self._prometheus.query_range(
            expr, start=self._time.end - self._time.since, end=self._time.end, step=self._time.step
        )
        return sum(any(not math.isnan(value) for _, value in line.points) for line in lines)

    def _why_empty(self, expr: str) -> str:
        """The metric that nobody publishes, else the selector that selects nothing, else that they do not meet."""
        found = reader.selectors(expr)
        unknown = sorted({one.name for one in found if one.name and not self._series(one.name)})
        if unknown:
            return f"unknown metric: {', '.join(unknown)}"
        for one in found:
            if not self._series(str(one).partition(" offset ")[0]):
                return f"no series for these labels: {str(one).partition(' offset ')[0]}"
        return "its series are there, but the expression selects or joins none of them"

    def _series(self, selector: str) -> int:
        """How many series there were; asked once for each selector."""
        if selector not in self._counts:
            expr = f"count(last_over_time({selector}[{format_duration(self._time.since)}]))"
            samples = self._prometheus.query(expr, at=self._time.end)
            self._counts[selector] = int(samples[0].value) if samples else 0
        return self._counts[selector]


def _choices(run: Run, variable: Variable, options: Sequence[str], *, every: bool) -> list[Run]:
    """The run with each value of a variable to ask with; one without values is asked with none."""
    if variable.multi:
        pattern = options[0] if len(options) == 1 else "|".join(map(re.escape, options))
        return [run.chosen(variable.name, variable.all_value or pattern, options)]
    if not options:
        return [run.chosen(variable.name, "", [])]
    return [run.chosen(variable.name, option, [option]) for option in (options if every else options[:1])]


def _repeated(panel: Panel, runs: Sequence[Run]) -> Iterator[Run]:
    """Each run; for a panel that repeats, once for each value of that variable."""
    for run in runs:
        options = run.options.get(panel.repeat, ()) if panel.repeat else ()
        yield from [run.chosen(str(panel.repeat), option, [option]) for option in options] or [run]


def _finding(title: str, variable: Variable, run: Run, status: Status, reason: str, series: int = 0) -> Finding:
    values = run.asked(reader.named(variable.series or ""))
    found = Finding(dashboard=title, kind="variable", title=f"${variable.name}", values=values)
    return replace(found, status=status, reason=reason, series=series)
