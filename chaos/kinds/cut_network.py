"""No traffic reaches a model: here connections are refused, in a cluster a NetworkPolicy forbids them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import READ_WORKLOADS, REPLICA, Injection
from chaos.places.cluster.faults import Created
from chaos.places.cluster.namespace import MANAGED, PREFIX, Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model

API = "networking.k8s.io"


@dataclass(frozen=True, kw_only=True)
class CutNetwork(Injection[spec.CutNetwork]):
    """Let no traffic reach one replica; in a cluster a NetworkPolicy keeps it from all pods of the model."""

    does = "cut the network between traffic and a model"
    blast_radius = REPLICA
    alert = "ModelErrorsHigh"
    is_errors = True
    rights = (READ_WORKLOADS, Right(group=API, resources=("networkpolicies",), verbs=("get", "create", "delete")))

    model: str
    target: str | None = None

    @classmethod
    def of(cls, experiment: spec.CutNetwork, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says."""
        return cls(model=model.name, target=experiment.target)

    def here(self, plane: LocalPlane) -> Prepared:
        """The link to the server closes its connections and takes none."""
        return plane.bad_traffic(self.model, self.target, {"cut": True})

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """A NetworkPolicy lets nothing reach the model's pods."""
        _, workload = cluster.workload(cluster.model(self.model))
        name = f"{PREFIX}{uuid.uuid4().hex[:8]}"
        manifest = {
            "apiVersion": f"{API}/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": cluster.namespace, "labels": MANAGED},
            "spec": {
                "podSelector": {"matchLabels": workload["spec"]["selector"]["matchLabels"]},
                "policyTypes": ["Ingress"],
            },
        }
        fault = Created(
            target=self.model,
            collection=cluster.path("networkpolicies", f"apis/{API}/v1"),
            manifest=manifest,
            what=f"let nothing reach the pods of {workload['metadata']['name']} (NetworkPolicy {name})",
        )
        return cluster.of_models(fault)
