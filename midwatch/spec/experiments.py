"""The experiments of the platform file: one class for each kind of fault, with the settings of its own.

A kind is a class here and a module of `chaos.kinds`; the union at the end is what `chaos.experiments` accepts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from midwatch.spec.base import Finding, Name, Place, Strict
from midwatch.spec.cron import Cron
from midwatch.spec.values import Duration, Ratio, Size

if TYPE_CHECKING:
    from midwatch.spec.model import Model

RateT = TypeVar("RateT", Decimal | None, float | None)
Count = Annotated[int, Field(ge=1)]


def ensure_something(value: Any) -> Any:
    """A number above 0, or nothing said; ValueError otherwise, because then nothing would happen."""
    if value is not None and not value > 0:
        raise ValueError(f"{value:g} means that nothing happens; write more, or leave it out")
    return value


def ensure_rate(value: RateT) -> RateT:
    """A rate that errors can be held to; ValueError for 0% and 100%, which no test can tell from anything."""
    if value is not None and not 0 < value < 1:
        raise ValueError(f"{value:.0%} is not between 0% and 100% (exclusive)")
    return value


class Expect(Strict):
    """The alert that tells of a fault (`none`: nobody may be paged), and how soon it fires and resolves.

    Without a time it is what the alert's rule needs, and 5 minutes at least.
    """

    alert: str
    """Name of the alert; `none` where nobody may be paged."""
    within: Duration | None = None
    """How soon it fires."""
    resolved_within: Duration | None = None
    """How soon it resolves once the fault is gone."""

    _something = field_validator("within", "resolved_within")(ensure_something)

    @model_validator(mode="after")
    def _has_time(self) -> Expect:
        if self.alert == "none" and (self.within, self.resolved_within) != (None, None):
            raise ValueError(
                "where nobody may be paged there is nothing to wait for; leave within and resolved_within out"
            )
        return self


class Experiment(Strict):
    """What every experiment may say. Only `kind` is needed: the rest follows from the platform file.

    `objective` is the kind of the objective whose alert tells of it, where nothing else is expected.
    """

    objective: ClassVar[str | None] = None

    kind: str
    name: Name | None = None
    """Its name; the kind without one."""
    model: Name | None = None
    """The model that it is about; the only one without it."""
    for_: Duration | None = Field(default=None, alias="for")
    """How long the fault lasts."""
    recover_within: Duration = 120.0
    """How soon everything is well again."""
    expect: Expect | None = None
    """The alert that tells of it."""
    schedule: Cron | None = None
    """When it runs by itself, as cron writes it."""
    tolerated_errors: Ratio | None = None
    """Share of errors that is tolerated, where it is not that of `stop`."""

    _something = field_validator("for_", "delay", "errors", "size", "shift", check_fields=False)(ensure_something)
    _rate = field_validator("tolerated_errors")(ensure_rate)

    @property
    def title(self) -> str:
        """Its name, by default its kind."""
        return self.name or self.kind.replace("_", "-")

    @classmethod
    def own_settings(cls) -> list[str]:
        """Settings that not every kind has."""
        return sorted(set(cls.model_fields) - set(Experiment.model_fields))

    @model_validator(mode="before")
    @classmethod
    def _settings_of_kind(cls, values: Any) -> Any:
        """Say of a setting whose it is not: it is no misspelt key, so nothing close to it would help."""
        if isinstance(values, Mapping):
            others = {name for kind in _subclasses(Experiment) for name in kind.own_settings()}
            for name in sorted(others & set(values) - set(cls.own_settings())):
                known = ", ".join(cls.own_settings()) or "none"
                raise ValueError(f"{values.get('kind')} has no setting {name}; its own settings: {known}")
        return values

    def find_problems(self, place: Place, model: Model) -> Iterator[Finding]:
        """What does not fit the model it is about."""
        needs = None if self.expect else self.objective
        if needs and not any(slo.kind == needs for slo in model.slos):
            message = f"{model.name} has no objective of {needs}, so nobody would be told"
            yield place, message, "add one, or say with expect which alert tells of it"


def _subclasses(kind: type[Experiment]) -> Iterator[type[Experiment]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def ensure_factors(scale: Mapping[str, float], *, is_default: bool = False) -> None:
    """Factors that change something; ValueError otherwise."""
    if not is_default and all(factor == 1.0 for factor in scale.values()):
        raise ValueError("no feature would be changed; name one with a factor, or leave it out")
    if wrong := sorted(name for name, factor in scale.items() if not math.isfinite(factor)):
        raise ValueError(f"the factor of {', '.join(wrong)} is no number that JSON has")


class OnModel(Experiment):
    """A fault that hits a model; the others hit the plane or the machine, and the model shows whether it is felt."""

    target: Name | None = None
    """The server that is hit; the first of the model without it."""


class KillReplica(OnModel):
    """Replicas of a model are killed without notice."""

    objective = "availability"
    kind: Literal["kill_replica"]
    replicas: Count = 1
    """How many replicas are killed."""


class SlowModel(OnModel):
    """Requests to a replica wait; `delay` is by default twice the threshold of the model's latency objective."""

    objective = "latency"
    kind: Literal["slow_model"]
    delay: Duration | None = None
    """How long requests wait; twice the latency objective's threshold without it."""


