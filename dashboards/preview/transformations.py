"""Grafana's transformations of tables that our dashboards use: merge, organize and sortBy.

Behaviour as in grafana/grafana, packages/grafana-data/src/transformations/transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.preview.answers import Series
from midwatch.errors import MidwatchError

Value = str | float
Row = dict[str, Value]


class UnknownTransformationError(MidwatchError):
    """A transformation that is not known here."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A table: its columns in order, and rows that may lack some."""

    columns: Sequence[str]
    rows: Sequence[Row]


def frames(series: Sequence[Series]) -> list[Frame]:
    """The answers of each query as Prometheus' table format gives them: a column for each label, then the value.

    With several queries the value's column is called `Value #A`, by the query's refId.
    """
    refs = list(dict.fromkeys(one.ref for one in series))
    return [_frame([one for one in series if one.ref == ref], ref) for ref in refs]


def _frame(series: Sequence[Series], ref: str) -> Frame:
    labels = sorted({name for one in series for name in one.labels})
    value = f"Value #{ref}"
    return Frame(columns=[*labels, value], rows=[{**one.labels, value: one.last} for one in series])


def transformed(series: Sequence[Series], panel: Mapping[str, Any]) -> Frame:
    """One table of a panel's answers; UnknownTransformationError names what cannot be done here."""
    found = frames(series)
    if len(panel["targets"]) == 1:  # Grafana numbers values only where there are several
        found = [_renamed(one, {name: "Value" for name in one.columns if name.startswith("Value #")}) for one in found]
    frame = found[0] if found else Frame(columns=[], rows=[])
    for transformation in panel.get("transformations") or ():
        if transformation["id"] == "merge":
            frame = _merged(found)
        elif (change := CHANGES.get(transformation["id"])) is not None:
            frame = change(frame, transformation.get("options") or {})
        else:
            raise UnknownTransformationError(f"the transformation {transformation['id']} is not known here")
    return frame


def _merged(several: Sequence[Frame]) -> Frame:
    """Rows of all tables, joined where they agree in every label that both have."""
    columns = list(dict.fromkeys(name for one in several for name in one.columns if not name.startswith("Value #")))
    columns += [name for one in several for name in one.columns if name.startswith("Value #")]
    rows: dict[tuple[tuple[str, Value], ...], Row] = {}
    for frame in several:
        for row in frame.rows:
            key = tuple(sorted((name, value) for name, value in row.items() if not name.startswith("Value #")))
            rows.setdefault(key, {}).update(row)
    return Frame(columns=columns, rows=list(rows.values()))


def _renamed(frame: Frame, names: Mapping[str, str]) -> Frame:
    return Frame(
        columns=[names.get(name, name) for name in frame.columns],
        rows=[{names.get(name, name): value for name, value in row.items()} for row in frame.rows],
    )


def _organized(frame: Frame, options: Mapping[str, Any]) -> Frame:
    """Without the excluded columns, in the order of the indices, with their new names."""
    excluded = {name for name, is_excluded in (options.get("excludeByName") or {}).items() if is_excluded}
    places = options.get("indexByName") or {}
    kept = [name for name in frame.columns if name not in excluded]
    kept.sort(key=lambda name: places.get(name, math.inf))
    chosen = Frame(
        columns=kept, rows=[{name: value for name, value in row.items() if name in kept} for row in frame.rows]
    )
    return _renamed(chosen, options.get("renameByName") or {})


def _sorted(frame: Frame, options: Mapping[str, Any]) -> Frame:
    rows = list(frame.rows)
    for one in reversed(options.get("sort") or ()):
        rows = ordered(rows, one["field"], is_descending=bool(one.get("desc")))
    return Frame(columns=frame.columns, rows=rows)


def ordered(rows: Sequence[Row], column: str, *, is_descending: bool) -> list[Row]:
    """Rows by a column; numbers among themselves, and those without a value last."""

    def place(row: Row) -> tuple[bool, float, str]:
        value = row.get(column)
        return (False, value, "") if isinstance(value, float | int) else (True, 0.0, str(value))

    def is_known(row: Row) -> bool:
        value = row.get(column)
        return value is not None and not (isinstance(value, float) and math.isnan(value))

    known = sorted((row for row in rows if is_known(row)), key=place, reverse=is_descending)
    return [*known, *(row for row in rows if not is_known(row))]


CHANGES: Mapping[str, Callable[[Frame, Mapping[str, Any]], Frame]] = {"organize": _organized, "sortBy": _sorted}
"""Those that change one table, by Grafana's id."""
