"""A model answers slowly: here requests wait in a proxy, in a cluster a replica's processor time is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from chaos.kinds.base import READ_PODS, READ_WORKLOADS, REPLICA, Injection
from chaos.places.cluster.faults import Resized
from chaos.places.cluster.namespace import Cluster
from chaos.places.local.plane import LocalPlane
from chaos.targets import Prepared, TargetError, UnsupportedError
from midwatch import kubernetes
from midwatch.rbac import Right
from midwatch.spec import experiments as spec
from midwatch.spec.model import Model
from midwatch.spec.values import format_duration, parse_duration

LOW = "10m"
"""A hundredth of a core: the replica still answers, late."""


@dataclass(frozen=True, kw_only=True)
class SlowModel(Injection[spec.SlowModel]):
    """Let each request to one replica wait; in a cluster its processor time is cut instead."""

    does = "slow a model down"
    blast_radius = REPLICA
    alert = "ModelLatencyHigh"
    rights = (READ_WORKLOADS, READ_PODS, Right(resources=("pods/resize",), verbs=("patch",)))
    durations = ("delay",)

    model: str
    target: str | None = None
    delay: str = "300ms"

    @classmethod
    def of(cls, experiment: spec.SlowModel, model: Model, seconds: float) -> Self:  # noqa: ARG003 - it does not end
        """As the experiment says, else slow enough to be noticed."""
        delay = format_duration(experiment.delay or _slow_enough(model))
        return cls(model=model.name, target=experiment.target, delay=delay)

    def here(self, plane: LocalPlane) -> Prepared:
        """Requests wait in the link to the server."""
        return plane.bad_traffic(self.model, self.target, {"delay": parse_duration(self.delay)})

    def in_cluster(self, cluster: Cluster) -> Prepared:
        """The processor time of one replica is cut in place (Kubernetes 1.33 and newer)."""
        pods = cluster.pods(cluster.model(self.model))
        pod = next((pod for pod in pods if not cluster.is_protected(pod)), None)
        if pod is None:
            raise TargetError("every replica is protected")
        container, pod_name = pod["spec"]["containers"][0], pod["metadata"]["name"]
        name, resources = container["name"], container.get("resources", {})
        limit, request = (resources.get(part, {}).get("cpu") for part in ("limits", "requests"))
        if limit is None or request is None:
            raise UnsupportedError(f"container {name} has no cpu request and limit, so they cannot be lowered in place")
        fault = Resized(
            target=pod_name,
            path=f"{cluster.path('pods')}/{pod_name}",
            patch=_cpu(name, LOW, LOW),
            back=_cpu(name, limit, request),
            what=f"resize {pod_name} from {limit} to {LOW} of processor",
            patch_type=kubernetes.STRATEGIC,
        )
        return cluster.of_pods([fault], self.model, pods)


def _cpu(container: str, limit: str, request: str) -> dict[str, Any]:
    resources = {"limits": {"cpu": limit}, "requests": {"cpu": request}}
    return {"spec": {"containers": [{"name": container, "resources": resources}]}}


def _slow_enough(model: Model) -> float:
    """Twice the threshold of the model's latency objective, 1 s without one."""
    thresholds = [slo.sli.latency.threshold for slo in model.slos if not isinstance(slo.sli, str) and slo.sli.latency]
    return 2 * max(thresholds) if thresholds else 1.0
