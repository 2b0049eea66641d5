"""How states changed: a row for each series, a stretch for each state that lasted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from dashboards.preview import fields
from dashboards.preview.answers import Answer, Series
from dashboards.preview.drawings import Stretch, Strip, Strips
from midwatch.html import numbers

MOST_ROWS = 40
WIDTH = 1000.0


def draw(answer: Answer) -> Strips:
    """Stretches of equal states, a gap where nothing is known."""
    return strips(answer, is_merged=True)


def strips(answer: Answer, *, is_merged: bool) -> Strips:
    """A row for each series: equal states in a row as one stretch, or a cell for each time."""
    look = fields.look_of(answer.panel)
    more = len(answer.series) - MOST_ROWS
    span = answer.times[-1] - answer.times[0]
    return Strips(
        strips=[
            Strip(name=one.name, stretches=list(_stretches(one, look, is_merged=is_merged)), last=look.text(one.last))
            for one in answer.series[:MOST_ROWS]
        ],
        legend=look.states(),
        begin=numbers.clock(answer.times[0], span),
        end=numbers.clock(answer.times[-1], span),
        note=f"{more} rows more in Grafana" if more > 0 else "",
    )


def _stretches(one: Series, look: fields.Look, *, is_merged: bool) -> Iterator[Stretch]:
    width = WIDTH / len(one.values)
    for value, places in _runs(one.values, is_merged=is_merged):
        if not math.isnan(value):
            text, colour = look.text(value), look.colour(value)
            yield Stretch(x=places[0] * width, width=len(places) * width, text=text, colour=colour)


def _runs(values: Sequence[float], *, is_merged: bool) -> Iterator[tuple[float, list[int]]]:
    """Values, each with the places where it stands in a row."""
    if not is_merged:
        yield from ((value, [place]) for place, value in enumerate(values))
        return
    for _, run in groupby(enumerate(values), key=lambda pair: "gap" if math.isnan(pair[1]) else repr(pair[1])):
        pairs = list(run)
        yield pairs[0][1], [place for place, _ in pairs]
