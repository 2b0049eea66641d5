"""How values look: colours, thresholds, states, columns and links. A colour never says something alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import data_sources
from dashboards.data_sources import Query

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common form of colour vision.
GOOD = "#0072B2"
WATCH = "#E69F00"
BAD = "#D55E00"
UNDECIDED = "#999999"
BASELINE = "#56B4E9"
CANARY = "#CC79A7"

Override = dict[str, Any]
Steps = Sequence[tuple[float | None, str]]
"""Lower bounds, ascending, each with its colour; the first bound is None."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A value, or the values from `low` to `high`, with text and colour."""

    text: str
    color: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A value column of a table: its query, name and unit, and the states or steps that colour its cells."""

    name: str
    query: Query
    unit: str = "short"
    decimals: int | None = None
    steps: Steps = ()
    states: Sequence[State] = ()

    def override(self) -> Override:
        """What Grafana does to the field of that name."""
        wanted: dict[str, Any] = {"unit": self.unit}
        if self.decimals is not None:
            wanted["decimals"] = self.decimals
        if self.steps:
            wanted["thresholds"] = thresholds(self.steps)
        if self.states:
            wanted["mappings"] = mapped(self.states)
        if self.steps or self.states:
            wanted["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        return _override("byName", self.name, wanted)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link on the cells of a column."""

    column: str
    title: str
    url: str

    def override(self) -> Override:
        """What Grafana does to the field of that name."""
        return _override("byName", self.column, {"links": [{"title": self.title, "url": self.url}]})


def thresholds(steps: Steps = ()) -> dict[str, Any]:
    """Grafana's thresholds; without steps everything has the one colour."""
    return {
        "mode": "absolute",
        "steps": [{"color": color, "value": bound} for bound, color in steps or [(None, GOOD)]],
    }


def mapped(states: Sequence[State]) -> list[dict[str, Any]]:
    """Grafana's value mappings."""
    results = [{"text": state.text, "color": state.color, "index": index} for index, state in enumerate(states)]
    pairs = list(zip(states, results, strict=True))
    values = {f"{state.value:g}": result for state, result in pairs if state.value is not None}
    ranges = [
        {"type": "range", "options": {"from": state.low, "to": state.high, "result": result}}
        for state, result in pairs
        if state.value is None
    ]
    return [*([{"type": "value", "options": values}] if values else []), *ranges]


def drawn(queries: Sequence[Query]) -> list[Override]:
    """How the series of a promise, and of a query with a colour of its own, are drawn."""
    return [
        _override("byFrameRefID", ref, _line(query))
        for ref, query in zip(data_sources.refs(), queries, strict=False)
        if query.promise or query.color
    ]


def _line(query: Query) -> dict[str, Any]:
    color = {"color": {"mode": "fixed", "fixedColor": query.color or BAD}}
    if not query.promise:
        return color
    dashes = {"fill": "dash", "dash": [10, 10]}
    return color | {"custom.lineStyle": dashes, "custom.fillOpacity": 0, "custom.lineWidth": 2}


def _override(matcher: str, options: str, wanted: dict[str, Any]) -> Override:
    properties = [{"id": name, "value": value} for name, value in wanted.items()]
    return {"matcher": {"id": matcher, "options": options}, "properties": properties}


def panel_link(title: str, url: str) -> dict[str, Any]:
    """A link in a panel's header."""
    return {"title": title, "url": url, "targetBlank": True}
