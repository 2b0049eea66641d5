"""What Grafana's dashboard JSON may hold, as strict models: an unknown key or a value of the wrong kind is refused.

Written from Grafana's published model: `kinds/dashboard/dashboard_kind.cue` and the panels' `panelcfg.cue` of
grafana/grafana (11.6 to 13.2), narrowed to what is made here. The field names are Grafana's in snake case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from midwatch.grafana import MAX_UID


class Part(BaseModel):
    """Refuses unknown keys and conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


Color = Annotated[str, Field(pattern=r"^(#[0-9A-Fa-f]{6}|transparent)$")]
Mode = Literal["single", "multi", "none"]
Sort = Literal["asc", "desc", "none"]
RefId = Annotated[str, Field(pattern=r"^([A-Z]|Anno)$")]


class DataSource(Part):
    """A reference to a data source."""

    type: Literal["prometheus", "loki", "tempo"]
    uid: str


class GridPos(Part):
    """A place on the grid of 24 columns."""

    h: Annotated[int, Field(gt=0)]
    w: Annotated[int, Field(gt=0, le=24)]
    x: Annotated[int, Field(ge=0, lt=24)]
    y: Annotated[int, Field(ge=0)]


# Fields ------------------------------------------------------------------------------------------------------------


class FieldColor(Part):
    """How a field is coloured."""

    mode: Literal["thresholds", "palette-classic-by-name", "fixed"]
    fixed_color: Color | None = None


class Step(Part):
    """From a value on, a colour; the first has no value."""

    value: float | None
    color: Color


class Thresholds(Part):
    """Steps, ascending, the first of them from minus infinity."""

    mode: Literal["absolute", "percentage"]
    steps: Annotated[list[Step], Field(min_length=1)]

    @model_validator(mode="after")
    def _ascending(self) -> Thresholds:
        first, *others = [step.value for step in self.steps]
        values = [value for value in others if value is not None]
        if first is not None or len(values) != len(others) or values != sorted(values):
            raise ValueError("the first step has no value, the others ascend")
        return self


class Result(Part):
    """What a value is shown as."""

    text: str
    color: Color
    index: int


class ValueMap(Part):
    """Texts of single values."""

    type: Literal["value"]
    options: dict[str, Result]


class Between(Part):
    """The text of a range; no bound means none."""

    from_: float | None = Field(alias="from")
    to: float | None
    result: Result


class RangeMap(Part):
    """Texts of ranges."""

    type: Literal["range"]
    options: Between


class Custom(Part):
    """What kinds of panel add to a field: `GraphFieldConfig` and those of tables, timelines, histories and heatmaps."""

    align: Literal["auto", "left", "right", "center"] | None = None
    cell_options: dict[Literal["type", "mode"], str] | None = None
    inspect: bool | None = None
    axis_centered_zero: bool | None = None
    axis_color_mode: Literal["text", "series"] | None = None
    axis_label: str | None = None
    axis_placement: Literal["auto", "left", "right", "top", "bottom", "hidden"] | None = None
    bar_alignment: Literal[-1, 0, 1] | None = None
    draw_style: Literal["line", "bars", "points"] | None = None
    fill_opacity: Annotated[int, Field(ge=0, le=100)] | None = None
    filterable: bool | None = None
    gradient_mode: Literal["none", "opacity", "hue", "scheme"] | None = None
    hide_from: dict[Literal["tooltip", "viz", "legend"], bool] | None = None
    line_interpolation: Literal["linear", "smooth", "stepBefore", "stepAfter"] | None = None
    line_width: int | None = None
    point_size: int | None = None
    scale_distribution: dict[Literal["type", "log"], str | int] | None = None
    show_points: Literal["auto", "never", "always"] | None = None
    span_nulls: bool | float | None = None
    stacking: dict[Literal["mode", "group"], str] | None = None
    thresholds_style: dict[Literal["mode"], str] | None = None


class Defaults(Part):
    """Settings of every field of a panel; a panel without a unit is refused."""

    unit: Annotated[str, Field(min_length=1)]
    color: FieldColor | None = None
    custom: Custom
    decimals: int | None = None
    mappings: list[Annotated[ValueMap | RangeMap, Field(discriminator="type")]] = []
    max: float | None = None
    min: float | None = None
    no_value: str | None = None
    thresholds: Thresholds | None = None


class Matcher(Part):
    """Which fields an override is for."""

    id: Literal["byName", "byFrameRefID"]
    options: str


class Property(Part):
    """One setting of an override."""

    id: Literal[
        "unit",
        "decimals",
        "thresholds",
        "mappings",
        "links",
        "color",
        "custom.cellOptions",
        "custom.lineStyle",
        "custom.fillOpacity",
        "custom.lineWidth",
    ]
    value: Any


class Override(Part):
    """Settings of some fields."""

    matcher: Matcher
    properties: Annotated[list[Property], Field(min_length=1)]


class FieldConfig(Part):
    """Settings of a panel's fields."""

    defaults: Defaults
    overrides: list[Override]


# Options of panels -------------------------------------------------------------------------------------------------


class Legend(Part):
    """The legend of a panel; Grafana hides one that does not say to show it."""

    show_legend: Literal[True]
    display_mode: Literal["list", "table"]
    placement: Literal["bottom", "right"]
    calcs: list[str] = []


class Tooltip(Part):
    """What a pointer over a panel shows."""

    mode: Mode
    sort: Sort | None = None
    y_histogram: bool | None = None
    show_color_scale: bool | None = None


class LineOptions(Part):
    """Of a time series."""

    legend: Legend
    tooltip: Tooltip


class Reduce(Part):
    """How a series becomes one value."""

    calcs: list[str]
    fields: str
    values: bool


