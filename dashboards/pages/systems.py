"""A page for each of the platform's systems, drawn from the panels of its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from dashboards import style
from dashboards.annotation import Annotation
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, Panel, PanelFactory
from dashboards.style import Column
from midwatch import grafana
from midwatch.promql import Expr
from midwatch.spec import system_rules
from midwatch.spec.system_rules import Installed
from midwatch.spec.systems import LinesPanel, PanelQuery, StatPanel, SystemAnnotation, TablePanel

ORDER = 80
"""After the platform's own pages; systems stand among themselves by name."""
PANELS_IN_A_ROW = 3

_COLORS = {"good": style.GOOD, "watch": style.WATCH, "bad": style.BAD}


def build_pages(factory: PanelFactory) -> list[Page]:
    """Pages of the platform's systems."""
    return [_page(factory, system) for system in system_rules.installed(factory.platform)]


def _page(factory: PanelFactory, system: Installed) -> Page:
    """The page of a system: a section for each run of panels with the same one."""
    described = system.described
    panels = [panel for panel in described.panels if panel.is_in(system.version)]
    return Page(
        name=grafana.system_page(system.name),
        title=described.title,
        order=ORDER,
        description=" ".join([f"{described.question} Owner: {system.use.owner}.", *_left_out(system)]),
        variables=[],
        annotations=[_annotation(system, one) for one in described.annotations if one.is_in(system.version)],
        sections=[
            Section(title=title, rows=list(_rows([_drawn(factory, system, panel) for panel in inside])))
            for title, inside in groupby(panels, lambda panel: panel.section)
        ],
    )


def _left_out(system: Installed) -> Iterator[str]:
    """What the version that the platform file states does not have."""
    if system.use.version is not None and (titles := [title for title, _ in system.left_out()]):
        yield f"Version {system_rules.version_text(system.version)} has no {', '.join(titles)}."


def _rows(panels: Sequence[Panel]) -> Iterator[Row]:
    rest = iter(panels)
    while row := list(islice(rest, PANELS_IN_A_ROW)):
        yield Row(panels=row)


def _annotation(system: Installed, annotation: SystemAnnotation) -> Annotation:
    return Annotation(
        name=annotation.name,
        color=_COLORS[annotation.color],
        expr=Expr(system.expr(annotation.expr)),
        text=system.legend(annotation.text, annotation.expr),
        tags=system.tags(annotation.tags, annotation.expr),
    )


def _query(system: Installed, query: PanelQuery) -> Query:
    return Query(expr=Expr(system.expr(query.expr)), legend=system.legend(query.legend, query.expr))


def _lines(factory: PanelFactory, system: Installed, panel: LinesPanel) -> Panel:
    queries = [_query(system, query) for query in panel.queries]
    return factory.lines(panel.title, _note(system, panel), panel.unit, *queries, stack=panel.stacked)


def _stat(factory: PanelFactory, system: Installed, panel: StatPanel) -> Panel:
    steps = [(None, style.GOOD), (panel.bad_from, style.BAD)] if panel.bad_from is not None else []
    queries = [_query(system, query) for query in panel.queries]
    return factory.stat(panel.title, _note(system, panel), panel.unit, *queries, steps=steps)


def _table(factory: PanelFactory, system: Installed, panel: TablePanel) -> Panel:
    columns = [
        Column(name=query.legend, query=Query(expr=Expr(system.expr(query.expr))), unit=panel.unit)
        for query in panel.queries
    ]
    return factory.table(panel.title, _note(system, panel), columns, worst=columns[0].name)


def _note(system: Installed, panel: LinesPanel | StatPanel | TablePanel) -> Note:
    return Note(shows=system.text(panel.shows), act=system.text(panel.act), runbook=panel.runbook)


_KINDS: dict[type, Callable[[PanelFactory, Installed, Any], Panel]] = {
    LinesPanel: _lines,
    StatPanel: _stat,
    TablePanel: _table,
}


def _drawn(factory: PanelFactory, system: Installed, panel: LinesPanel | StatPanel | TablePanel) -> Panel:
    return _KINDS[type(panel)](factory, system, panel)
