"""The canary sections of the platform file: what a new version is compared on, and where the gate is."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from midwatch.spec.base import Finding, LabelName, Name, Strict
from midwatch.spec.values import Duration, Objective, Ratio

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

Direction = Literal["increase", "decrease", "either"]
"""Which change of the events' share does harm."""

Series = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})?$")]
"""A counter or gauge, with matchers of its own or none, such as `orders_total{kind="late"}`."""


class _Counted(Strict):
    """What every criterion made from counts has.

    A canary fails when its share of events is more than `tolerated_ratio` times the baseline's, and passes when
    `unacceptable_ratio` is excluded. Events on less than `negligible` of the requests do not matter either way.
    """

    name: Name | None = None
    tolerated_ratio: Annotated[float, Field(ge=1.0, le=100.0)] = 1.1
    unacceptable_ratio: Annotated[float, Field(gt=1.0, le=1000.0)] = 1.5
    negligible: Ratio = Decimal("0.001")
    weight: Annotated[float, Field(gt=0)] = 1.0
    baseline_limit: Ratio = Decimal(1)
    equal_baseline: bool = False

    needs_classes: ClassVar[bool] = False
    """Whether it is made from predicted classes: a regression has none, and servers publish none."""

    @property
    def harm(self) -> Direction:
        """Which change of the events' share does harm."""
        return "increase"

    @model_validator(mode="after")
    def _room_between(self) -> _Counted:
        if self.unacceptable_ratio <= self.tolerated_ratio:
            raise ValueError(
                f"unacceptable_ratio {self.unacceptable_ratio:g} is not above tolerated_ratio {self.tolerated_ratio:g}"
            )
        if self.negligible >= Decimal("0.5"):
            raise ValueError("negligible is a small share; write less than 50%")
        return self


class Errors(_Counted):
    """Requests that failed."""

    metric: Literal["errors"]
    baseline_limit: Ratio = Decimal("0.1")


class Latency(_Counted):
    """Requests slower than each boundary of the latency histogram, or of an own `histogram` (without `_bucket`)."""

    metric: Literal["latency"]
    histogram: Series | None = None


class Accuracy(_Counted):
    """Labelled predictions that were wrong."""

    needs_classes: ClassVar[bool] = True

    metric: Literal["accuracy"]


class Predictions(_Counted):
    """Share of each predicted class: a change in either direction counts."""

    needs_classes: ClassVar[bool] = True

    metric: Literal["predictions"]

    @property
    def harm(self) -> Direction:
        """Either: a class that becomes rarer makes others more frequent."""
        return "either"


class Outcomes(_Counted):
    """Labelled predictions with this `predicted` and `actual` class, among those that share the class in `of`."""

    needs_classes: ClassVar[bool] = True

    metric: Literal["outcomes"]
    name: Name
    predicted: str
    actual: str
    of: Literal["actual", "predicted", "all"] = "actual"
    direction: Direction = "increase"

    @property
    def harm(self) -> Direction:
        """As the platform file says."""
        return self.direction


class Counters(_Counted):
    """Own counters: `events` (or `good`, whose complement is counted) among `total`."""

    metric: Literal["counters"]
    name: Name
    total: Series
    events: Series | None = None
    good: Series | None = None
    direction: Direction = "increase"

    @property
    def harm(self) -> Direction:
        """As the platform file says."""
        return self.direction

    @model_validator(mode="after")
    def _one_numerator(self) -> Counters:
        if (self.events is None) == (self.good is None):
            raise ValueError("needs exactly one of events and good")
        return self


class Gauge(Strict):
    """Anything without counts, by Kayenta's Mann-Whitney test at the end of a fixed `window`.

    It is not decided when an arm has fewer than `min_samples` of the samples that the window should have.
    """

    needs_classes: ClassVar[bool] = False

    metric: Literal["gauge"]
    name: Name
    series: Series
    window: Duration = 1800.0
    direction: Direction = "either"
    tolerance: Annotated[float, Field(ge=0)] = 0.25
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    effect: Literal["mean_ratio", "cles"] = "mean_ratio"
    allowed: dict[Literal["increase", "decrease"], float] = {}
    critical_effect: dict[Literal["increase", "decrease"], float] = {}
    nan: Literal["remove", "replace"] = "remove"
    outliers: Literal["keep", "remove"] = "keep"
    must_have_data: bool = False
    min_samples: Ratio = Decimal("0.5")
    critical: bool = False
    group: Name = "gauges"


