"""A cluster's namespace as a place for faults: which pods, nodes and workloads a fault hits."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos import lease, notices
from chaos.faults import Fault
from chaos.places.cluster.faults import Created, Scaled
from chaos.places.place import Injection, Place
from chaos.targets import Hit, Prepared, TargetError, ensure_allowed
from midwatch import kubernetes, pod_security
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client
from midwatch.spec import load
from midwatch.spec.chaos import Kubernetes, Workload
from midwatch.spec.model import Platform

MANAGED = {"app.kubernetes.io/managed-by": "midwatch", "app.kubernetes.io/component": "chaos"}
PREFIX = "midwatch-chaos-"
"""How the names of objects begin that an injection makes."""
HOG_WORDS = ("python", "-P", "-m", "chaos.places.local.hog")
"""How the command of a pod begins that takes what others need."""
PARTS = ("alertmanager", "exporter", "prometheus")
"""Parts of the plane that can be lost; the platform file says which workload each is."""


class Cluster(Place):
    """A namespace of the cluster that the pod, or the user's kubeconfig, belongs to."""

    name = "kubernetes"

    def __init__(self, platform: Platform, platform_file: Path, state: Path) -> None:
        super().__init__(platform, platform_file, state)
        if self.chaos.kubernetes is None:
            raise TargetError("the platform file has no chaos.kubernetes: say in which namespace the models run")
        self.settings: Kubernetes = self.chaos.kubernetes
        self.namespace = self.settings.namespace
        if self.namespace in self.chaos.guard.protected.namespaces:
            raise TargetError(f"namespace {self.namespace} may not be hit: chaos.guard.protected.namespaces")

    @classmethod
    def opened(cls, platform_file: Path | None, state: Path) -> Cluster:
        """The namespace that a platform file names."""
        if platform_file is None:
            raise MidwatchError("in a cluster the platform file has to be given: --file")
        return cls(load.load_platform(platform_file), platform_file, state)

    @cached_property
    def prometheus(self) -> Client:
        """The platform's Prometheus."""
        return Client.of(self.platform.prometheus)

    @cached_property
    def alertmanager(self) -> notices.Alertmanager:
        """The platform's Alertmanager."""
        return notices.Alertmanager(self.platform.alertmanager.url, notices.channels_of(self.platform))

    @property
    def notices(self) -> notices.Notices:
        """Alertmanager, whose receivers stand for their channels."""
        return self.alertmanager

    @property
    def results(self) -> Path:
        """The state folder: a textfile collector can read it there."""
        return self.home.folder

    def lease(self, holder: str) -> lease.ClusterLease:
        """The namespace's lease."""
        return lease.ClusterLease(self.namespace, holder)

    def prepare(self, injection: Injection, earlier: Sequence[Hit] = ()) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit."""
        self._ensure_namespace_unprotected()
        prepared = injection.in_cluster(self)
        ensure_allowed(prepared, self.chaos.guard, earlier)
        return prepared

    def _ensure_namespace_unprotected(self) -> None:
        namespace = kubernetes.find(f"/api/v1/namespaces/{self.namespace}")
        if namespace is None:
            raise TargetError(f"there is no namespace {self.namespace}")
        if self.is_protected(namespace):
            raise TargetError(f"namespace {self.namespace} is protected by its label")

    def is_protected(self, found: kubernetes.Object) -> bool:
        """Whether an object has a label that protects it."""
        labels = found["metadata"].get("labels", {})
        return any(labels.get(name) == value for name, value in self.chaos.guard.protected.labels.items())

    # Objects -------------------------------------------------------------------------------------------------------

    def path(self, collection: str, api: str = "api/v1") -> str:
        """Path of a collection of the namespace."""
        return f"/{api}/namespaces/{self.namespace}/{collection}"

    def model(self, name: str) -> Workload:
        """What a model is here."""
        return _known(self.settings.models, name, "models")

    def workload(self, workload: Workload) -> tuple[str, kubernetes.Object]:
        """Path and object of a Deployment or StatefulSet."""
        plural, name = (
            ("deployments", workload.deployment) if workload.deployment else ("statefulsets", workload.stateful_set)
        )
        path = f"{self.path(plural, 'apis/apps/v1')}/{name}"
        described = kubernetes.find(path)
        if described is None:
            raise TargetError(f"there is no {plural[:-1]} {name} in namespace {self.namespace}")
        if self.is_protected(described):
            raise TargetError(f"{name} is protected by its label")
        return path, described

    def pods(self, workload: Workload) -> list[kubernetes.Object]:
        """Running pods of a workload, by name. A workload without a selector has none: everything is never meant."""
        _, described = self.workload(workload)
        labels = described["spec"].get("selector", {}).get("matchLabels", {})
        if not labels:
            raise TargetError("the workload selects no labels, and every pod is never a target")
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels.items()))}
        pods = kubernetes.request("GET", self.path("pods"), query=query)["items"]
        return sorted(
            (pod for pod in pods if not pod["metadata"].get("deletionTimestamp")),
            key=lambda pod: str(pod["metadata"]["name"]),
        )

    def of_nodes(self, fault: Fault, node: str, parts: tuple[str, ...]) -> Prepared:
        """A fault at a node of the cluster's; `parts` are what runs there and is hit with it."""
        nodes = kubernetes.request("GET", "/api/v1/nodes")["items"]
        names = sorted(one["metadata"]["name"] for one in nodes)
        down = sorted(one["metadata"]["name"] for one in nodes if _is_down(one))
        return Prepared(faults=[fault], hit=(node,), candidates=tuple(names), down=tuple(down), parts=parts)

    def of_pods(self, faults: Sequence[Fault], model: str, pods: Sequence[kubernetes.Object]) -> Prepared:
        """Faults at some of a model's pods. Those that the workload should have beside them are down."""
        _, described = self.workload(self.model(model))
        missing = max(0, int(described["spec"].get("replicas", 1)) - len(pods))
        absent = [f"{model} without a pod {index + 1}" for index in range(missing)]
        down = [str(pod["metadata"]["name"]) for pod in pods if _is_down(pod)]
        return Prepared(
            faults=faults,
            hit=tuple(fault.target for fault in faults),
            candidates=(*(str(pod["metadata"]["name"]) for pod in pods), *absent),
            down=(*down, *absent),
            parts=(model,),
            pool=f"pods of {model}",
        )

    def protected_parts_on(self, node: str) -> list[str]:
        """Parts that are protected and have a pod on a node."""
        known = {*self.settings.parts, *self.settings.models}
        return [name for name in self.chaos.guard.protected.parts if name in known and node in self._nodes_of(name)]

    def _nodes_of(self, name: str) -> set[str]:
        workload = self.settings.parts.get(name) or self.settings.models[name]
        return {str(pod["spec"].get("nodeName")) for pod in self.pods(workload)}

    # What kinds are made of ----------------------------------------------------------------------------------------

    def of_models(self, fault: Fault) -> Prepared:
        """One model is hit of all that are known here."""
        return Prepared(faults=[fault], hit=(fault.target,), candidates=tuple(sorted(self.settings.models)))

    def scaled_to_zero(self, part: str) -> Prepared:
        """A part of the plane has no replica."""
        path, described = self.workload(_known(self.settings.parts, part, "parts"))
        name, replicas = described["metadata"]["name"], described["spec"].get("replicas", 1)
        fault = Scaled(
            target=part,
            path=path,
            patch={"spec": {"replicas": 0}},
            back={"spec": {"replicas": replicas}},
            what=f"scale {name} from {replicas} to 0",
        )
        return Prepared(faults=[fault], hit=(part,), candidates=PARTS, down=tuple(filter(self._is_scaled_away, PARTS)))

    def _is_scaled_away(self, part: str) -> bool:
        """Whether the workload of a part has no replica already."""
        known = self.settings.parts.get(part)
        return known is not None and self.workload(known)[1]["spec"].get("replicas", 1) == 0

    def hog_at_model(
        self, model: str, takes: str, limits: Mapping[str, str], seconds: float, size: int = 0
    ) -> Prepared:
        """A pod beside a model takes what others need."""
        return self._hog(self.model(model), model, takes, limits, seconds, size)

    def hog_at_part(self, part: str, takes: str, limits: Mapping[str, str], seconds: float, size: int = 0) -> Prepared:
        """A pod beside a part of the plane takes what others need."""
        return self._hog(_known(self.settings.parts, part, "parts"), part, takes, limits, seconds, size)

    def _hog(
        self, workload: Workload, beside: str, takes: str, limits: Mapping[str, str], seconds: float, size: int
    ) -> Prepared:
        """A pod, on the node of the workload's first pod, that ends by itself at the latest."""
        pods = [pod for pod in self.pods(workload) if pod["spec"].get("nodeName")]
        if not pods:
            raise TargetError("no pod of it is on a node")
        node = pods[0]["spec"]["nodeName"]
        name = f"{PREFIX}{uuid.uuid4().hex[:8]}"
        words = [takes, str(int(seconds)), *([str(size)] if size else [])]
        fault = Created(
            target=node,
            collection=self.path("pods"),
            manifest=self._hog_pod(name, node, words, limits, int(seconds)),
            what=f"run pod {name} that takes {takes} on node {node} for at most {int(seconds)} s",
        )
        return self.of_nodes(fault, node, (beside,))

    def _hog_pod(
        self, name: str, node: str, words: list[str], limits: Mapping[str, str], seconds: int
    ) -> dict[str, Any]:
        container = {
            "name": "hog",
            "image": self.settings.image,
            "command": [*HOG_WORDS, *words],
            "resources": {"limits": dict(limits), "requests": dict(limits)},
            # The disk that is filled is the container's own: its root file system is written.
            "securityContext": {
                **pod_security.of_container(),
                "readOnlyRootFilesystem": False,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": MANAGED},
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "activeDeadlineSeconds": seconds,
                "automountServiceAccountToken": False,
                "containers": [container],
            },
        }


def _is_down(found: kubernetes.Object) -> bool:
    """Whether a pod or a node says that it is not ready, or a node takes no pods."""
    conditions = found.get("status", {}).get("conditions") or ()
    ready = [one.get("status") for one in conditions if one.get("type") == "Ready"]
    return bool(found.get("spec", {}).get("unschedulable")) or any(status != "True" for status in ready)


def _known(workloads: Mapping[str, Workload], name: str, where: str) -> Workload:
    if name not in workloads:
        raise TargetError(f"what {name} is in the cluster is not said: chaos.kubernetes.{where}.{name}")
    return workloads[name]
