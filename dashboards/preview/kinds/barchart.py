"""Bars beside each other for each value of one column, a colour for each other column with numbers."""

from __future__ import annotations

from dashboards.preview import fields, transformations, units
from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Columns
from midwatch.html.charts import Bars, Line


def draw(answer: Answer) -> Columns:
    """The bars."""
    panel = answer.panel
    frame = transformations.transformed(answer.series, panel)
    named = (panel.get("options") or {}).get("xField") or frame.columns[0]
    numeric = [name for name in frame.columns if any(isinstance(row.get(name), float | int) for row in frame.rows)]
    unit = units.of(fields.look_of(panel).unit)
    series = [Line(name=name, values=[_number(row.get(name), unit.factor) for row in frame.rows]) for name in numeric]
    chart = Bars(
        title=panel["title"], names=[str(row.get(named, "")) for row in frame.rows], series=series, unit=unit.name
    )
    return Columns(chart=chart)


def _number(value: transformations.Value | None, factor: float) -> float | None:
    return value * factor if isinstance(value, float | int) else None
