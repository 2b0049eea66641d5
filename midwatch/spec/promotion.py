"""The promotion section of a model: what a version needs before it becomes champion, and what counts as better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import Finding, Strict
from midwatch.spec.values import Objective, Ratio, SomeDuration

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

Key = Annotated[str, Field(min_length=1, max_length=250)]
"""Name of a tag or a metric in the registry (mlflow utils/validation.py: MAX_ENTITY_KEY_LENGTH)."""
Needed = Literal["verdict", "evaluation", "bias_check"]
ALL_NEEDED: list[Needed] = ["verdict", "evaluation", "bias_check"]


class Bound(Strict):
    """Between which values a metric has to be."""

    at_least: float | None = None
    """Smallest value that is good enough."""
    at_most: float | None = None
    """Largest value that is good enough."""

    @model_validator(mode="after")
    def _some_bound(self) -> Bound:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs at_least, at_most or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value is within the bounds; one that is no number is not."""
        is_enough = self.at_least is None or value >= self.at_least
        is_little = self.at_most is None or value <= self.at_most
        return is_enough and is_little and not math.isnan(value)

    def __str__(self) -> str:
        low = None if self.at_least is None else f"at least {self.at_least:g}"
        high = None if self.at_most is None else f"at most {self.at_most:g}"
        return " and ".join(filter(None, (low, high)))


class Check(Strict):
    """How a version shows in the registry that it passed a check: every metric named here within its bounds.

    Without metrics a tag with the value `passed` is needed. A tag with another value fails the check, whatever metrics
    say.
    """

    tag: Key | None = None
    """The tag that says how the check ended; `evaluation` and `bias_check` without it."""
    passed: Annotated[str, Field(min_length=1, max_length=250)] = "passed"
    """The value of the tag that means it was passed."""
    metrics: dict[Key, Bound] = {}
    """Metrics of the version, its logged model or its run, and the values that are good enough."""


class Better(Strict):
    """What counts as better, worse and no better, of a new version against the old one."""

    worthwhile: Annotated[Ratio, Field(gt=0)] = Decimal("0.01")
    """Gain in accuracy on the drifted window that is worth a new version: less is no better."""
    margin: Annotated[Ratio, Field(gt=0)] = Decimal("0.01")
    """Loss in accuracy that a group, or a frozen set, may have at most."""
    false_alarm: Objective = Decimal("0.05")
    """Chance that a version that is no worse is called worse, over all looks, groups and sets together."""


class Promotion(Strict):
    """What a version has to show before it may become champion, and what is called better."""

    needs: Annotated[list[Needed], Field(min_length=1)] = ALL_NEEDED
    """What may not be missing."""
    verdict_max_age: SomeDuration = 7 * 86400.0
    """How old the gate's pass may be: traffic of another week may differ."""
    evaluation: Check = Check()
    """How the evaluation is shown."""
    bias_check: Check = Check()
    """How the bias check is shown."""
    by_tag: bool = False
    """Whether the gate promotes a version with the tag `midwatch.promotion=requested` once it has all that it needs."""
    better: Better = Better()
    """What counts as better."""

    @model_validator(mode="after")
    def _each_once(self) -> Promotion:
        if len(set(self.needs)) < len(self.needs):
            raise ValueError("needs names one twice")
        return self


def check(platform: Platform) -> Iterator[Finding]:
    """What no single section can see."""
    mlflow = platform.systems.get("mlflow")
    for index, model in enumerate(platform.models):
        if model.promotion is None:
            continue
        place = ("models", index, "promotion")
        if "verdict" in model.promotion.needs and model.canary is None:
            message = f"needs a verdict, and {model.name} has no canary section"
            yield (*place, "needs"), message, "add one, or leave verdict out"
        if mlflow is None or mlflow.observe is None:
            yield place, "nobody says where the registry is", "add systems.mlflow.observe"
        if not any(one.canary for one in platform.models):
            message = "no model has a canary section, so no gate runs that would promote, watch and publish"
            yield place, message, f"add canary to {model.name}, or remove this section"
    if platform.gate.webhook_secret_file is not None and not watched(platform):
        message = "the gate watches no promotions, so it takes no delivery"
        yield ("gate", "webhook_secret_file"), message, "add promotion to a model, or remove it"


def watched(platform: Platform) -> list[Model]:
    """Models whose promotions the gate watches: those with a section, where the registry can be asked."""
    mlflow = platform.systems.get("mlflow")
    is_asked = mlflow is not None and mlflow.observe is not None
    return [model for model in platform.models if model.promotion is not None and is_asked]