class FailingModel(OnModel):
    """A share of the requests to a replica fails."""

    objective = "availability"
    kind: Literal["failing_model"]
    errors: Ratio = Decimal("0.5")
    """Share of requests that fail."""


class CorruptFeatures(OnModel):
    """Features are multiplied by factors, by default every numeric one by 3."""

    kind: Literal["corrupt_features"]
    scale: dict[str, float] | None = None
    """Factors by feature; every numeric one by 3 without it."""

    @field_validator("scale")
    @classmethod
    def _changes_something(cls, scale: dict[str, float] | None) -> dict[str, float] | None:
        ensure_factors({} if scale is None else scale, is_default=scale is None)
        return scale

    def find_problems(self, place: Place, model: Model) -> Iterator[Finding]:
        """A model whose drift nobody watches, and factors of features that it does not have."""
        yield from super().find_problems(place, model)
        if model.drift is None:
            yield place, f"{model.name} has no drift section, so nobody would notice", "watch its features for drift"
        elif self.scale is None and not any(kind.value == "numeric" for kind in model.drift.features.values()):
            yield place, f"{model.name} has no numeric feature to change", "another kind of experiment fits it better"
        known = set(model.drift.features) if model.drift else set()
        for name in sorted(set(self.scale or ()) - known):
            yield (*place, "scale", name), f"{model.name} has no feature {name!r}", f"known: {', '.join(sorted(known))}"


class LoseExporter(Experiment):
    """The exporter is gone."""

    kind: Literal["lose_exporter"]


class LosePrometheus(Experiment):
    """Prometheus is gone."""

    kind: Literal["lose_prometheus"]


class LoseAlertmanager(Experiment):
    """Alertmanager is gone."""

    kind: Literal["lose_alertmanager"]


class CutNetwork(OnModel):
    """No traffic reaches a replica."""

    objective = "availability"
    kind: Literal["cut_network"]


class FillDisk(Experiment):
    """The exporter can write to no file."""

    kind: Literal["fill_disk"]


class ExhaustCpu(Experiment):
    """Cores are kept busy where the model runs."""

    kind: Literal["exhaust_cpu"]
    cores: Count = 1
    """How many cores are kept busy."""


class ExhaustMemory(Experiment):
    """Memory (bytes) is held where the model runs."""

    kind: Literal["exhaust_memory"]
    size: Size = 256 * 2**20
    """How much memory is held."""


class LoseNode(OnModel):
    """A spot node is taken away, after a notice."""

    objective = "availability"
    kind: Literal["lose_node"]
    replicas: Count = 1
    """How many replicas are on the node."""
    notice: Duration = 2.0
    """Time between the notice and the loss."""


class SkewClock(Experiment):
    """The model servers' clocks are fast."""

    kind: Literal["skew_clock"]
    shift: Duration = 600.0
    """How far the clocks are ahead."""


class DeployBadVersion(OnModel):
    """A version that is known to be bad takes over."""

    objective = "latency"
    kind: Literal["deploy_bad_version"]
    bad_version: str = ""
    """The version that is deployed."""


AnyExperiment = Annotated[
    KillReplica
    | SlowModel
    | FailingModel
    | CorruptFeatures
    | LoseExporter
    | LosePrometheus
    | LoseAlertmanager
    | CutNetwork
    | FillDisk
    | ExhaustCpu
    | ExhaustMemory
    | LoseNode
    | SkewClock
    | DeployBadVersion,
    Field(discriminator="kind"),
]
