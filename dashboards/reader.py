"""Reads a dashboard's document as Grafana does: its panels' queries, its variables and its annotations.

Checks start here: they see the document itself, and know nothing of the pages that it was built from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import promql_parser

from midwatch.errors import MidwatchError

Document = Mapping[str, Any]

BUILT_IN = frozenset({"__rate_interval", "__interval", "__range", "__from", "__to", "__url_time_range", "__all"})
"""Names that Grafana fills in by itself (documentation, "Global variables")."""

_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)|\$\{(\w+)(?::\w+)?\}")
"""What Grafana fills in; `$1` is not among them: PromQL's label_replace has it."""
_DESCENDING = 2
"""Grafana's number for values sorted by name, the last one first."""
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<series>.+), *)?(?P<label>\w+)\)", re.S)


class UnknownVariableError(MidwatchError):
    """A query names a variable that its dashboard does not have."""


@dataclass(frozen=True, kw_only=True)
class PanelQuery:
    """One PromQL query of a panel; a `reference` only draws a line beside what the panel is about."""

    ref: str
    expr: str
    instant: bool
    reference: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel, the section it stands in, and the variable that section is repeated for; `document` is Grafana's."""

    id: int
    title: str
    type: str
    section: str
    repeat: str | None
    datasource: str
    queries: tuple[PanelQuery, ...]
    document: Document = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A variable that asks for the values of `label`, among all series or those of `series`."""

    name: str
    series: str | None
    label: str
    multi: bool
    all_value: str | None
    newest: bool


def panels(document: Document) -> Iterator[Panel]:
    """Every panel that shows something, those in folded sections too."""
    section, repeat = "", None
    for panel in document["panels"]:
        if panel["type"] != "row":
            yield _panel(panel, section, repeat)
            continue
        section, repeat = panel["title"], panel.get("repeat")
        for inner in panel.get("panels", ()):
            yield _panel(inner, section, repeat)


def _panel(panel: Document, section: str, repeat: str | None) -> Panel:
    references = set(_references(panel))
    return Panel(
        id=panel["id"],
        title=panel["title"],
        type=panel["type"],
        section=section,
        repeat=panel.get("repeat") or repeat,
        datasource=panel["datasource"]["type"],
        queries=tuple(
            PanelQuery(
                ref=target["refId"],
                expr=target["expr"],
                instant=bool(target.get("instant")),
                reference=target["refId"] in references,
            )
            for target in panel["targets"]
            if target["datasource"]["type"] == "prometheus"
        ),
        document=panel,
    )


def _references(panel: Document) -> Iterator[str]:
    """The refIds of queries that are drawn dashed."""
    for override in panel["fieldConfig"]["overrides"]:
        dashed = any(one["id"] == "custom.lineStyle" for one in override["properties"])
        if override["matcher"]["id"] == "byFrameRefID" and dashed:
            yield override["matcher"]["options"]


def variables(document: Document) -> list[Variable]:
    """The variables whose values Prometheus gives, in the order in which Grafana asks for them."""
    return [_variable(document["uid"], one) for one in document["templating"]["list"] if one["type"] == "query"]


def _variable(uid: str, variable: Document) -> Variable:
    query = variable["query"]["query"]
    match = _LABEL_VALUES.fullmatch(query)
    if match is None:
        raise MidwatchError(f"{uid}: variable {variable['name']}: {query} is not understood")
    return Variable(
        name=variable["name"],
        series=match["series"],
        label=match["label"],
        multi=variable["multi"],
        all_value=variable.get("allValue"),
        newest=variable["sort"] == _DESCENDING,
    )


def fixed_values(document: Document) -> dict[str, str]:
    """Values of the variables that need not be asked for."""
    return {
        one["name"]: str(one["current"].get("value", ""))
        for one in document["templating"]["list"]
        if one["type"] != "query"
    }


def annotation_queries(document: Document) -> dict[str, str]:
    """The expressions of annotations, by name."""
    return {one["name"]: one["target"]["expr"] for one in document["annotations"]["list"]}


def filled(expr: str, values: Mapping[str, str]) -> str:
    """A query with variables replaced; UnknownVariableError names one that has no value.

    >>> filled('up{job=~"$job"}[${__rate_interval}]', {"job": "a|b", "__rate_interval": "1m"})
    'up{job=~"a|b"}[1m]'
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise UnknownVariableError(f"there is no variable ${name}")
        return values[name]

    return _VARIABLE.sub(value, expr)


def unknown_variables(document: Document) -> dict[str, str]:
    """Variables that a dashboard names and does not have, each with a text that names it: a query, a link, a legend."""
    known = BUILT_IN | {one["name"] for one in document["templating"]["list"]}
    return {name: text for text in _texts(document) for name in sorted(named(text) - known)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def named(expr: str) -> set[str]:
    """Names of the variables in a text."""
    return {match[1] or match[2] for match in _VARIABLE.finditer(expr)}


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """The selectors of series in an expression without variables; ValueError when it does not parse."""
    selectors: list[promql_parser.VectorSelector] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return selectors
