"""The canary sections of the platform file: what a new version is compared on, and where the gate is."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from midwatch.spec.addresses import PlainUrl
from midwatch.spec.base import Finding, LabelName, Name, Strict
from midwatch.spec.fairness import CROSS
from midwatch.spec.prometheus_auth import SecretFile
from midwatch.spec.scraped import Scraped
from midwatch.spec.values import Duration, Objective, Ratio, SomeDuration, format_duration

if TYPE_CHECKING:
    from midwatch.spec.model import Model, Platform

Direction = Literal["increase", "decrease", "either"]
"""Which change of the events' share does harm."""

_KEYED = r"metadata\.(name|namespace|uid|(annotations|labels)\['[A-Za-z0-9./_-]+'\])"
_PLAIN = r"(spec|status)(\.[A-Za-z0-9_-]+|\[[0-9]+\])+"
FIELD_PATTERN = f"^({_KEYED}|{_PLAIN})$"
FieldPath = Annotated[str, Field(pattern=FIELD_PATTERN)]
"""A field of a Rollout as the controller reads it: keys in brackets below `metadata`, and none with a dot elsewhere
(fieldpath.ExtractFieldPathAsString of Kubernetes; extractValueFromRollout in utils/analysis/factory.go of v1.8)."""

Series = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})?$")]
"""A counter or gauge, with matchers of its own or none, such as `orders_total{kind="late"}`."""


class _Counted(Strict):
    """What every criterion made from counts has.

    A canary fails when its share of events is more than `tolerated_ratio` times the baseline's, and passes when
    `unacceptable_ratio` is excluded. Events on less than `negligible` of the requests do not matter either way.
    """

    name: Name | None = None
    """Its name; what it measures without one."""
    tolerated_ratio: Annotated[float, Field(ge=1.0, le=100.0)] = 1.1
    """Times the baseline's share of events that the canary may have."""
    unacceptable_ratio: Annotated[float, Field(gt=1.0, le=1000.0)] = 1.5
    """Times the baseline's share that has to be excluded before the canary passes."""
    negligible: Ratio = Decimal("0.001")
    """Share of requests below which events do not matter."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its weight among the criteria."""
    baseline_limit: Ratio = Decimal(1)
    """Share of events above which the baseline is ill, and nothing is decided."""
    equal_baseline: bool = False
    """For events in bursts: the baseline is a deployment of the canary's size."""

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
    """Share of events above which the baseline is ill, and nothing is decided."""


class Latency(_Counted):
    """Requests slower than each boundary of the latency histogram, or of an own `histogram` (without `_bucket`)."""

    metric: Literal["latency"]
    histogram: Series | None = None
    """A histogram of one's own, without `_bucket`."""


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
    """Its name."""
    predicted: str
    """The class that was predicted."""
    actual: str
    """The class that the label says."""
    of: Literal["actual", "predicted", "all"] = "actual"
    """Predictions that are counted among: those that share this class, or all."""
    direction: Direction = "increase"
    """Which change of the share does harm."""

    @property
    def harm(self) -> Direction:
        """As the platform file says."""
        return self.direction


