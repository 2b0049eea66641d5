"""What is kept of explanations: the `explanations` section of a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from midwatch.spec.base import Strict


class Explanations(Strict):
    """That attributions which come with predictions are counted by feature; without this section they are not kept."""

    features: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most features that are counted by name; the others are `other`."""
