"""Panels: their queries, and the types that are in use."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dashboards.schema.fields import FieldConfig
from dashboards.schema.options import (
    BarOptions,
    HeatmapOptions,
    HistoryOptions,
    LineOptions,
    LogsOptions,
    StatOptions,
    TableOptions,
    TimelineOptions,
)
from dashboards.schema.parts import DataSource, GridPos, Part, RefId


class Target(Part):
    """One query: PromQL and LogQL have `expr`, TraceQL has `query`."""

    datasource: DataSource
    ref_id: RefId
    editor_mode: Literal["code"] | None = None
    expr: str | None = None
    query: str | None = None
    query_type: Literal["range", "traceql"] | None = None
    format: Literal["time_series", "table", "heatmap"] | None = None
    legend_format: str | None = None
    instant: bool | None = None
    range: bool | None = None
    exemplar: bool | None = None
    table_type: Literal["traces"] | None = None
    limit: int | None = None


class Transformation(Part):
    """What is done to the answers before they are shown."""

    id: Literal["merge", "organize", "sortBy"]
    options: dict[str, Any]


class PanelLink(Part):
    """A link in a panel's header."""

    title: str
    url: str
    target_blank: bool


class _Panel(Part):
    """What every panel has; one without a title or a note is refused."""

    id: Annotated[int, Field(gt=0, lt=2**31)]
    title: Annotated[str, Field(min_length=1)]
    description: Annotated[str, Field(min_length=1)]
    datasource: DataSource
    field_config: FieldConfig
    grid_pos: GridPos
    links: Annotated[list[PanelLink], Field(min_length=1)]
    max_data_points: int | None = None
    targets: Annotated[list[Target], Field(min_length=1)]
    transformations: list[Transformation]
    transparent: bool


class Lines(_Panel):
    """A time series."""

    type: Literal["timeseries"]
    options: LineOptions


class Stat(_Panel):
    """One value, large."""

    type: Literal["stat"]
    options: StatOptions


class Table(_Panel):
    """A table."""

    type: Literal["table"]
    options: TableOptions


class Bars(_Panel):
    """A bar chart."""

    type: Literal["barchart"]
    options: BarOptions


class Timeline(_Panel):
    """A state timeline."""

    type: Literal["state-timeline"]
    options: TimelineOptions


class History(_Panel):
    """A status history."""

    type: Literal["status-history"]
    options: HistoryOptions


class Heatmap(_Panel):
    """A heatmap."""

    type: Literal["heatmap"]
    options: HeatmapOptions


class Logs(_Panel):
    """Log lines."""

    type: Literal["logs"]
    options: LogsOptions


Shown = Annotated[Lines | Stat | Table | Bars | Timeline | History | Heatmap | Logs, Field(discriminator="type")]
"""The kinds of panel in use: none is Angular (`graph`, `singlestat`, `table-old`), which Grafana 12 cannot show."""


class Row(Part):
    """A heading, with its panels inside when it is folded."""

    type: Literal["row"]
    id: Annotated[int, Field(gt=0, lt=2**31)]
    title: str
    collapsed: bool
    grid_pos: GridPos
    panels: list[Shown]
    repeat: str | None = None
