"""Where panels stand: sections of rows on Grafana's grid of 24 columns, and ids that stay when panels are added."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import attr
from grafanalib import core

from dashboards.page import Row, Section

COLUMNS = 24


def place_sections(sections: Sequence[Section]) -> list[Any]:
    """grafanalib's panels, each with its place and id; those of a folded section are inside its heading."""
    panels: list[Any] = []
    top = 0
    for section in sections:
        inside, bottom = _section(section, top + 1)
        heading = core.RowPanel(
            title=section.title,
            id=_id(section.title, ""),
            gridPos=core.GridPos(h=1, w=COLUMNS, x=0, y=top),
            collapsed=section.collapsed,
            panels=inside if section.collapsed else [],
            repeat=core.Repeat(variable=section.repeat),
        )
        panels += [heading] if section.collapsed else [heading, *inside]
        top = top + 1 if section.collapsed else bottom
    return panels


def _section(section: Section, top: int) -> tuple[list[Any], int]:
    panels: list[Any] = []
    for row in section.rows:
        panels += _row(section.title, row, top)
        top += row.height
    return panels, top


def _row(section: str, row: Row, top: int) -> Iterator[Any]:
    widths = row.widths or [COLUMNS // len(row.panels)] * len(row.panels)
    left = 0
    for panel, width in zip(row.panels, widths, strict=True):
        place = core.GridPos(h=row.height, w=width, x=left, y=top)
        yield attr.evolve(panel, gridPos=place, id=_id(section, panel.title))
        left += width


def _id(section: str, title: str) -> int:
    """From the titles, so that a link to a panel holds when others come and go; 31 bits, as Grafana's ids."""
    return zlib.crc32(f"{section}\n{title}".encode()) & 0x7FFFFFFF or 1
