"""A page for each of the platform's systems, drawn from the panels of its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

from dashboards import looks
from dashboards.document import Page
from dashboards.happenings import Happening
from dashboards.house import House, Note, Panel
from dashboards.layout import Row, Section
from dashboards.looks import Column
from dashboards.targets import Query
from midwatch import grafana
from midwatch.promql import Expr
from midwatch.spec import system_rules
from midwatch.spec.system_rules import Installed
from midwatch.spec.systems import LinesPanel, PanelQuery, StatPanel, SystemAnnotation, TablePanel

PANELS_IN_A_ROW = 3

_COLORS = {"good": looks.GOOD, "watch": looks.WATCH, "bad": looks.BAD}


def pages(house: House) -> list[Page]:
    """Pages of the platform's systems, in the order of the platform file."""
    return [build(house, system) for system in system_rules.installed(house.platform)]


def build(house: House, system: Installed) -> Page:
    """The page of a system: a section for each run of panels with the same one."""
    described = system.described
    panels = [panel for panel in described.panels if panel.is_in(system.version)]
    return Page(
        page=grafana.SystemPage(system.name),
        title=described.title,
        description=f"{described.question} Owner: {system.use.owner}.",
        variables=[],
        happenings=[_happening(system, one) for one in described.annotations if one.is_in(system.version)],
        sections=[
            Section(title=title, rows=list(_rows([_drawn(house, system, panel) for panel in inside])))
            for title, inside in groupby(panels, lambda panel: panel.section)
        ],
    )


def _rows(panels: Sequence[Panel]) -> Iterator[Row]:
    rest = iter(panels)
    while row := list(islice(rest, PANELS_IN_A_ROW)):
        yield Row(panels=row)


def _happening(system: Installed, annotation: SystemAnnotation) -> Happening:
    return Happening(
        name=annotation.name,
        color=_COLORS[annotation.color],
        expr=Expr(system.expr(annotation.expr)),
        text=annotation.text,
        tags=tuple(annotation.tags),
    )


def _query(system: Installed, query: PanelQuery) -> Query:
    return Query(expr=Expr(system.expr(query.expr)), legend=query.legend)


def _lines(house: House, system: Installed, panel: LinesPanel) -> Panel:
    queries = [_query(system, query) for query in panel.queries]
    return house.lines(panel.title, _note(system, panel), panel.unit, *queries, stack=panel.stacked)


def _stat(house: House, system: Installed, panel: StatPanel) -> Panel:
    steps = [(None, looks.GOOD), (panel.bad_from, looks.BAD)] if panel.bad_from is not None else []
    queries = [_query(system, query) for query in panel.queries]
    return house.stat(panel.title, _note(system, panel), panel.unit, *queries, steps=steps)


def _table(house: House, system: Installed, panel: TablePanel) -> Panel:
    columns = [
        Column(name=query.legend, query=Query(expr=Expr(system.expr(query.expr))), unit=panel.unit)
        for query in panel.queries
    ]
    return house.table(panel.title, _note(system, panel), columns, worst=columns[0].name)


def _note(system: Installed, panel: LinesPanel | StatPanel | TablePanel) -> Note:
    return Note(shows=system.text(panel.shows), act=system.text(panel.act), runbook=panel.runbook)


_KINDS: dict[type, Callable[[House, Installed, Any], Panel]] = {
    LinesPanel: _lines,
    StatPanel: _stat,
    TablePanel: _table,
}


def _drawn(house: House, system: Installed, panel: LinesPanel | StatPanel | TablePanel) -> Panel:
    return _KINDS[type(panel)](house, system, panel)
