"""What a panel asks, and of whom: Prometheus, Loki or Tempo, in the shape that today's Grafana reads.

grafanalib's own target writes keys of Grafana 4 (`metric`, `step`, `intervalFactor`) and knows neither Loki nor Tempo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from midwatch.promql import Expr


class DataSourceRef(TypedDict):
    """A reference to a data source, as Grafana's JSON has it."""

    type: Literal["prometheus", "loki", "tempo"]
    uid: str


PROMETHEUS: DataSourceRef = {"type": "prometheus", "uid": "${datasource}"}
LOKI: DataSourceRef = {"type": "loki", "uid": "${logs}"}
TEMPO: DataSourceRef = {"type": "tempo", "uid": "${traces}"}
"""The data source a viewer has chosen in the dashboard's variable of that name."""


class PrometheusQuery(TypedDict):
    """A PromQL query among a panel's `targets`."""

    datasource: DataSourceRef
    editorMode: Literal["code"]
    expr: str
    format: str
    refId: str
    instant: bool
    range: bool
    legendFormat: NotRequired[str]
    exemplar: NotRequired[bool]


class LokiQuery(TypedDict):
    """A LogQL query among a panel's `targets`."""

    datasource: DataSourceRef
    editorMode: Literal["code"]
    expr: str
    queryType: Literal["range"]
    refId: str


class TempoQuery(TypedDict):
    """A TraceQL query among a panel's `targets`."""

    datasource: DataSourceRef
    query: str
    queryType: Literal["traceql"]
    tableType: Literal["traces"]
    limit: int
    refId: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """One PromQL query of a panel; `legend` names its series, and what it promises is drawn as a dashed line.

    `format` is `time_series`, `table` or `heatmap`. `exemplars` asks for the traces behind a histogram's samples.
    """

    expr: Expr
    legend: str = ""
    format: str = "time_series"
    instant: bool = False
    exemplars: bool = False
    promise: bool = False
    color: str | None = None


def prometheus(queries: Sequence[Query]) -> list[PrometheusQuery]:
    """PromQL queries with refIds A, B, C and so on."""
    return [_prometheus(query, ref) for ref, query in zip(refs(), queries, strict=False)]


def refs() -> list[str]:
    """The refIds of a panel's queries, in order."""
    return [chr(letter) for letter in range(ord("A"), ord("Z") + 1)]


def _prometheus(query: Query, ref: str) -> PrometheusQuery:
    target: PrometheusQuery = {
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": str(query.expr),
        "format": query.format,
        "refId": ref,
        "instant": query.instant,
        "range": not query.instant,
    }
    if query.legend:
        target["legendFormat"] = query.legend
    if query.exemplars:
        target["exemplar"] = True
    return target


def loki(expr: str) -> list[LokiQuery]:
    """Log lines by a LogQL query."""
    return [{"datasource": LOKI, "editorMode": "code", "expr": expr, "queryType": "range", "refId": "A"}]


def tempo(query: str) -> list[TempoQuery]:
    """The newest traces by a TraceQL query."""
    return [
        {
            "datasource": TEMPO,
            "query": query,
            "queryType": "traceql",
            "tableType": "traces",
            "limit": 50,
            "refId": "A",
        }
    ]
