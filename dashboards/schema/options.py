"""Options of each type of panel: `panelcfg.cue` of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dashboards.schema.parts import Color, Mode, Part, Sort


class Legend(Part):
    """The legend of a panel; Grafana hides one that does not say to show it."""

    show_legend: Literal[True]
    display_mode: Literal["list", "table"]
    placement: Literal["bottom", "right"]
    calcs: list[str] = Field(default_factory=list)


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
    sort_by: list[SortBy] = Field(default_factory=list)


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
