"""Every panel of a dashboard as it is drawn: asked with each choice of variables, or why there is nothing to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dashboards import reader, verify
from dashboards.preview import answers
from dashboards.preview.answers import Answer, Bounded
from dashboards.preview.drawings import Drawing
from dashboards.preview.kinds import drawers
from dashboards.reader import Document, Panel
from dashboards.verify import Choice, TimeRange, Verifier
from midwatch.errors import Exit, MidwatchError


class Status(StrEnum):
    """Whether a panel was drawn; what Loki or Tempo is asked, or of an unknown kind, is not drawn."""

    DRAWN = "drawn"
    EMPTY = "empty"
    FAILED = "failed"
    NOT_DRAWN = "not drawn"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A panel with the values of its variables: its drawing, else the reason; `queries` are those asked, by refId."""

    panel: Panel
    values: Mapping[str, str]
    status: Status
    reason: str = ""
    drawing: Drawing | None = None
    queries: Mapping[str, str] = field(default_factory=dict)
    empty: Mapping[str, str] = field(default_factory=dict)
    """Why a query has no answer, by refId."""


@dataclass(frozen=True, kw_only=True)
class ShownDashboard:
    """A dashboard's panels in their order, and the values of its first variable that were left out."""

    document: Document
    panels: Sequence[Shown]
    left_out: int = 0


class Previewer:
    """Draws dashboards from one Prometheus; `chosen` fixes variables by name, `most_values` are drawn of others."""

    def __init__(
        self, prometheus: Bounded, time: TimeRange, chosen: Mapping[str, str] | None = None, *, most_values: int = 3
    ) -> None:
        self._prometheus, self._time, self._most_values = prometheus, time, most_values
        self._verifier = Verifier(prometheus, time, chosen)

    def show(self, document: Document, done: Callable[[], None] = lambda: None) -> ShownDashboard:
        """Every panel; `done` is called after each. MidwatchError when a variable's values cannot be had."""
        _, choices = self._verifier.choices(document)
        shown: list[Shown] = []
        for panel in reader.panels(document):
            shown += self._panel(panel, choices[: self._most_values])
            done()
        return ShownDashboard(document=document, panels=shown, left_out=max(0, len(choices) - self._most_values))

    def only(self, document: Document, panel: Panel) -> list[Shown]:
        """One panel of a dashboard."""
        _, choices = self._verifier.choices(document)
        return list(self._panel(panel, choices[: self._most_values]))

    def _panel(self, panel: Panel, choices: Sequence[Choice]) -> Iterator[Shown]:
        if panel.datasource != "prometheus":
            reason = f"{panel.datasource} is not asked: only what Prometheus answers is drawn"
            yield Shown(panel=panel, values={}, status=Status.NOT_DRAWN, reason=reason)
            return
        names = {name for query in panel.queries for name in reader.named(query.expr)}
        seen: list[dict[str, str]] = []
        for choice in verify.repeated(panel, choices):
            values = choice.of(names)
            if values not in seen:
                seen.append(values)
                yield self._shown(panel, choice, values)

    def _shown(self, panel: Panel, choice: Choice, values: Mapping[str, str]) -> Shown:
        written = {query.ref: query.expr for query in panel.queries}
        try:
            answer = answers.ask(self._prometheus, panel, choice, self._time)
            return self._drawn(panel, answer, values)
        except MidwatchError as error:
            return Shown(panel=panel, values=values, status=Status.FAILED, reason=str(error), queries=written)

    def _drawn(self, panel: Panel, answer: Answer, values: Mapping[str, str]) -> Shown:
        references = [query.ref for query in panel.queries if query.reference]
        empty = {ref: self._verifier.why_empty(answer.queries[ref]) for ref in answer.empty}
        pending = Shown(panel=panel, values=values, status=Status.EMPTY, queries=answer.queries, empty=empty)
        if not answer.subjects(references):
            reason = "; ".join(dict.fromkeys(why for ref, why in empty.items() if ref not in references))
            return replace(pending, reason=reason)
        draw = drawers().get(panel.type)
        if draw is None:
            known = ", ".join(sorted(drawers()))
            return replace(pending, status=Status.NOT_DRAWN, reason=f"a panel of type {panel.type}; drawn are {known}")
        return replace(pending, status=Status.DRAWN, drawing=draw(answer))


def judge(shown: Sequence[Shown], *, strict: bool) -> Exit:
    """The exit code: fail when a panel failed, strictly when one is empty too; inconclusive when none was drawn."""
    statuses = {one.status for one in shown}
    if Status.FAILED in statuses or (strict and Status.EMPTY in statuses):
        return Exit.FAIL
    return Exit.PASS if Status.DRAWN in statuses else Exit.INCONCLUSIVE
