"""What every section of the platform file is made of: strict models, names, label names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
"""A DNS label: it ends up in file names, Kubernetes names and label values."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class Strict(BaseModel):
    """Refuses unknown keys and silent conversions; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
