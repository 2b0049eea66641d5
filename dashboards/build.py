"""A page as the JSON document that Grafana loads: variables, links between pages, annotations, panels in place.

grafanalib writes keys of Grafana 4 that today's does not know; they are removed here, in one place.
"""

from __future__ import annotations

import json
from typing import Any

from grafanalib import core
from grafanalib._gen import DashboardEncoder

from dashboards import annotation, layout, variables
from dashboards.data_sources import PROMETHEUS
from dashboards.links import DashboardLink
from dashboards.page import Page
from midwatch import grafana, promql_syntax
from midwatch.spec.model import Platform

SCHEMA_VERSION = 41
"""Of the dashboard model that Grafana 11.6 and 12 write; older ones read it, newer ones bring it up to date."""

Document = dict[str, Any]

_LEGACY = {
    "dashboard": {"__inputs", "gnetId", "hideControls", "rows", "sharedCrosshair", "style", "id", "version"},
    "panel": {
        "editable",
        "error",
        "height",
        "minSpan",
        "span",
        "hideTimeOverride",
        "color",
        "columns",
        "fontSize",
        "mappings",
    },
    "variable": {"useTags", "tagsQuery", "tagValuesQuery", "auto", "auto_min", "auto_count"},
}
"""What grafanalib writes beyond today's model (kinds/dashboard), or what only a running Grafana may say."""


def build_document(platform: Platform, page: Page) -> Document:
    """The document of a page. The same platform gives the same document."""
    tag = f"midwatch:{platform.platform}"
    dashboard = core.Dashboard(
        title=f"{page.title} · {platform.platform}",
        uid=grafana.dashboard_uid(platform.platform, page.name),
        description=page.description,
        tags=["midwatch", tag],
        schemaVersion=SCHEMA_VERSION,
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        editable=False,
        refresh="30s",
        timezone="browser",
        time=core.Time(page.since, "now"),
        timePicker=core.TimePicker(["5s", "10s", "30s", "1m", "5m", "15m"], []),
        links=[*_links(platform, tag), *(_link(link) for link in page.links)],
        templating=core.Templating([*variables.sources(platform), *variables.regions(platform), *page.variables]),
        annotations=core.Annotations(annotation.annotation_queries(page.annotations)),
        panels=layout.place_sections(page.sections),
    )
    document: Document = json.loads(json.dumps(dashboard.to_json_data(), cls=DashboardEncoder))
    tidy = _tidy(document)
    return _of_region(tidy) if platform.is_view else tidy


def _of_region(part: Any) -> Any:
    """A part of a document whose questions to Prometheus are about the chosen region."""
    if isinstance(part, list):
        return [_of_region(one) for one in part]
    if not isinstance(part, dict):
        return part
    asked = {name: _narrowed(name, value) for name, value in part.items() if name in _ASKED and isinstance(value, str)}
    is_of_prometheus = part.get("datasource", PROMETHEUS).get("type") == "prometheus" if asked else False
    return {name: _of_region(value) for name, value in part.items()} | (asked if is_of_prometheus else {})


_ASKED = ("expr", "query")
"""Keys of what is asked; `query` holds an expression in `label_values(EXPRESSION, LABEL)` alone."""
_CHOSEN = f'region=~"${grafana.REGION_VARIABLE}"'


def _narrowed(key: str, asked: str) -> str:
    if key == "expr":
        return promql_syntax.with_matcher(asked, _CHOSEN)
    series, comma, label = asked.removeprefix("label_values(").rpartition(", ")
    if not asked.startswith("label_values(") or not comma:
        return asked
    return f"label_values({promql_syntax.with_matcher(series, _CHOSEN)}, {label}"


def _links(platform: Platform, tag: str) -> list[Any]:
    """To the platform's other pages, with time and variables kept; to its alerts."""
    alerts = core.DashboardLink(
        type="link",
        title="Alerts",
        icon="bolt",
        uri=f"{platform.alertmanager.url}/#/alerts",
        targetBlank=True,
        keepTime=False,
        tooltip="What fires now, in Alertmanager",
    )
    return [core.DashboardLink(title="Midwatch", tags=[tag], includeVars=True, keepTime=True), alerts]


def _link(link: DashboardLink) -> Any:
    return core.DashboardLink(type="link", title=link.title, icon="doc", uri=link.url, targetBlank=True, keepTime=False)


def _tidy(document: Document) -> Document:
    tidy = _without(document, _LEGACY["dashboard"])
    tidy["timepicker"] = {"refresh_intervals": document["timepicker"]["refresh_intervals"]}
    tidy["panels"] = [_panel(panel) for panel in document["panels"]]
    tidy["templating"] = {"list": [_variable(variable) for variable in document["templating"]["list"]]}
    return tidy


def _panel(panel: Document) -> Document:
    if panel["type"] == "row":
        kept = {name: panel[name] for name in ("type", "title", "id", "gridPos", "collapsed", "repeat")}
        kept["panels"] = [_panel(inner) for inner in panel["panels"]]
        return {name: value for name, value in kept.items() if value is not None}
    tidy = _without(panel, _LEGACY["panel"])
    tidy["fieldConfig"].setdefault("overrides", [])
    defaults = tidy["fieldConfig"]["defaults"]
    tidy["fieldConfig"]["defaults"] = {name: value for name, value in defaults.items() if value not in (None, "")}
    custom = defaults.get("custom", {})
    if panel["type"] == "table":
        custom.pop("displayMode", None)
    if defaults.get("color", {}).get("mode") != "fixed":
        defaults.get("color", {}).pop("fixedColor", None)
    tidy["fieldConfig"]["defaults"]["custom"] = {name: value for name, value in custom.items() if value is not None}
    return tidy


def _variable(variable: Document) -> Document:
    tidy = _without(variable, _LEGACY["variable"])
    value = variable["current"].get("value")
    text = "All" if value == variables.ALL else value
    tidy["current"] = {} if value is None else {"text": text, "value": value}
    return tidy


def _without(document: Document, names: set[str]) -> Document:
    return {name: value for name, value in document.items() if name not in names and value is not None}
