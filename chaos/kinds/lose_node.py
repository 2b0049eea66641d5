"""A spot node is taken away after a notice: here server processes, in a cluster a node and its pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from chaos.kinds.base import READ_NODES, READ_PODS, READ_WORKLOADS, Injection
from chaos.places.cluster.faults import NodeLost
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, TargetError
from midwatch import kubernetes
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model
from midwatch.spec.values import format_duration, parse_duration


@dataclass(frozen=True, kw_only=True)
class LoseNode(Injection[spec.LoseNode]):
    """Take a spot node away: SIGTERM, and SIGKILL after the notice; in a cluster the node is cordoned and drained."""

    does = "take a spot node away"
    blast_radius = "what runs on one node in the namespace"
    alert = "ModelErrorsHigh"
    is_errors = True
    is_wide = True
    rights = (READ_WORKLOADS, READ_PODS, Right(resources=("pods/eviction",), verbs=("create",)))
    node_verbs = (*READ_NODES, "patch")

    model: str
    target: str | None = None
    replicas: int = 1
    notice: str = "2s"

    @classmethod
    def of(cls, experiment: spec.LoseNode, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says."""
        return cls(
            model=model.name,
            target=experiment.target,
            replicas=experiment.replicas,
            notice=format_duration(experiment.notice),
        )

    def ensure_something(self) -> None:
        """No notice at all is a loss too."""
        super().ensure_something()
        parse_duration(self.notice)

    def here(self, plane: LocalPlane) -> Prepared:
        """SIGTERM to the servers, and SIGKILL after the notice."""
        return plane.killed_servers(self.model, self.target, self.replicas, notice=parse_duration(self.notice))

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """The node of the first replica; only pods of this namespace are evicted, and no protected one."""
        node = self.target or self._node_of_first_replica(cluster)
        node_object = kubernetes.find(f"/api/v1/nodes/{node}")
        if node_object is None or cluster.is_protected(node_object):
            raise TargetError(f"node {node} is protected by its label" if node_object else f"there is no node {node}")
        on_node = {"fieldSelector": f"spec.nodeName={node}"}
        pods = kubernetes.request("GET", cluster.path("pods"), query=on_node)["items"]
        if protected := [pod["metadata"]["name"] for pod in pods if cluster.is_protected(pod)]:
            raise TargetError(f"pods {', '.join(protected)} on node {node} are protected by their labels")
        names = sorted(f"{cluster.namespace}/{pod['metadata']['name']}" for pod in pods)
        parts = (self.model, *cluster.protected_parts_on(node))
        return cluster.of_nodes(NodeLost(target=node, pods=names), node, parts)

    def _node_of_first_replica(self, cluster: Cluster) -> str:
        pods = cluster.pods(cluster.model(self.model))
        nodes = [str(pod["spec"]["nodeName"]) for pod in pods if pod["spec"].get("nodeName")]
        if not nodes:
            raise TargetError(f"no pod of {self.model} is on a node")
        return nodes[0]
