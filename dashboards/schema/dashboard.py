"""The whole dashboard: panels, variables, annotations and links."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dashboards.schema.panels import Row, Shown
from dashboards.schema.parts import Color, DataSource, Part, RefId
from midwatch.grafana import MAX_UID


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
