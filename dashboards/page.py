"""What a page is: its name, what a viewer chooses on it, and its panels in rows and sections. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.annotation import Annotation
from dashboards.links import DashboardLink
from dashboards.panels import Panel
from dashboards.variables import Variable


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels side by side, of one height; `widths` are columns, all the same without them."""

    panels: Sequence[Panel]
    height: int = 8
    widths: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under a heading that folds; `repeat` makes one for each value of a variable."""

    title: str
    rows: Sequence[Row]
    collapsed: bool = False
    repeat: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One dashboard: what it answers, what can be chosen, what happened, what it shows, and where it leads.

    `name` is the last part of its uid, so it never changes; `order` is its place among the platform's pages. `links`
    come beside those to the platform's other pages.
    """

    name: str
    title: str
    order: int
    description: str
    variables: Sequence[Variable]
    annotations: Sequence[Annotation]
    sections: Sequence[Section]
    links: Sequence[DashboardLink] = ()
    since: str = "now-3h"
