"""How values look: colours, thresholds, states, columns and links. A colour never says something alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from dashboards import data_sources
from dashboards.data_sources import Query

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common form of colour vision.
GOOD = "#0072B2"
WATCH = "#E69F00"
BAD = "#D55E00"
UNDECIDED = "#999999"
BASELINE = "#56B4E9"
CANARY = "#CC79A7"


class Matcher(TypedDict):
    """The fields that an override is for: by name, or by the refId of their query."""

    id: Literal["byName", "byFrameRefID"]
    options: str


class Property(TypedDict):
    """One setting of an override; the type of its value is the setting's."""

    id: str
    value: Any


class Override(TypedDict):
    """Settings of some of a panel's fields."""

    matcher: Matcher
    properties: list[Property]


class Step(TypedDict):
    """From a value on, a colour."""

    color: str
    value: float | None


class Thresholds(TypedDict):
    """Grafana's thresholds."""

    mode: Literal["absolute"]
    steps: list[Step]


class PanelLink(TypedDict):
    """A link in a panel's header."""

    title: str
    url: str
    targetBlank: bool


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
        settings: dict[str, Any] = {"unit": self.unit}
        if self.decimals is not None:
            settings["decimals"] = self.decimals
        if self.steps:
            settings["thresholds"] = thresholds(self.steps)
        if self.states:
            settings["mappings"] = value_mappings(self.states)
        if self.steps or self.states:
            settings["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        return _override("byName", self.name, settings)


@dataclass(frozen=True, kw_only=True)
class DataLink:
    """A link on the cells of a column."""

    column: str
    title: str
    url: str

    def override(self) -> Override:
        """What Grafana does to the field of that name."""
        return _override("byName", self.column, {"links": [{"title": self.title, "url": self.url}]})


def thresholds(steps: Steps = ()) -> Thresholds:
    """Grafana's thresholds; without steps everything has the one colour."""
    return {
        "mode": "absolute",
        "steps": [{"color": color, "value": bound} for bound, color in steps or [(None, GOOD)]],
    }


def value_mappings(states: Sequence[State]) -> list[dict[str, Any]]:
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


def line_overrides(queries: Sequence[Query]) -> list[Override]:
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


def _override(matcher: Literal["byName", "byFrameRefID"], options: str, settings: Mapping[str, Any]) -> Override:
    properties: list[Property] = [{"id": name, "value": value} for name, value in settings.items()]
    return {"matcher": {"id": matcher, "options": options}, "properties": properties}


def panel_link(title: str, url: str) -> PanelLink:
    """A link in a panel's header."""
    return {"title": title, "url": url, "targetBlank": True}