class StatOptions(Part):
    """Of a stat."""

    color_mode: Literal["value", "background", "none"]
    graph_mode: Literal["area", "none"]
    justify_mode: Literal["auto", "center"]
    orientation: Literal["auto", "horizontal", "vertical"]
    percent_change_color_mode: Literal["standard", "inverted", "same_as_value"]
    reduce_options: Reduce
    show_percent_change: bool
    text_mode: Literal["auto", "value", "value_and_name", "name", "none"]
    wide_layout: bool


class SortBy(Part):
    """A column that a table is sorted by."""

    display_name: str
    desc: bool


class TableOptions(Part):
    """Of a table."""

    cell_height: Literal["sm", "md", "lg"]
    frame_index: int
    show_header: bool
    sort_by: list[SortBy] = []


class BarOptions(Part):
    """Of a bar chart."""

    bar_radius: float
    bar_width: float
    full_highlight: bool
    group_width: float
    legend: Legend
    orientation: Literal["auto", "horizontal", "vertical"]
    show_value: Literal["auto", "never", "always"]
    stacking: Literal["none", "normal", "percent"]
    tooltip: Tooltip
    x_field: str
    x_tick_label_max_length: int
    x_tick_label_rotation: int
    x_tick_label_spacing: int


class TimelineOptions(Part):
    """Of a state timeline."""

    align_value: Literal["center", "left", "right"]
    legend: Legend
    merge_values: bool
    row_height: Annotated[float, Field(gt=0, le=1)]
    show_value: Literal["auto", "never", "always"]
    tooltip: Tooltip


class HistoryOptions(Part):
    """Of a status history."""

    col_width: Annotated[float, Field(gt=0, le=1)]
    legend: Legend
    row_height: Annotated[float, Field(gt=0, le=1)]
    show_value: Literal["auto", "never", "always"]
    tooltip: Tooltip


class HeatmapColor(Part):
    """Colours of a heatmap's cells."""

    mode: Literal["scheme", "opacity"]
    scheme: str
    scale: Literal["exponential", "linear"]
    exponent: float
    fill: Color
    steps: Annotated[int, Field(ge=2, le=128)]
    reverse: bool


class HeatmapOptions(Part):
    """Of a heatmap."""

    calculate: bool
    cell_gap: int
    cell_values: dict[Literal["unit"], str]
    color: HeatmapColor
    exemplars: dict[Literal["color"], Color]
    filter_values: dict[Literal["le", "ge"], float]
    legend: dict[Literal["show"], bool]
    rows_frame: dict[Literal["layout"], str]
    show_value: Literal["auto", "never", "always"]
    tooltip: Tooltip
    y_axis: dict[Literal["axisPlacement", "reverse", "unit"], str | bool]


class LogsOptions(Part):
    """Of log lines."""

    dedup_strategy: Literal["none", "exact", "numbers", "signature"]
    enable_log_details: bool
    prettify_log_message: bool
    show_common_labels: bool
    show_labels: bool
    show_log_context_toggle: bool
    show_time: bool
    sort_order: Literal["Descending", "Ascending"]
    wrap_log_message: bool


# Panels ------------------------------------------------------------------------------------------------------------


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


# The dashboard -----------------------------------------------------------------------------------------------------


class VariableQuery(Part):
    """A query for the values of a variable."""

    qry_type: Literal[1]
    query: Annotated[str, Field(pattern=r"^label_values\(")]
    ref_id: str


class Option(Part):
    """A value of a variable and its text."""

    selected: bool | None = None
    text: str
    value: str


class Variable(Part):
    """What can be chosen."""

    name: Annotated[str, Field(pattern=r"^\w+$")]
    label: str
    type: Literal["query", "custom", "datasource"]
    query: str | VariableQuery
    current: Option | dict[str, Any]
    options: list[Option]
    hide: Literal[0, 1, 2]
    include_all: bool
    all_value: str | None = None
    multi: bool
    refresh: Literal[0, 1, 2]
    regex: str | None = None
    sort: Annotated[int, Field(ge=0, le=8)]
    datasource: DataSource | None = None


class AnnotationTarget(Part):
    """The query of an annotation."""

    expr: str
    interval: str
    ref_id: RefId


class Annotation(Part):
    """Events from Prometheus; the fields after `target` are those of its annotation support in Grafana."""

    name: str
    datasource: DataSource
    enable: bool
    icon_color: Color
    target: AnnotationTarget
    title_format: str
    text_format: str
    tag_keys: str
    use_value_for_time: bool = False


class DashboardLink(Part):
    """A link beside the variables."""

    as_dropdown: bool
    icon: str
    include_vars: bool
    keep_time: bool
    tags: list[str]
    target_blank: bool
    title: str
    tooltip: str
    type: Literal["link", "dashboards"]
    url: str


class Annotations(Part):
    """The list of annotations."""

    list: list[Annotation]


class Templating(Part):
    """The list of variables."""

    list: list[Variable]


class Dashboard(Part):
    """The whole document; `id` and `version` are Grafana's own and not for a file."""

    uid: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]+$", min_length=8, max_length=MAX_UID)]
    title: Annotated[str, Field(min_length=1)]
    description: str
    tags: list[str]
    timezone: str
    editable: bool
    graph_tooltip: Literal[0, 1, 2]
    refresh: str
    schema_version: Annotated[int, Field(ge=36)]
    time: dict[Literal["from", "to"], str]
    timepicker: dict[Literal["refresh_intervals"], list[str]]
    links: list[DashboardLink]
    annotations: Annotations
    templating: Templating
    panels: list[Annotated[Shown | Row, Field(discriminator="type")]]


def faults(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and message of everything in a document that the model does not allow."""
    try:
        Dashboard.model_validate(document)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            yield ".".join(str(part) for part in one["loc"]), one["msg"]
