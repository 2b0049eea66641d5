"""Replicas of a model are killed without notice: here a server process, in a cluster a pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import READ_WORKLOADS, REPLICA, Injection
from chaos.places.cluster.faults import PodKilled
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class KillReplica(Injection[spec.KillReplica]):
    """Kill so many replicas of a model, `target` first, without notice."""

    does = "kill a model replica"
    blast_radius = REPLICA
    alert = "ModelErrorsHigh"
    is_errors = True
    rights = (READ_WORKLOADS, Right(resources=("pods",), verbs=("get", "list", "delete")))

    model: str
    target: str | None = None
    replicas: int = 1

    @classmethod
    def of(cls, experiment: spec.KillReplica, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it is over at once
        """As the experiment says."""
        return cls(model=model.name, target=experiment.target, replicas=experiment.replicas)

    def here(self, plane: LocalPlane) -> Prepared:
        """SIGKILL to the servers, which stay down."""
        return plane.killed_servers(self.model, self.target, self.replicas)

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """Pods are deleted without grace, protected ones never."""
        pods = cluster.pods(cluster.model(self.model))
        free = [pod["metadata"] for pod in pods if not cluster.is_protected(pod)]
        free.sort(key=lambda metadata: (metadata["name"] != self.target, metadata["name"]))
        faults = [
            PodKilled(target=metadata["name"], namespace=cluster.namespace, uid=metadata["uid"])
            for metadata in free[: self.replicas]
        ]
        return cluster.of_pods(faults, self.model, pods)
