"""The regression section of a model: what of its trainings is compared with their history, and what counts as worse."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import Strict
from midwatch.spec.values import NamespacedName, Objective, Ratio, SomeDuration

Key = Annotated[str, Field(min_length=1, max_length=250)]
"""Name of a metric in the registry."""


class Compared(Strict):
    """A metric of the training run or the logged model, and which way is worse."""

    worse: Literal["higher", "lower"] = "lower"
    """Which way is worse: lower for an accuracy, higher for a loss or a cost."""
    tolerated: Annotated[Ratio, Field(gt=0)] = Decimal("0.02")
    """Change, as a share of the history's median, that is taken."""


class Regression(Strict):
    """What of a model's trainings and releases is compared with its own history.

    One more training is one more look: `false_alarm` is the chance, at each look, that a history without any change is
    called a regression.
    """

    metrics: dict[Key, Compared] = {}
    """Metrics of the versions, as their training logged them, such as `accuracy` or `cost`."""
    duration_tolerated: Annotated[Ratio, Field(gt=0)] = Decimal("0.2")
    """By how much longer than its history's median a training may take."""
    pipeline: NamespacedName | None = None
    """The Tekton pipeline that trains, as NAMESPACE/NAME: the durations of its runs are compared, too."""
    latency_tolerated: Annotated[Ratio, Field(gt=0)] = Decimal("0.01")
    """By how much larger the share of slow requests of a release may be than that of any release before it."""
    history: SomeDuration = 90 * 86400.0
    """How far back releases and runs are looked for in Prometheus."""
    false_alarm: Objective = Decimal("0.01")
    """Chance, at each look, that a history without a change is called a regression."""

    @model_validator(mode="after")
    def _something(self) -> Regression:
        if float(self.false_alarm) < 0.0005:
            raise ValueError("false_alarm below 0.05% needs more trainings than anybody has")
        return self
