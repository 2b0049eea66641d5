"""What a kind of fault says of itself, and what one injection of it is asked to do.

A kind is one class in a module of its own. Its fields are the arguments of its Chaos Toolkit action, as JSON has them;
its class attributes say what it does, who is told, and which rights it needs; `here` and `in_cluster` choose targets
and make the faults.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec

from alerts.inventory import Entry
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.rbac import Right
from midwatch.spec.chaos import Kubernetes, Workload
from midwatch.spec.experiments import Experiment
from midwatch.spec.model import Model, Platform
from midwatch.spec.values import parse_duration

DEADMAN = "deadman"
"""Instead of an alert: the deadman's switch falls silent, which an outside watcher notices."""
NONE = "none"
"""Instead of an alert: the platform is expected to bear it, and nobody is paged."""

REPLICA = "one replica of one model, and the requests that go to it"
PLANE = "one part of the control plane; models keep answering"
MACHINE = "the machine or node of a model"

READ_WORKLOADS = Right(group="apps", resources=("deployments", "statefulsets"), verbs=("get",))
PATCH_WORKLOADS = Right(group="apps", resources=("deployments", "statefulsets"), verbs=("get", "patch"))
SCALE_WORKLOADS = Right(group="apps", resources=("deployments/scale", "statefulsets/scale"), verbs=("patch",))
READ_PODS = Right(resources=("pods",), verbs=("get", "list"))
HOG = (READ_WORKLOADS, Right(resources=("pods",), verbs=("get", "list", "create", "delete")))
READ_NODES = ("get", "list")

SCRAPES = 8
"""Scrapes until an outage is seen for sure: one may be late, and a range needs several."""

SpecT = TypeVar("SpecT", bound=Experiment)


@dataclass(frozen=True, kw_only=True)
class Injection(ABC, Generic[SpecT]):
    """A fault of one kind, as it is asked for.

    `does` and `blast_radius` are for people. `alert` tells of it where the platform file expects no other. `is_errors`
    says that the target's errors are the fault itself, `blinds` that the target cannot be measured meanwhile and
    `silences` that Prometheus itself does not answer, `is_wide` that the plane and every model may feel it. `rights`
    are needed in the namespace, `node_verbs` on nodes, which are in none. `durations` are arguments such as `300ms`.
    """

    does: ClassVar[str]
    blast_radius: ClassVar[str]
    alert: ClassVar[str]
    is_errors: ClassVar[bool] = False
    blinds: ClassVar[bool] = False
    silences: ClassVar[bool] = False
    is_wide: ClassVar[bool] = False
    rights: ClassVar[tuple[Right, ...]] = ()
    node_verbs: ClassVar[tuple[str, ...]] = ()
    durations: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def kind(cls) -> str:
        """Its name, which is its module's."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    @abstractmethod
    def of(cls, experiment: SpecT, model: Model, seconds: float) -> Self:
        """What an experiment asks for; a fault that ends by itself may last so many seconds."""

    @classmethod
    def seconds_to_alert(cls, entry: Entry, platform: Platform, model: Model) -> float:  # noqa: ARG003 - some ask it
        """How long its alert's rule takes at most, from the fault to firing."""
        scrapes = SCRAPES * platform.prometheus.scrape_interval
        holds = entry.direct.over + entry.for_ if entry.direct else max(entry.for_, scrapes)
        return holds + scrapes

    @classmethod
    def workload_hit(cls, model: Model, settings: Kubernetes) -> Workload | None:
        """What it changes in a cluster; None where the platform file does not say."""
        return settings.models.get(model.name)

    @abstractmethod
    def here(self, plane: LocalPlane) -> Prepared:
        """Targets and faults on the plane of this machine."""

    @abstractmethod
    def in_cluster(self, cluster: Cluster) -> Prepared:
        """Targets and faults in a cluster's namespace."""

    @classmethod
    def given(cls, arguments: Mapping[str, Any]) -> Self:
        """An injection by the arguments of its action; ValueError when they are not, or would do nothing."""
        if unknown := sorted(set(arguments) - {one.name for one in fields(cls)}):
            raise ValueError(f"there is no argument {', '.join(unknown)}")
        try:
            injection = msgspec.convert(dict(arguments), cls)
        except msgspec.ValidationError as error:
            raise ValueError(str(error).replace("Object missing required field", "missing argument")) from error
        injection.ensure_something()
        return injection

    def ensure_something(self) -> None:
        """Raise ValueError when it would do nothing: a number or a duration that is not above 0."""
        for one in fields(self):
            value = getattr(self, one.name)
            amount = parse_duration(value) if one.name in self.durations else value
            if isinstance(amount, int | float) and not 0 < amount < math.inf:
                raise ValueError(f"{one.name}: {value} means that nothing happens")

    def arguments(self) -> dict[str, Any]:
        """Arguments of its action; what is not said is left out."""
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class LosePart(Injection[SpecT]):
    """A part of the plane is gone; the kinds say which. Every experiment of such a kind does the same."""

    part: ClassVar[str]
    blast_radius = PLANE
    is_wide = True
    rights = (READ_WORKLOADS, SCALE_WORKLOADS)

    @classmethod
    def workload_hit(cls, model: Model, settings: Kubernetes) -> Workload | None:  # noqa: ARG003 - a part is of no model
        """The part."""
        return settings.parts.get(cls.part)

    @classmethod
    def of(cls, experiment: SpecT, model: Model, seconds: float) -> Self:  # noqa: ARG003 - nothing to say
        """Nothing is chosen."""
        return cls()

    def here(self, plane: LocalPlane) -> Prepared:
        """SIGKILL, and it stays down."""
        return plane.killed_part(self.part)

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """Its workload is scaled to 0."""
        return cluster.scaled_to_zero(self.part)
