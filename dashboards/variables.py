"""What a viewer chooses at the top of a dashboard: data sources, model, versions, window."""

from __future__ import annotations

from typing import Any

from grafanalib import core

from dashboards.data_sources import PROMETHEUS
from midwatch import grafana, promql
from midwatch.metrics import Metric
from midwatch.promql import Expr
from midwatch.spec.model import Platform

Variable = Any
"""A grafanalib template."""

WINDOWS = ("5m", "15m", "1h", "6h", "1d", "7d")
DEFAULT_WINDOW = "1h"

ALL = "$__all"
HIDDEN = core.HIDE_VARIABLE
ON_TIME_RANGE = core.REFRESH_ON_TIME_RANGE_CHANGE


def sources(platform: Platform) -> list[Variable]:
    """The data sources: another Prometheus can be chosen, and the same file shows another region."""
    return [
        _source(platform, "datasource", "Prometheus", grafana.DataSource.PROMETHEUS),
        _source(platform, "logs", "Logs", grafana.DataSource.LOKI),
        _source(platform, "traces", "Traces", grafana.DataSource.TEMPO),
    ]


def _source(platform: Platform, name: str, label: str, source: grafana.DataSource) -> Variable:
    uid = grafana.data_source_uid(platform.platform, source)
    return core.Template(
        name=name,
        label=label,
        type="datasource",
        query=source.value,
        default=uid,
        hide=core.SHOW if name == "datasource" else HIDDEN,
        regex="",
    )


def regions(platform: Platform) -> list[Variable]:
    """Which region is shown at a view over several: one, what is of all together, or all at once; none elsewhere."""
    regions = platform.regions
    if regions is None or not regions.is_view:
        return []
    values = {"all regions": "|".join(sorted(regions.planes)), **{name: name for name in regions.sites}}
    options = [{"selected": text == regions.primary, "text": text, "value": value} for text, value in values.items()]
    query = ",".join(f"{text} : {value}" for text, value in values.items())
    return [core.Template(name=grafana.REGION_VARIABLE, label="Region", type="custom", query=query, options=options)]


def window() -> Variable:
    """How far back figures go that need many events."""
    options = [{"selected": value == DEFAULT_WINDOW, "text": value, "value": value} for value in WINDOWS]
    return core.Template(name="window", label="Window", type="custom", query=",".join(WINDOWS), options=options)


def one(name: str, label: str, metric: Metric, of: str, *, newest: bool = False, **where: str) -> Variable:
    """One value of a label; the first, or with `newest` the last one by name, until another is chosen."""
    return _values(name, label, promql.select(metric, _suffix(metric), **where), of, newest=newest)


def many(name: str, label: str, metric: Metric, of: str, **where: str | promql.Matcher) -> Variable:
    """Any values of a label; all of them until some are chosen."""
    return _values(name, label, promql.select(metric, _suffix(metric), **where), of, multi=True)


def _suffix(metric: Metric) -> str:
    return "_count" if metric.buckets else ""


def _values(name: str, label: str, series: Expr, of: str, *, multi: bool = False, newest: bool = False) -> Variable:
    sort = core.SORT_ALPHA_DESC if newest else core.SORT_ALPHA_ASC
    return core.Template(
        name=name,
        label=label,
        query={"qryType": 1, "query": f"label_values({series}, {of})", "refId": name},
        dataSource=PROMETHEUS,
        refresh=ON_TIME_RANGE,
        sort=sort,
        multi=multi,
        includeAll=multi,
        allValue=".*" if multi else None,
        default=ALL if multi else None,
    )
