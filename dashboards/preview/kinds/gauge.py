"""The newest value of each series within its range."""

from __future__ import annotations

from dataclasses import replace

from dashboards.preview import fields
from dashboards.preview.answers import Answer
from dashboards.preview.drawings import Figures
from dashboards.preview.kinds import stat


def draw(answer: Answer) -> Figures:
    """A figure for each series, with its share of the range; without a `max` the largest value is the end of it."""
    drawn = stat.draw(answer)
    largest = max((one.last for one in answer.series), default=0.0)
    figures = []
    for figure, one in zip(drawn.figures, answer.series, strict=False):
        settings = fields.look_of(answer.panel, ref=one.ref, name=one.name).settings
        low, high = settings.get("min") or 0.0, settings.get("max") or largest
        share = (one.last - low) / (high - low) if high > low else 0.0
        figures.append(replace(figure, filled=min(1.0, max(0.0, share))))
    return replace(drawn, figures=figures)
