"""The parts of which the whole document is made: strict models, colours, places, references to data sources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


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
