"""Addresses inside Grafana that carry what the viewer has chosen: from dashboards to each other, to logs and to traces.

Grafana fills in `${…}` when a link is followed; everything else is escaped here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

from midwatch import grafana
from midwatch.grafana import Page
from midwatch.spec.model import Platform


@dataclass(frozen=True, kw_only=True)
class DashboardLink:
    """A link beside a dashboard's variables."""

    title: str
    url: str


_KEPT = "${}:,"
"""Left as they are: Grafana looks for its variables in the address before the browser decodes it."""


def explore(kind: str, variable: str, query: dict[str, str]) -> str:
    """Explore on the data source of a kind that a variable names, with a query, over the dashboard's time range."""
    source = {"type": kind, "uid": f"${{{variable}}}"}
    pane = {
        "datasource": source["uid"],
        "queries": [{"refId": "A", "datasource": source, **query}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    return f"/explore?schemaVersion=1&panes={quote(json.dumps({'a': pane}, separators=(',', ':')), safe=_KEPT)}"


def logs(platform: Platform) -> str:
    """The model's log lines in Explore."""
    return explore("loki", "logs", {"expr": platform.grafana.logs})


def traces(platform: Platform) -> str:
    """The model's traces in Explore."""
    return explore("tempo", "traces", {"queryType": "traceql", "query": platform.grafana.traces})


def model_of_row(platform: Platform) -> str:
    """The model's dashboard, for the model and version that a table's row names."""
    uid = grafana.dashboard_uid(platform.platform, Page.MODEL)
    return (
        f"/d/{uid}?var-model=${{__data.fields.model}}&var-version=${{__data.fields.version}}"
        "&var-datasource=${datasource}&var-window=${window}&${__url_time_range}"
    )


def runbook_of_row(platform: Platform) -> str:
    """The runbook of the alert that a table's row names."""
    return platform.runbooks.replace("{alert}", "${__data.fields.alertname}")
