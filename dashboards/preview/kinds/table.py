"""A table of what is now, after the panel's transformations."""

from __future__ import annotations

from dashboards.preview import fields, transformations
from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Cell, Rows
from dashboards.preview.transformations import Value

MOST_ROWS = 20


def draw(answer: Answer) -> Rows:
    """The table, sorted as the panel says."""
    panel = answer.panel
    frame = transformations.transformed(answer.series, panel)
    rows = list(frame.rows)
    for one in reversed(((panel.get("options") or {}).get("sortBy")) or ()):
        rows = transformations.ordered(rows, one["displayName"], is_descending=bool(one.get("desc")))
    looks = {name: fields.look_of(panel, name=name) for name in frame.columns}
    more = len(rows) - MOST_ROWS
    return Rows(
        header=list(frame.columns),
        rows=[[_cell(row.get(name), looks[name]) for name in frame.columns] for row in rows[:MOST_ROWS]],
        note=f"{more} rows more in Grafana" if more > 0 else "",
    )


def _cell(value: Value | None, look: fields.Look) -> Cell:
    if isinstance(value, str):
        return Cell(text=value)
    return Cell(text=look.text(value), colour=look.colour(value), is_number=True)
