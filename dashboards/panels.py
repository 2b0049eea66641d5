"""Panels as today's Grafana draws them, over grafanalib: each has a note, a unit and our colours.

This module adds what grafanalib lacks (status history, today's heatmap) and sets what it leaves as Grafana 4 had it.
`build` removes what grafanalib cannot be told not to write. No panel here is Angular.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from grafanalib import core

from dashboards import data_sources, style
from dashboards.data_sources import Query
from dashboards.style import Column, DataLink, State, Steps
from midwatch.spec.model import Platform

Panel = Any
"""A grafanalib panel: the library has no types."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a panel shows, what to do when it is bad, and the runbook (an alert's name) that says more."""

    shows: str
    act: str
    runbook: str


class Modern(core.Panel):  # type: ignore[misc]  # grafanalib has no types
    """A kind of panel that grafanalib does not know; what is special about it comes as `extraJson`."""

    def to_json_data(self) -> Any:
        """Document of the panel."""
        return self.panel_json({})


@dataclass(frozen=True, kw_only=True)
class PanelFactory:
    """Makes panels for a platform; every note has the address of its runbook."""

    platform: Platform

    def lines(
        self,
        title: str,
        note: Note,
        unit: str,
        *queries: Query,
        stack: bool = False,
        log: bool = False,
        minimum: float | None = 0,
        maximum: float | None = None,
    ) -> Panel:
        """Time series; promises among the queries are dashed lines."""
        return core.TimeSeries(
            **self._common(title, note, queries),
            unit=unit,
            valueMin=None if log else minimum,
            valueMax=maximum,
            fillOpacity=40 if stack else 8,
            stacking={"mode": "normal" if stack else "none", "group": "A"},
            scaleDistributionType="log" if log else "linear",
            scaleDistributionLog=10,
            showPoints="never",
            colorMode="palette-classic-by-name",
            tooltipMode="multi",
            tooltipSort="desc",
            legendCalcs=["lastNotNull", "max"],
            overrides=style.line_overrides(queries),
            extraJson={
                "fieldConfig": {"defaults": {"thresholds": style.thresholds()}},
                "options": {"legend": {"showLegend": True}},
            },
        )

    def stat(
        self, title: str, note: Note, unit: str, *queries: Query, steps: Steps = (), states: Sequence[State] = ()
    ) -> Panel:
        """The newest value, large; where a colour says how it is, the text does too."""
        return core.Stat(
            **self._common(title, note, queries),
            format=unit,
            reduceCalc="lastNotNull",
            noValue="no data",
            colorMode="background" if steps or states else "value",
            color={"mode": "thresholds"},
            mappings=style.value_mappings(states),
            extraJson={
                "fieldConfig": {"defaults": {"thresholds": style.thresholds(steps)}},
                "options": {"percentChangeColorMode": "standard", "showPercentChange": False, "wideLayout": True},
            },
        )

    def table(
        self, title: str, note: Note, columns: Sequence[Column], *, worst: str, links: Sequence[DataLink] = ()
    ) -> Panel:
        """A row for each set of labels, a column for each query; the worst by the column of that name stand first."""
        queries = [replace(column.query, format="table", instant=True) for column in columns]
        return core.Table(
            **self._common(title, note, queries),
            unit="short",
            filterable=True,
            transformations=_one_table([column.name for column in columns]),
            overrides=[*(column.override() for column in columns), *(link.override() for link in links)],
            extraJson={
                "fieldConfig": {"defaults": {"thresholds": style.thresholds(), "noValue": "-", "custom": _CELLS}},
                "options": _TABLE | {"sortBy": [{"displayName": worst, "desc": True}]},
            },
        )

    def bars(self, title: str, note: Note, unit: str, columns: Mapping[str, Query], *, by: str) -> Panel:
        """Bars side by side for each value of the label `by`, a colour for each query."""
        queries = [replace(query, format="table", instant=True) for query in columns.values()]
        return core.BarChart(
            **self._common(title, note, queries),
            transformations=[*_one_table(list(columns)), {"id": "sortBy", "options": {"sort": [{"field": by}]}}],
            colorMode="palette-classic-by-name",
            showValue="never",
            tooltipMode="multi",
            thresholdSteps=style.thresholds()["steps"],
            extraJson={
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}},
                "options": {"xField": by, "fullHighlight": False, "xTickLabelMaxLength": 0},
            },
        )

    def timeline(self, title: str, note: Note, states: Sequence[State], *queries: Query) -> Panel:
        """How a state changed: its text stands in the bar, its colour only repeats it.

        Colours by threshold would have Grafana replace the states' texts by the thresholds' (TimelineChart/utils.ts,
        mergeThresholdValues); those of the mappings hold with any other mode.
        """
        return core.StateTimeline(
            **self._common(title, note, queries),
            mappings=style.value_mappings(states),
            colorMode="fixed",
            extraJson={
                "fieldConfig": {
                    "defaults": {
                        "color": {"fixedColor": style.UNDECIDED},
                        "thresholds": style.thresholds(),
                        "unit": "none",
                    }
                },
                "options": {"legend": {"showLegend": True, "calcs": []}, "tooltip": {"sort": "none"}},
            },
        )

    def history(self, title: str, note: Note, states: Sequence[State], *queries: Query) -> Panel:
        """A grid of states: a row for each series, a column for each time."""
        return Modern(
            **self._common(title, note, queries) | {"maxDataPoints": 60},
            extraJson={
                "type": "status-history",
                "fieldConfig": {
                    "defaults": {
                        "color": {"mode": "thresholds"},
                        "custom": {"fillOpacity": 80, "lineWidth": 1},
                        "mappings": style.value_mappings(states),
                        "thresholds": style.thresholds(),
                        "unit": "none",
                    }
                },
                "options": {
                    "colWidth": 0.9,
                    "rowHeight": 0.9,
                    "showValue": "never",
                    "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
                    "tooltip": {"mode": "single", "sort": "none"},
                },
            },
        )

    def heatmap(self, title: str, note: Note, unit: str, query: Query, *, cells: str = "short") -> Panel:
        """Time across; upwards a histogram's buckets, or a row for each series; `cells` is the unit of the values.

        grafanalib's heatmap is the Angular one that Grafana 12 no longer has.
        """
        return Modern(
            **self._common(title, note, [query]) | {"maxDataPoints": 120},
            extraJson={
                "type": "heatmap",
                "fieldConfig": {
                    "defaults": {
                        "custom": {"scaleDistribution": {"type": "linear"}},
                        "thresholds": style.thresholds(),
                        "unit": cells,
                    }
                },
                "options": _HEATMAP
                | {
                    "cellValues": {"unit": cells},
                    "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
                },
            },
        )

    def logs(self, title: str, note: Note, expr: str) -> Panel:
        """Log lines from Loki, newest first."""
        return core.Logs(
            **self._common(title, note, ()) | {"dataSource": data_sources.LOKI, "targets": data_sources.loki(expr)},
            showTime=True,
            wrapLogMessages=True,
            enableLogDetails=True,
            extraJson={
                "fieldConfig": {"defaults": {"unit": "none", "thresholds": style.thresholds()}},
                "options": {"showLogContextToggle": True},
            },
        )

    def traces(self, title: str, note: Note, query: str) -> Panel:
        """Traces from Tempo; a row's id opens its trace."""
        return core.Table(
            **self._common(title, note, ()) | {"dataSource": data_sources.TEMPO, "targets": data_sources.tempo(query)},
            unit="short",
            extraJson={
                "fieldConfig": {"defaults": {"thresholds": style.thresholds(), "custom": _CELLS}},
                "options": _TABLE,
            },
        )

    def runbook(self, name: str) -> str:
        """Address of a runbook page."""
        return self.platform.runbooks.replace("{alert}", name)

    def _common(self, title: str, note: Note, queries: Sequence[Query]) -> dict[str, Any]:
        runbook = self.runbook(note.runbook)
        return {
            "title": title,
            "description": f"{note.shows}\n\n**When it is bad:** {note.act}\n\n[Runbook: {note.runbook}]({runbook})",
            "links": [style.panel_link(f"Runbook: {note.runbook}", runbook)],
            "dataSource": data_sources.PROMETHEUS,
            "targets": data_sources.prometheus(queries),
            "maxDataPoints": None,
        }


_TABLE: dict[str, Any] = {"cellHeight": "sm", "frameIndex": 0}
_CELLS: dict[str, Any] = {"cellOptions": {"type": "auto"}, "inspect": False}

_HEATMAP: dict[str, Any] = {
    "calculate": False,
    "cellGap": 1,
    "color": {
        "mode": "scheme",
        "scheme": "Cividis",  # grows lighter with the value: read without telling hues apart
        "scale": "exponential",
        "exponent": 0.5,
        "fill": style.GOOD,
        "steps": 64,
        "reverse": False,
    },
    "exemplars": {"color": style.BAD},
    "filterValues": {"le": 1e-9},
    "legend": {"show": True},
    "rowsFrame": {"layout": "auto"},
    "showValue": "never",
    "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
}


def _one_table(names: Sequence[str]) -> list[dict[str, Any]]:
    """The answers of several queries as one table: rows with the same labels joined, value columns named."""
    fields = [f"Value #{ref}" for ref in data_sources.refs()] if len(names) > 1 else ["Value"]
    named = dict(zip(fields, names, strict=False))
    organize = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": named}
    merge = [{"id": "merge", "options": {}}] if len(names) > 1 else []
    return [*merge, {"id": "organize", "options": organize}]