class Counters(_Counted):
    """Own counters: `events` (or `good`, whose complement is counted) among `total`."""

    metric: Literal["counters"]
    name: Name
    """Its name."""
    total: Series
    """Counter of everything."""
    events: Series | None = None
    """Counter of what is bad."""
    good: Series | None = None
    """Counter of what is good, whose complement is counted."""
    direction: Direction = "increase"
    """Which change of the share does harm."""

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
    """Its name."""
    series: Series
    """The gauge that is compared."""
    window: Duration = 1800.0
    """How long is compared, once."""
    direction: Direction = "either"
    """Which change does harm."""
    tolerance: Annotated[float, Field(ge=0)] = 0.25
    """Share of the estimated shift by which values may differ and count as the same."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    """Confidence of the Mann-Whitney test."""
    effect: Literal["mean_ratio", "cles"] = "mean_ratio"
    """How the size of a difference is measured."""
    allowed: dict[Literal["increase", "decrease"], float] = {}
    """Effect up to which a difference is taken, by direction."""
    critical_effect: dict[Literal["increase", "decrease"], float] = {}
    """Effect from which a difference fails everything, by direction."""
    nan: Literal["remove", "replace"] = "remove"
    """What is done with values that are no numbers."""
    outliers: Literal["keep", "remove"] = "keep"
    """What is done with values far from the others."""
    must_have_data: bool = False
    """Whether missing data fails."""
    min_samples: Ratio = Decimal("0.5")
    """Share of the expected samples below which nothing is decided."""
    critical: bool = False
    """Whether failing it fails the whole canary."""
    group: Name = "gauges"
    """The group of the score that it counts in."""


class Fairness(Strict):
    """Groups that the canary treats less alike than the baseline does.

    A canary fails when some two groups' rates are farther apart on it than on the baseline by more than `tolerated`,
    and passes when `unacceptable` is excluded for every two. Two versions that are as unfair as each other are alike.
    """

    needs_classes: ClassVar[bool] = True
    equal_baseline: ClassVar[bool] = False
    baseline_limit: ClassVar[Decimal] = Decimal(1)

    metric: Literal["fairness"]
    name: Name | None = None
    """Its name; `fairness` without one."""
    attribute: LabelName
    """The attribute, one of the model's `groups`."""
    crossed_with: LabelName | None = None
    """A second attribute: groups are the intersections of both, as a promise under `fairness` has them counted."""
    measure: Literal["demographic_parity", "equal_opportunity", "predictive_parity", "accuracy_parity"]
    """The rate that is compared between groups: the share predicted positive, the true positives' share, the share of
    positive predictions that are right, or the share that is right."""
    positive: str | None = None
    """The class that counts as positive; all measures but `accuracy_parity` need it."""
    tolerated: Ratio = Decimal("0.02")
    """How much farther apart two groups may be than on the baseline."""
    unacceptable: Ratio = Decimal("0.1")
    """How much farther apart has to be excluded before the canary passes."""
    min_events: Annotated[int, Field(ge=11)] = 100
    """Fewest events of a group on each version before it is compared."""
    max_groups: Annotated[int, Field(ge=2, le=20)] = 8
    """Most groups; with more nothing is decided."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its weight among the criteria."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Fairness:
        if self.unacceptable <= self.tolerated:
            raise ValueError("unacceptable is not above tolerated")
        if self.positive is None and self.measure != "accuracy_parity":
            raise ValueError(f"{self.measure} needs positive, the class that counts as positive")
        return self

    @property
    def counts_labels(self) -> bool:
        """Whether it compares labelled predictions."""
        return self.measure != "demographic_parity"

    @property
    def compared(self) -> str:
        """The attribute as its groups are counted."""
        return self.attribute if self.crossed_with is None else CROSS.join((self.attribute, self.crossed_with))


Counted = Errors | Latency | Accuracy | Predictions | Outcomes | Counters
FromCounts = Counted | Fairness
"""What is compared by counts of each interval."""
Criterion = Annotated[FromCounts | Gauge, Field(discriminator="metric")]


def name_of(criterion: FromCounts | Gauge) -> str:
    """Name of a criterion: its own, else what it measures."""
    return criterion.name or criterion.metric


class Selectors(Strict):
    """Matchers of each arm's series, such as `job="v1"`; `{baseline}` and `{canary}` become the names asked about."""

    baseline: str
    """Matchers of the baseline's series."""
    canary: str
    """Matchers of the canary's series."""


class Rollout(Strict):
    """The Argo Rollout that serves a model: what is rendered sets its steps, and asks before each but the first.

    Arms are pod-template hashes unless fields of the Rollout name them, such as `metadata.annotations['stable']`.
    """

    name: Name
    """Its name."""
    namespace: Name | None = None
    """Its namespace; that of whoever applies the steps without it."""
    weights: Annotated[list[Annotated[int, Field(ge=1, le=99)]], Field(min_length=1)] = [10, 30, 60]
    """Percent of the traffic that the canary gets, one after the other."""
    baseline: FieldPath | None = None
    """Field of the Rollout with the baseline's value of `label`; the stable pod-template hash without it."""
    canary: FieldPath | None = None
    """Field of the Rollout with the canary's value of `label`; the latest pod-template hash without it."""

    @model_validator(mode="after")
    def _names_two_arms(self) -> Rollout:
        if self.baseline is not None and self.baseline == self.canary:
            raise ValueError(f"{self.baseline} would be both baseline and canary")
        if sorted(set(self.weights)) != self.weights:
            raise ValueError("weights do not increase")
        return self


class Score(Strict):
    """Kayenta's thresholds of the gauges' score, and the percent that groups weigh."""

    pass_: Annotated[float, Field(ge=0, le=100)] = Field(default=95.0, alias="pass")
    """Score from which the gauges pass."""
    marginal: Annotated[float, Field(ge=0, le=100)] = 75.0
    """Score below which the gauges fail."""
    weights: dict[Name, Annotated[float, Field(ge=0, le=100)]] = {}
    """Percent of the score by group."""

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
    """The label that tells the versions apart."""
    selectors: Selectors | None = None
    """Matchers that tell the versions apart instead."""
    strata: LabelName | None = None
    """A label whose values are compared each with its like, where versions get unequal mixes of them."""
    max_strata: Annotated[int, Field(ge=2, le=50)] = 10
    """Most values of it; with more the sum is compared."""
    source: Literal["events", "servers"] = "events"
    """Whose counters are compared."""
    interval: Duration | None = None
    """Length of the steps that are compared; the scrape interval without it."""
    false_alarm: Objective = Decimal("0.05")
    """Chance that a good version fails."""
    false_pass: Objective = Decimal("0.05")
    """Chance that a bad version passes."""
    min_requests: Annotated[int, Field(ge=1)] = 50
    """Fewest requests of each version before anything is decided."""
    idle: Duration = 600.0
    """Time without traffic that separates two tries."""
    lookback: Duration = 86400.0
    """How long ago an analysis may have begun."""
    limit: Duration = 3600.0
    """How long the gate's clients ask."""
    warm_up: Duration | None = None
    """Time from the first traffic of the canary that is not judged."""
    score: Score = Score()
    """Thresholds of the gauges' score."""
    rollout: Rollout | None = None
    """The Rollout whose steps ask the gate."""
    criteria: Annotated[list[Criterion], Field(min_length=1)]
    """What is compared."""


