"""What a model promises about groups: the `fairness` section of the platform file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from midwatch.spec.base import Finding, LabelName, Place, Strict
from midwatch.spec.slo import Severity
from midwatch.spec.values import Duration, Ratio, format_percentage

if TYPE_CHECKING:
    from midwatch.spec.model import Model

Measure = Literal[
    "demographic_parity",
    "equal_opportunity",
    "equalized_odds",
    "predictive_parity",
    "accuracy_parity",
    "calibration_within_groups",
    "within_bound_parity",
    "mean_absolute_error_parity",
    "exposure_parity",
]
"""What is held equal. Of classes: the share predicted positive; the true positives' share; that and the false
positives'; the share of positive predictions that are right; the share of all that are right; how far the share of
positives is above the score, at equal scores. Of a regression: the share of errors within `error_bound`; the mean
absolute error. Of a ranking: the mean exposure. fairlearn's names where it has them."""

BY_SCORE = frozenset({"calibration_within_groups"})
"""Measures of scores."""
BY_ERROR = frozenset({"within_bound_parity", "mean_absolute_error_parity"})
"""Measures of a regression's errors."""
BY_RANK = frozenset({"exposure_parity"})
"""Measures of places in a ranking."""

CROSS = "\u00d7"
"""A multiplication sign: between the attributes of an intersection, and its groups; it is in no name of either."""

MONTH = 30 * 86400.0
MOST_BLOCKS = 1000


