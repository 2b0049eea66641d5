"""Settings of a panel's fields: units, colours, thresholds, mappings, overrides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dashboards.schema.parts import Color, Part


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
    mappings: list[Annotated[ValueMap | RangeMap, Field(discriminator="type")]] = Field(default_factory=list)
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
