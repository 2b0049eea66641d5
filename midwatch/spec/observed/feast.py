"""What is observed of Feast: events in the sources of feature views, and until when they are materialized."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Strict
from midwatch.spec.observed.base import Observed
from midwatch.spec.values import Duration

ViewName = Annotated[str, Field(min_length=1, max_length=255)]


class ViewPromise(Strict):
    """What is promised of a feature view."""

    fresh_within: Annotated[Duration, Field(ge=1.0)]
    """How old the newest event of its source may be: the longest time between two, and how long they take to arrive."""
    materialized_within: Annotated[Duration, Field(ge=1.0)] | None = None
    """How old the end of what was materialized may be; not for views that are pushed to, whose end does not move."""


class FeastObserved(Observed):
    """Feast's registry and the sources of its feature views, read by Feast itself in an interpreter that has it."""

    system: ClassVar[str] = "feast"

    python: Annotated[Path, Field(strict=False)]
    """The interpreter of an environment that has Feast (0.67 or newer) and the client of its offline store."""
    repository: Annotated[Path, Field(strict=False)]
    """Folder of the `feature_store.yaml` that says where the registry and the offline store are."""
    views: dict[ViewName, ViewPromise] = {}
    """Feature views that have to be there, and what is promised of them."""
    interval: Annotated[Duration, Field(ge=60.0)] = 300.0
    """How often it is asked; each time Feast is started, which takes some seconds of a processor."""
    timeout: Annotated[Duration, Field(ge=1.0)] = 120.0
    """How long one answer may take: Feast asks every source for its newest event."""