class Fairness(Strict):
    """A measure that the groups of an attribute do not differ in by more than a limit.

    Exactly one of `difference` and `ratio` is there. `over` is how far back counts are read, from the version's first
    prediction at most, and `block` the pieces of time in which evidence is weighed; a hundredth of `over` without it.
    """

    attribute: LabelName
    """The attribute, one of `groups`."""
    crossed_with: LabelName | None = None
    """A second attribute: groups are the intersections of both."""
    within: LabelName | None = None
    """An attribute within whose groups the limit is to hold too, so that like is compared with like."""
    measure: Measure
    """What is held equal."""
    difference: Ratio | None = None
    """Greatest difference between any two groups' shares."""
    ratio: Ratio | None = None
    """Least ratio of any group's share to the highest; four fifths are 0.8."""
    error_bound: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)] | None = None
    """Of a regression, in the unit of what is predicted: the error that is still within `within_bound_parity`, and the
    greatest that `mean_absolute_error_parity` counts, whose limit is a share of it."""
    scores: bool = False
    """That scores are counted by group too, for [proposals](fairness.md#proposals) of other thresholds."""
    group_thresholds_because: Annotated[str, Field(min_length=10)] | None = None
    """Why a threshold for each group may be proposed, such as the legal basis; none is computed without it."""
    false_alarm: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance that groups within the limit are ever called unfair, over all pairs of groups and all looks."""
    min_events: Annotated[int, Field(ge=11)] = 100
    """Fewest events of a group that is judged and shown."""
    over: Duration = MONTH
    """How far back counts are read."""
    block: Duration | None = None
    """Pieces of time in which evidence is weighed."""
    public: bool = False
    """That the attribute's values may stand in metrics as they are; else `exporter.personal.hash` has to name it."""
    values: list[str] = []
    """Values of a hashed attribute that verdicts name, for whoever has `exporter.personal.key_file`."""
    severity: Severity = Field(default=Severity.TICKET, strict=False)
    """Whether `FairnessBroken` is a page or a ticket."""
    unknown_after: Duration | None = None
    """How long a verdict may be unknown before `FairnessUnknown` is a ticket; none without it."""

    @field_validator("difference")
    @classmethod
    def _difference_can_be_shown(cls, difference: Decimal | None) -> Decimal | None:
        if difference is not None and difference >= 1:
            raise ValueError("a difference of 100% is no limit: every model keeps it; write less")
        if difference is not None and difference <= 0:
            raise ValueError("a difference of 0% can never be shown kept by counts; write more, such as 5%")
        return difference

    @field_validator("ratio")
    @classmethod
    def _ratio_can_be_shown(cls, ratio: Decimal | None) -> Decimal | None:
        if ratio is not None and ratio <= 0:
            raise ValueError("a ratio of 0% is no limit: every model keeps it; write more, such as 80%")
        if ratio is not None and ratio >= 1:
            raise ValueError("a ratio of 100% can never be shown kept by counts; write less, such as 80%")
        return ratio

    @model_validator(mode="after")
    def _one_limit(self) -> Fairness:
        if (self.difference is None) == (self.ratio is None):
            raise ValueError("needs exactly one of difference and ratio")
        if self.block is not None and not self.over / MOST_BLOCKS <= self.block <= self.over / 2:
            raise ValueError(
                f"block has to be at most half of over, since evidence is learned in one and weighed in the next, and "
                f"at least a {MOST_BLOCKS}th of it"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_measure(self) -> Fairness:
        if (self.error_bound is not None) != (self.measure in BY_ERROR):
            lacks = self.error_bound is None
            raise ValueError(f"{self.measure} {'needs' if lacks else 'has no'} error_bound")
        if self.measure in BY_SCORE and self.ratio is not None:
            raise ValueError(f"{self.measure} has no ratio: what it compares may be 0 or below; write a difference")
        return self

    @model_validator(mode="after")
    def _other_attributes(self) -> Fairness:
        if len(set(self.named_attributes)) < len(self.named_attributes):
            raise ValueError("names an attribute twice; attribute, crossed_with and within are different ones")
        return self

    @property
    def named_attributes(self) -> tuple[str, ...]:
        """The attributes that it compares by."""
        return tuple(self.attribute_by_key.values())

    @property
    def attribute_by_key(self) -> dict[str, str]:
        """The same by the key that names each."""
        named = {"attribute": self.attribute, "crossed_with": self.crossed_with, "within": self.within}
        return {key: name for key, name in named.items() if name is not None}

    @property
    def compared(self) -> str:
        """Attribute of the groups that are compared, as it is counted."""
        return self.attribute if self.crossed_with is None else CROSS.join((self.attribute, self.crossed_with))

    @property
    def stratified(self) -> str | None:
        """Attribute of the groups within those of `within`, as it is counted; the stratum is the last part."""
        return None if self.within is None else CROSS.join((self.compared, self.within))

    @property
    def limit_text(self) -> str:
        """Its limit as the label of metrics and people have it, such as `ratio 80%`."""
        name, limit = ("ratio", self.ratio) if self.ratio is not None else ("difference", self.difference)
        of = "" if self.error_bound is None else f" of {self.bound}"
        return f"{name} {format_percentage(limit or Decimal(0))}{of}"

    @property
    def bound(self) -> str:
        """The error bound as a label's value; empty without one."""
        return "" if self.error_bound is None else f"{self.error_bound:.12g}"

    @property
    def counted_attributes(self) -> tuple[str, ...]:
        """Attributes whose groups it is judged by, as they are counted."""
        return tuple(name for name in (self.compared, self.stratified) if name is not None)

    @property
    def counts_scores(self) -> bool:
        """Whether scores are counted by its groups."""
        return self.scores or self.measure in BY_SCORE

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it apart from the model's other promises: labels attribute, measure and limit of its metrics."""
        return self.compared, self.measure, self.limit_text

    @property
    def title(self) -> str:
        """What it is called among the objectives."""
        return " ".join(("fairness", *self.key))

    @property
    def block_seconds(self) -> float:
        """Length of a block."""
        return self.block or self.over / 100


def findings(model: Model, hashed: Sequence[str], dropped: Sequence[str]) -> Iterator[Finding]:
    """What cannot be judged (attributes that nobody counts, no positive class), and values that metrics would show."""
    keys = [promise.key for promise in model.fairness]
    for index, promise in enumerate(model.fairness):
        if promise.key in keys[:index]:
            message = f"{promise.measure} of {promise.compared} with {promise.limit_text} a second time"
            yield ("fairness", index), message, "remove one: within is judged beside the comparison over all"
        place = ("fairness", index)
        for key, attribute in promise.attribute_by_key.items():
            if attribute not in model.groups:
                yield (*place, key), f"{attribute} is not counted for {model.name}", "name it under groups"
            elif attribute in dropped:
                message = f"{attribute} is dropped by exporter.personal, so nothing of it is counted"
                yield (*place, key), message, "hash it instead"
            elif not promise.public and attribute not in hashed:
                message = f"the values of {attribute} would stand in metrics, for whoever reads them"
                yield (*place, key), message, "name it under exporter.personal.hash, or write public: true here"
        yield from _of_its_task(model, promise, place)


def _of_its_task(model: Model, promise: Fairness, place: Place) -> Iterator[Finding]:
    """What a measure needs that the model does not have."""
    if promise.group_thresholds_because is not None and not promise.counts_scores:
        message = "thresholds are found in scores, and those are not counted by group"
        yield (*place, "group_thresholds_because"), message, "write scores: true"
    if promise.scores and model.task != "classification":
        yield (*place, "scores"), f"{model.name} has no classes that scores are of", "remove it"
    if promise.measure in BY_RANK:
        return
    if promise.measure in BY_ERROR:
        if model.task != "regression":
            yield (*place, "measure"), f"{promise.measure} is of numbers, and {model.name} predicts none", "remove it"
        return
    if (promise.measure != "accuracy_parity" or promise.scores) and model.positive is None:
        yield (*place, "measure"), f"{promise.measure} needs a positive class", "set positive"
    if model.task != "classification":
        yield (*place, "measure"), f"{promise.measure} is of classes, and {model.name} has none", "remove it"