class LocalCanary(Strict):
    """A comparison that `midwatch up` asks the gate about while it runs."""

    model: Name
    """Name of the model."""
    baseline: str
    """The version that serves."""
    canary: str
    """The version that is judged."""


class SecretKey(Strict):
    """A key of a Kubernetes secret."""

    name: Name
    """Name of the secret."""
    key: str = "token"
    """Name of the key in it."""


RECORD_SECONDS = 2.0
"""A verdict that the gate has not recorded by then is answered as undecided."""


class Gate(Scraped):
    """The HTTP service that Argo Rollouts asks: where it listens, where the cluster finds it, how it is reached."""

    listen: str = "127.0.0.1:9600"
    """HOST:PORT where it answers; off loopback it needs a token."""
    url: PlainUrl = "http://midwatch-gate.midwatch.svc:9600"
    """Where the cluster finds it."""
    deadline: Duration = 0.8
    """How long an answer may take; undecided after that."""
    patience: SomeDuration = 240.0
    """How long a gate that hangs is asked again before the analysis ends as an error, which aborts a rollout; one that
    answers with an error, or not at all, is given up somewhat sooner."""
    token_secret: SecretKey | None = None
    """The secret with the token that clients send."""
    webhook_secret_file: SecretFile | None = None
    """File with the secret of MLflow's webhook, one a line while it is rotated; without it none is taken."""
    image: str = "midwatch:latest"
    """The container image that it runs."""

    @property
    def longest_answer(self) -> float:
        """Seconds within which it answers, whatever happens."""
        return self.deadline + RECORD_SECONDS


def _not_published(model: Model, criterion: FromCounts | Gauge) -> tuple[str, str] | None:
    """What a model's server does not publish of what a criterion compares, and what to do."""
    own = model.serving_metrics
    has_latency = model.serving != "triton" and (own is None or own.duration is not None)
    if isinstance(criterion, Latency) and criterion.histogram is None and not has_latency:
        return "the model's server publishes no histogram of its latency", "name one in histogram, or remove it"
    if isinstance(criterion, Errors) and own is not None and own.failures is None:
        return "serving_metrics has no failures", "add them"
    return None


def _not_counted(model: Model, criterion: Fairness) -> tuple[str, str] | None:
    """What the exporter does not count of the groups that a criterion compares, and what to do."""
    if criterion.compared in model.attributes:
        if criterion.positive is not None and model.class_names and criterion.positive not in model.class_names:
            known = ", ".join(sorted(model.class_names))
            return f"{criterion.positive} is no class of {model.name}", f"positive is one of {known}"
        return None
    if criterion.crossed_with is not None:
        message = f"{criterion.compared} is not counted for {model.name}"
        return message, "name both attributes in a promise under fairness, the one crossed_with the other"
    return f"{criterion.attribute} is not counted for {model.name}", "name it under groups"


JOB = "-job"
"""How the name of a template ends that runs the judge, after the model's."""


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
        if model.name.removesuffix(JOB) in judged - {model.name}:
            message = f"its template would be called as the one that runs a job for {model.name.removesuffix(JOB)}"
            yield ("models", index, "name"), message, f"choose a name that does not end with {JOB}"
        names: dict[str, int] = {}
        for number, criterion in enumerate(model.canary.criteria):
            at = (*place, "criteria", number)
            name = name_of(criterion)
            if names.setdefault(name, number) != number:
                yield at, f"a second criterion {name!r}", "give each its own name"
            if model.task != "classification" and criterion.needs_classes:
                yield (
                    (*at, "metric"),
                    f"a {model.task} has no {criterion.metric}",
                    "use errors, latency or own counters",
                )
            if isinstance(criterion, Fairness) and (lacking := _not_counted(model, criterion)):
                yield at, *lacking
            if model.canary.source == "servers" and criterion.needs_classes:
                yield (*at, "metric"), f"servers publish no {criterion.metric}", "use source: events"
            if model.canary.source == "servers" and (lacking := _not_published(model, criterion)):
                yield (*at, "metric"), *lacking
        interval = model.canary.interval or platform.prometheus.scrape_interval
        if interval < platform.prometheus.scrape_interval:
            message = f"{format_duration(interval)} is shorter than the scrape interval"
            yield (*place, "interval"), message, f"at least {format_duration(platform.prometheus.scrape_interval)}"
