"""Faults through the Kubernetes API. Each keeps what its revert needs, and looks at the objects to verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos.faults import Fault
from midwatch import kubernetes


@dataclass(frozen=True, kw_only=True)
class PodKilled(Fault):
    """A pod is deleted without grace; its controller replaces it, so there is nothing to revert."""

    namespace: str
    uid: str

    def inject(self) -> None:
        """Delete it, and no other of the same name."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        kubernetes.request("DELETE", pod_path(self.namespace, self.target), body=body)

    def is_effective(self) -> bool:
        """Whether this very pod is gone."""
        pod = kubernetes.find(pod_path(self.namespace, self.target))
        return pod is None or pod["metadata"]["uid"] != self.uid

    def revert(self) -> None:
        """Nothing: a deleted pod is replaced by its controller."""

    def is_reverted(self) -> bool:
        """Always: whether the replacement serves is what the steady state asks."""
        return True

    def describe(self) -> str:
        """What it does."""
        return f"delete pod {self.namespace}/{self.target} without grace"


@dataclass(frozen=True, kw_only=True)
class Patched(Fault):
    """An object is changed: the merge patch, and the one that puts it back."""

    path: str
    patch: Mapping[str, Any]
    back: Mapping[str, Any]
    what: str
    patch_type: str = kubernetes.MERGE

    @property
    def _patched_path(self) -> str:
        return self.path

    def inject(self) -> None:
        """Change it."""
        kubernetes.request("PATCH", self._patched_path, body=dict(self.patch), patch=self.patch_type)

    def is_effective(self) -> bool:
        """Whether it has the change, and whoever acts on it has seen that."""
        current = kubernetes.find(self.path)
        return current is not None and has(current, self.patch) and is_observed(current)

    def revert(self) -> None:
        """Put it back; an object that is gone has nothing to put back."""
        if kubernetes.find(self.path) is not None:
            kubernetes.request("PATCH", self._patched_path, body=dict(self.back), patch=self.patch_type)

    def is_reverted(self) -> bool:
        """Whether it has what it had."""
        current = kubernetes.find(self.path)
        return current is None or has(current, self.back)

    def describe(self) -> str:
        """What it does."""
        return self.what


@dataclass(frozen=True, kw_only=True)
class Scaled(Patched):
    """A workload is scaled, by the subresource that can change nothing else; it is effective without the replicas."""

    @property
    def _patched_path(self) -> str:
        return f"{self.path}/scale"

    def is_effective(self) -> bool:
        """Whether the status says so too."""
        current = kubernetes.find(self.path)
        wanted = self.patch["spec"]["replicas"]
        if current is None or current["spec"].get("replicas") != wanted:
            return False
        return is_observed(current) and bool(current.get("status", {}).get("replicas", 0) == wanted)


@dataclass(frozen=True, kw_only=True)
class Resized(Patched):
    """A pod's resources are changed in place, through the subresource that is for it (Kubernetes 1.33)."""

    @property
    def _patched_path(self) -> str:
        return f"{self.path}/resize"


@dataclass(frozen=True, kw_only=True)
class Created(Fault):
    """An object is created: a NetworkPolicy that cuts, or a pod that takes what others need."""

    collection: str
    manifest: Mapping[str, Any]
    what: str

    @property
    def _path(self) -> str:
        return f"{self.collection}/{self.manifest['metadata']['name']}"

    def inject(self) -> None:
        """Create it."""
        kubernetes.request("POST", self.collection, body=dict(self.manifest))

    def is_effective(self) -> bool:
        """Whether it is there, and a pod runs."""
        current = kubernetes.find(self._path)
        if current is None:
            return False
        return bool(self.manifest["kind"] != "Pod" or current.get("status", {}).get("phase") == "Running")

    def revert(self) -> None:
        """Delete it."""
        try:
            kubernetes.request("DELETE", self._path, body={"gracePeriodSeconds": 0})
        except kubernetes.RefusedError as error:
            if error.status != 404:
                raise

    def is_reverted(self) -> bool:
        """Whether it is gone."""
        return kubernetes.find(self._path) is None

    def describe(self) -> str:
        """What it does."""
        return self.what


@dataclass(frozen=True, kw_only=True)
class NodeLost(Fault):
    """A node is cordoned and the pods named are evicted, as when a spot node is taken away."""

    pods: list[str]

    @property
    def _path(self) -> str:
        return f"/api/v1/nodes/{self.target}"

    def inject(self) -> None:
        """Cordon, then evict: disruption budgets are honoured, and what they refuse is a failed action."""
        kubernetes.request("PATCH", self._path, body={"spec": {"unschedulable": True}})
        for name in self.pods:
            namespace, _, pod = name.partition("/")
            if kubernetes.find(pod_path(namespace, pod)) is not None:
                body = {
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": pod, "namespace": namespace},
                }
                kubernetes.request("POST", f"{pod_path(namespace, pod)}/eviction", body=body)

    def is_effective(self) -> bool:
        """Whether nothing can be scheduled there and the pods are gone or end: they were told, and get no traffic."""
        node = kubernetes.find(self._path)
        if node is None or not node["spec"].get("unschedulable"):
            return False
        return all(
            (pod := kubernetes.find(pod_path(*name.split("/")))) is None
            or pod["metadata"].get("deletionTimestamp")
            or pod["spec"].get("nodeName") != self.target
            for name in self.pods
        )

    def revert(self) -> None:
        """Uncordon."""
        if kubernetes.find(self._path) is not None:
            kubernetes.request("PATCH", self._path, body={"spec": {"unschedulable": None}})

    def is_reverted(self) -> bool:
        """Whether pods can be scheduled there again."""
        node = kubernetes.find(self._path)
        return node is None or not node["spec"].get("unschedulable")

    def describe(self) -> str:
        """What it does."""
        return f"cordon node {self.target} and evict {', '.join(self.pods) or 'no pod'}"


def pod_path(namespace: str, name: str) -> str:
    """Path of a pod."""
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def has(found: Any, wanted: Any) -> bool:
    """Whether an object has everything that a merge patch sets; None is what must not be there."""
    if wanted is None:
        return found is None
    if isinstance(wanted, Mapping):
        return all(has(found.get(name) if isinstance(found, Mapping) else None, item) for name, item in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) >= len(wanted)
            and all(any(has(one, item) for one in found) for item in wanted)
        )
    return bool(found == wanted)


def is_observed(found: Mapping[str, Any]) -> bool:
    """Whether the object's controller has seen its newest generation; objects without a status have no controller."""
    if "observedGeneration" not in found.get("status", {}) and found.get("kind") not in ("Deployment", "StatefulSet"):
        return True
    return bool(found.get("status", {}).get("observedGeneration", 0) >= found["metadata"]["generation"])
