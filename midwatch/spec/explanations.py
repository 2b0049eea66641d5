"""What is kept of explanations, and how they are compared: the `explanations` section of a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from midwatch.spec.base import Strict
from midwatch.spec.values import Duration

WINDOW = 21_600.0
"""Six hours: four windows a day, and ten days of them for 40 to compare with."""

Twins = Annotated[list[str], Field(min_length=2)]


class Explanations(Strict):
    """That attributions which come with predictions are counted by feature; without this section they are not kept.

    The evaluator compares the last window with the windows before it.
    """

    features: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most features that are counted by name; the others are `other`."""
    window: Duration = WINDOW
    """Length of a window of which attributions are compared: one that holds a day's course whole, or much shorter."""
    windows: Annotated[int, Field(ge=20, le=1000)] = 40
    """Earlier windows that the last one is compared with; 20 of them at least have to be in Prometheus."""
    twins: list[Twins] = []
    """Features that stand for each other, such as one amount in two currencies: that one takes over from the other is
    told, and is no change. Those whose attributions rise and fall together are found without it."""

    by_group: bool = False
    """That attributions are summed by the groups of the model's promises of fairness, too: which features make a gap.
    Each group has three series for each feature."""

    @field_validator("twins")
    @classmethod
    def _named_once(cls, twins: list[list[str]]) -> list[list[str]]:
        named = [name for together in twins for name in together]
        again = sorted({name for name in named if named.count(name) > 1})
        if again:
            raise ValueError(f"names {again[0]!r} twice; put all features that stand for each other into one list")
        return twins
