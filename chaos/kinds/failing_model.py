"""A model answers with errors: here a share of the requests, in a cluster all that go through its Service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import REPLICA, Injection
from chaos.places.cluster.faults import Patched
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, TargetError
from midwatch import kubernetes
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model

NOWHERE = "midwatch.dev/no-pod-has-this"
"""A label that no pod has: a Service that selects it answers nothing."""


@dataclass(frozen=True, kw_only=True)
class FailingModel(Injection[spec.FailingModel]):
    """Answer a share of the requests to one replica with 503; in a cluster all of the model's fail."""

    does = "let a model return errors"
    blast_radius = REPLICA
    alert = "ModelErrorsHigh"
    is_errors = True
    rights = (Right(resources=("services",), verbs=("get", "patch")),)

    model: str
    target: str | None = None
    errors: float = 0.5

    @classmethod
    def of(cls, experiment: spec.FailingModel, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says."""
        return cls(model=model.name, target=experiment.target, errors=float(experiment.errors))

    def ensure_something(self) -> None:
        """A share of the requests is at most all of them."""
        super().ensure_something()
        if self.errors > 1:
            raise ValueError(f"errors: {self.errors:g} is not a share, such as 0.5")

    def here(self, plane: LocalPlane) -> Prepared:
        """The link to the server answers in its place."""
        return plane.bad_traffic(self.model, self.target, {"errors": self.errors, "status": 503})

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """The model's Service selects nothing, so that every request through it fails."""
        service = cluster.model(self.model).service
        if service is None:
            raise TargetError(f"say which Service is in front: chaos.kubernetes.models.{self.model}.service")
        path = f"{cluster.path('services')}/{service}"
        if kubernetes.find(path) is None:
            raise TargetError(f"there is no service {service} in namespace {cluster.namespace}")
        fault = Patched(
            target=self.model,
            path=path,
            patch={"spec": {"selector": {NOWHERE: "true"}}},
            back={"spec": {"selector": {NOWHERE: None}}},
            what=f"let service {service} select no pod",
        )
        return cluster.of_models(fault)
