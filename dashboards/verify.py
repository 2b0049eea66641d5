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
from midwatch.errors import Exit, MidwatchError
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


class Element(StrEnum):
    """The elements of a dashboard that ask something."""

    PANEL = "panel"
    VARIABLE = "variable"
    ANNOTATION = "annotation"


class Status(StrEnum):
    """Whether an element has data.

    An annotation is quiet when nothing happened; what Loki or Tempo is asked is skipped.
    """

    OK = "ok"
    EMPTY = "empty"
    ERROR = "error"
    QUIET = "quiet"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """One element of a dashboard, the values of variables it was asked with, and whether it has data, else why not.

    `series` counts those with a value; `queries` are the empty ones of a panel, each with the reason.
    """

    dashboard: str
    kind: Element
    title: str
    values: Mapping[str, str] = field(default_factory=dict)
    status: Status = Status.EMPTY
    reason: str = ""
    series: int = 0
    queries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """The time that queries ask for: `since` seconds up to `end` (since 1970); `scrape` is Prometheus' interval.

    `points` are the steps of a range query.
    """

    end: float
    since: float
    scrape: float
    points: int = POINTS

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(1.0, math.ceil(self.since / self.points))

    def built_in(self) -> dict[str, str]:
        """Grafana's own variables; `$__rate_interval` by Grafana's rule: four scrapes, or a step and a scrape."""
        rate = max(self.step + self.scrape, 4 * self.scrape)
        return {
            "__interval": format_duration(self.step),
            "__rate_interval": format_duration(rate),
            "__range": format_duration(self.since),
        }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One choice of variables: what is put into queries, and the values behind each multiple choice."""

    values: Mapping[str, str]
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def with_value(self, name: str, value: str, options: Sequence[str]) -> Choice:
        """The choice with one more variable."""
        return Choice(values={**self.values, name: value}, options={**self.options, name: options})

    def of(self, names: set[str]) -> dict[str, str]:
        """The values of those variables, without Grafana's own."""
        return {name: value for name, value in self.values.items() if name in names and not name.startswith("__")}


