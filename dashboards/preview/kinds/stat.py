"""The newest value of each series, large."""

from __future__ import annotations

from dashboards.preview import fields
from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Figure, Figures

MOST_FIGURES = 30


def draw(answer: Answer) -> Figures:
    """A figure for each series; one alone needs no name."""
    found = []
    for one in answer.series[:MOST_FIGURES]:
        look = fields.look_of(answer.panel, ref=one.ref, name=one.name)
        name = one.name if len(answer.series) > 1 else ""
        found.append(Figure(name=name, text=look.text(one.last), colour=look.colour(one.last)))
    more = len(answer.series) - MOST_FIGURES
    return Figures(figures=found, note=f"{more} more" if more > 0 else "")
