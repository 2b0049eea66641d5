"""What a panel becomes: lines, bars, figures, a table, or rows of coloured cells; `drawings.jinja` draws each.

Every kind of drawing names its macro. Colours are Grafana's, as #rrggbb, and only repeat what a text says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from midwatch.html import charts


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One drawing of a panel; `note` says what Grafana draws otherwise, or what was left out."""

    macro: ClassVar[str]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Lines(Drawing):
    """Lines over time."""

    macro: ClassVar[str] = "lines"
    chart: charts.Chart


@dataclass(frozen=True, kw_only=True)
class Columns(Drawing):
    """Bars beside each other."""

    macro: ClassVar[str] = "columns"
    chart: charts.Bars


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One value, large; `filled` is its share of a gauge's range, if it has one."""

    name: str
    text: str
    colour: str = ""
    filled: float | None = None


@dataclass(frozen=True, kw_only=True)
class Figures(Drawing):
    """Values, each large."""

    macro: ClassVar[str] = "figures"
    figures: Sequence[Figure]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table."""

    text: str
    colour: str = ""
    is_number: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows(Drawing):
    """A table."""

    macro: ClassVar[str] = "rows"
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of time in one state: where it begins and how long it is, of 1000, and what it says."""

    x: float
    width: float
    text: str
    colour: str = ""
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of stretches, and its newest state."""

    name: str
    stretches: Sequence[Stretch]
    last: str


@dataclass(frozen=True, kw_only=True)
class Strips(Drawing):
    """Rows of states, or of cells of a heatmap, over the same time."""

    macro: ClassVar[str] = "strips"
    strips: Sequence[Strip]
    legend: Sequence[tuple[str, str]]
    begin: str
    end: str
    is_dense: bool = False