class Verifier:
    """Asks one Prometheus about dashboards; `chosen` fixes variables by name."""

    def __init__(self, prometheus: Prometheus, time: TimeRange, chosen: Mapping[str, str] | None = None) -> None:
        self._prometheus, self._time, self._chosen = prometheus, time, dict(chosen or {})
        self._counts: dict[str, int] = {}

    def verify(self, document: Document, done: Callable[[], None] = lambda: None) -> Iterator[Verification]:
        """A dashboard's variables, its annotations, then its panels; `done` is called after each panel."""
        title = document["title"]
        verifications, choices = self.choices(document)
        yield from verifications
        for name, expr in reader.annotation_queries(document).items():
            yield self._annotation(title, name, expr, choices[0])
        for panel in reader.panels(document):
            yield from self._panel(title, panel, choices)
            done()

    # Variables ----------------------------------------------------------------------------------------------------

    def choices(self, document: Document) -> tuple[list[Verification], list[Choice]]:
        """Each variable, and the choices to ask with: one for each value of a first single choice."""
        verifications: list[Verification] = []
        choices = [Choice(values=self._time.built_in() | reader.fixed_values(document) | self._chosen)]
        for index, variable in enumerate(reader.variables(document)):
            longer: list[Choice] = []
            for choice in choices:
                options, verification = self._options(document["title"], variable, choice)
                verifications.append(verification)
                longer += _with_each_value(choice, variable, options, every=index == 0)
            choices = longer
        return verifications, choices

    def _options(self, title: str, variable: Variable, choice: Choice) -> tuple[list[str], Verification]:
        """Values of a variable, the one that Grafana starts with first."""
        if variable.name in self._chosen:
            return [self._chosen[variable.name]], _of_variable(title, variable, choice, Status.OK, "chosen")
        try:
            options = self._label_values(variable, choice)
        except MidwatchError as error:
            return [], _of_variable(title, variable, choice, Status.ERROR, str(error))
        if not options:
            reason = self.why_empty(reader.filled(variable.series or "up", choice.values))
            return [], _of_variable(title, variable, choice, Status.EMPTY, reason)
        return options[::-1] if variable.newest else options, _of_variable(
            title, variable, choice, Status.OK, "", len(options)
        )

    def _label_values(self, variable: Variable, choice: Choice) -> list[str]:
        series = reader.filled(variable.series or '{__name__!=""}', choice.values)
        expr = f"count by ({variable.label}) (last_over_time({series}[{format_duration(self._time.since)}]))"
        samples = self._prometheus.query(expr, at=self._time.end)
        return sorted(sample.labels[variable.label] for sample in samples if sample.labels.get(variable.label))

    # Annotations and panels ---------------------------------------------------------------------------------------

    def _annotation(self, title: str, name: str, expr: str, choice: Choice) -> Verification:
        values = choice.of(reader.named(expr))
        pending = Verification(dashboard=title, kind=Element.ANNOTATION, title=name, values=values)
        try:
            filled = reader.filled(expr, choice.values)
            count = self._count(filled, instant=False)
        except MidwatchError as error:
            return replace(pending, status=Status.ERROR, reason=str(error))
        if count:
            return replace(pending, status=Status.OK, series=count)
        return replace(pending, status=Status.QUIET, reason=self.why_empty(filled))

    def _panel(self, title: str, panel: Panel, choices: Sequence[Choice]) -> Iterator[Verification]:
        pending = Verification(dashboard=title, kind=Element.PANEL, title=panel.title)
        if panel.datasource != "prometheus":
            yield replace(pending, status=Status.SKIPPED, reason=f"{panel.datasource} is not asked")
            return
        names = {name for query in panel.queries for name in reader.named(query.expr)}
        seen: list[dict[str, str]] = []
        for choice in repeated(panel, choices):
            values = choice.of(names)
            if values not in seen:
                seen.append(values)
                yield self._answered(replace(pending, values=values), panel, choice)

    def _answered(self, pending: Verification, panel: Panel, choice: Choice) -> Verification:
        empty: dict[str, str] = {}
        series = 0
        for query in panel.queries:
            try:
                expr = reader.filled(query.expr, choice.values)
                count = self._count(expr, instant=query.instant)
            except MidwatchError as error:
                return replace(pending, status=Status.ERROR, reason=f"query {query.ref}: {error}")
            if not count:
                empty[query.ref] = self.why_empty(expr)
            elif not query.reference:
                series += count
        if series:
            return replace(pending, status=Status.OK, series=series, queries=empty)
        subjects = [query.ref for query in panel.queries if not query.reference]
        reason = "; ".join(dict.fromkeys(empty[ref] for ref in subjects))
        return replace(pending, status=Status.EMPTY, reason=reason, queries=empty)

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

    def why_empty(self, expr: str) -> str:
        """The metric that nobody publishes, else the selector that selects nothing, else that they do not meet."""
        selectors = reader.selectors(expr)
        unknown = sorted({one.name for one in selectors if one.name and not self._series(one.name)})
        if unknown:
            return f"unknown metric: {', '.join(unknown)}"
        for one in selectors:
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


def _with_each_value(choice: Choice, variable: Variable, options: Sequence[str], *, every: bool) -> list[Choice]:
    """The choice with each value of a variable to ask with; one without values is asked with none."""
    if variable.multi:
        pattern = options[0] if len(options) == 1 else "|".join(map(re.escape, options))
        return [choice.with_value(variable.name, variable.all_value or pattern, options)]
    if not options:
        return [choice.with_value(variable.name, "", [])]
    return [choice.with_value(variable.name, option, [option]) for option in (options if every else options[:1])]


def repeated(panel: Panel, choices: Sequence[Choice]) -> Iterator[Choice]:
    """Each choice; for a panel that repeats, once for each value of that variable."""
    for choice in choices:
        options = choice.options.get(panel.repeat, ()) if panel.repeat else ()
        yield from [choice.with_value(str(panel.repeat), option, [option]) for option in options] or [choice]


def _of_variable(
    title: str, variable: Variable, choice: Choice, status: Status, reason: str, series: int = 0
) -> Verification:
    return Verification(
        dashboard=title,
        kind=Element.VARIABLE,
        title=f"${variable.name}",
        values=choice.of(reader.named(variable.series or "")),
        status=status,
        reason=reason,
        series=series,
    )


def judge(verifications: Sequence[Verification], *, strict: bool) -> Exit:
    """The exit code: fail on an error, strictly on what is empty too; inconclusive when no panel has data."""
    statuses = {one.status for one in verifications}
    if Status.ERROR in statuses or (strict and Status.EMPTY in statuses):
        return Exit.FAIL
    has_data = any(one.kind is Element.PANEL and one.status is Status.OK for one in verifications)
    return Exit.PASS if has_data else Exit.INCONCLUSIVE
