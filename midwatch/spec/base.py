"""What every section of the platform file is made of: strict models, names, label names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
"""A DNS label: it ends up in file names, Kubernetes names and label values."""

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class Strict(BaseModel):
    """Refuses unknown keys and silent conversions; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


Place = tuple[str | int, ...]
"""Where something stands in a platform file: keys and indices from the top."""

Finding = tuple[Place, str, str]
"""A problem that only several sections together show: its place, what is wrong, what to do."""


def unknown(name: str, known: Iterable[str], what: str) -> tuple[str, str]:
    """Message and remedy for a name that leads nowhere."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    remedy = f"did you mean {close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
    return f"there is no {what} {name!r}", remedy