Counted = Errors | Latency | Accuracy | Predictions | Outcomes | Counters
Criterion = Annotated[Counted | Gauge, Field(discriminator="metric")]


def name_of(criterion: Counted | Gauge) -> str:
    """Name of a criterion: its own, else what it measures."""
    return criterion.name or criterion.metric


class Selectors(Strict):
    """Matchers of each arm's series, such as `job="v1"`; `{baseline}` and `{canary}` become the names asked about."""

    baseline: str
    canary: str


class Score(Strict):
    """Kayenta's thresholds of the gauges' score, and the percent that groups weigh."""

    pass_: Annotated[float, Field(ge=0, le=100)] = Field(default=95.0, alias="pass")
    marginal: Annotated[float, Field(ge=0, le=100)] = 75.0
    weights: dict[Name, Annotated[float, Field(ge=0, le=100)]] = {}

    @model_validator(mode="after")
    def _in_order(self) -> Score:
        if self.marginal > self.pass_:
            raise ValueError(f"marginal {self.marginal:g} is above pass {self.pass_:g}")
        return self


class Canary(Strict):
    """How a new version of a model is judged against the one that serves.

    `source` says whose counters are compared: those made from `events`, or those that the `servers` publish of
    themselves. `label` tells the arms apart unless `selectors` do. An analysis begins at the start that is asked for,
    or with the canary's first traffic after `idle`, at most `lookback` ago; `limit` is how long the gate's clients ask.
    `warm_up` is how long from the canary's first traffic counts are set aside.
    """

    label: LabelName = "version"
    selectors: Selectors | None = None
    source: Literal["events", "servers"] = "events"
    interval: Duration | None = None
    false_alarm: Objective = Decimal("0.05")
    false_pass: Objective = Decimal("0.05")
    min_requests: Annotated[int, Field(ge=1)] = 50
    idle: Duration = 600.0
    lookback: Duration = 86400.0
    limit: Duration = 3600.0
    warm_up: Duration | None = None
    score: Score = Score()
    criteria: Annotated[list[Criterion], Field(min_length=1)]


class LocalCanary(Strict):
    """A comparison that `midwatch up` asks the gate about while it runs."""

    model: Name
    baseline: str
    canary: str


class SecretKey(Strict):
    """A key of a Kubernetes secret."""

    name: Name
    key: str = "token"


class Gate(Strict):
    """The HTTP service that Argo Rollouts asks: where it listens, where the cluster finds it, how it is reached."""

    listen: str = "127.0.0.1:9600"
    url: str = "http://midwatch-gate.midwatch.svc:9600"
    deadline: Duration = 0.8
    token_secret: SecretKey | None = None
    image: str = "midwatch:latest"


def check(platform: Platform) -> Iterator[Finding]:
    """What no single section can see."""
    judged = {model.name for model in platform.models if model.canary}
    for index, local in enumerate(platform.local.canaries):
        if local.model not in judged:
            yield ("local", "canaries", index, "model"), f"no canary section for model {local.model!r}", "add one"
    for index, model in enumerate(platform.models):
        if model.canary is None:
            continue
        place = ("models", index, "canary")
        names: dict[str, int] = {}
        for number, criterion in enumerate(model.canary.criteria):
            at = (*place, "criteria", number)
            name = name_of(criterion)
            if names.setdefault(name, number) != number:
                yield at, f"a second criterion {name!r}", "give each its own name"
            if model.task == "regression" and criterion.needs_classes:
                yield (*at, "metric"), f"a regression has no {criterion.metric}", "use errors, latency or own counters"
            if model.canary.source == "servers" and criterion.needs_classes:
                yield (*at, "metric"), f"servers publish no {criterion.metric}", "use source: events"
        interval = model.canary.interval or platform.prometheus.scrape_interval
        if interval < platform.prometheus.scrape_interval:
            message = f"{interval:g} s is shorter than the scrape interval"
            yield (*place, "interval"), message, f"at least {platform.prometheus.scrape_interval:g} s"
