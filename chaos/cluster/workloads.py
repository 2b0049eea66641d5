"""A cluster's namespace as a place for faults: which pods, nodes and workloads a fault hits."""

from __future__ import annotations

import json
import uuid
from typing import Any

from chaos.cluster.faults import Created, NodeLost, Patched, PodKilled, Resized, Scaled, find
from chaos.faults import Fault
from chaos.targets import Prepared, TargetError, UnsupportedError, ensure_bounded, ensure_unprotected
from midwatch import kubernetes
from midwatch.spec import model as spec
from midwatch.spec.chaos import Chaos, Kind, Kubernetes, Workload

MANAGED = {"app.kubernetes.io/managed-by": "midwatch", "app.kubernetes.io/component": "chaos"}
NOWHERE = "midwatch.dev/no-pod-has-this"
"""A label that no pod has: a Service that selects it answers nothing."""
PARTS = {Kind.LOSE_EXPORTER: "exporter", Kind.LOSE_PROMETHEUS: "prometheus", Kind.LOSE_ALERTMANAGER: "alertmanager"}


class Cluster:
    """A namespace of the cluster that the pod, or the user's kubeconfig, belongs to."""

    def __init__(self, platform: spec.Platform) -> None:
        self.platform = platform
        self.chaos = platform.chaos or Chaos()
        if self.chaos.kubernetes is None:
            raise TargetError("the platform file has no chaos.kubernetes: say in which namespace the models run")
        self.settings: Kubernetes = self.chaos.kubernetes
        self.namespace = self.settings.namespace
        if self.namespace in self.chaos.guard.protected.namespaces:
            raise TargetError(f"namespace {self.namespace} may not be hit: chaos.guard.protected.namespaces")

    def prepare(self, kind: Kind, settings: dict[str, Any]) -> Prepared:
        """Choose targets for a fault; TargetError when there is none, it is protected, or too many would be hit."""
        self._ensure_namespace_unprotected()
        prepared: Prepared = _MAKERS[kind](self, settings)
        ensure_unprotected(prepared.hit, self.chaos.guard.protected.parts)
        ensure_bounded(prepared, self.chaos.guard)
        return prepared

    def _ensure_namespace_unprotected(self) -> None:
        found = find(f"/api/v1/namespaces/{self.namespace}")
        if found is None:
            raise TargetError(f"there is no namespace {self.namespace}")
        if self._is_protected(found):
            raise TargetError(f"namespace {self.namespace} is protected by its label")

    def _is_protected(self, found: kubernetes.Object) -> bool:
        labels = found["metadata"].get("labels", {})
        return any(labels.get(name) == value for name, value in self.chaos.guard.protected.labels.items())

    # Objects -------------------------------------------------------------------------------------------------------

    def _model(self, settings: dict[str, Any]) -> Workload:
        return self._known(self.settings.models, settings["model"], "models")

    def _known(self, workloads: dict[str, Workload], name: str, where: str) -> Workload:
        if name not in workloads:
            raise TargetError(f"what {name} is in the cluster is not said: chaos.kubernetes.{where}.{name}")
        return workloads[name]

    def _workload(self, workload: Workload) -> tuple[str, kubernetes.Object]:
        """Path and object of a Deployment or StatefulSet."""
        kind, name = (
            ("deployments", workload.deployment) if workload.deployment else ("statefulsets", workload.stateful_set)
        )
        path = f"/apis/apps/v1/namespaces/{self.namespace}/{kind}/{name}"
        found = find(path)
        if found is None:
            raise TargetError(f"there is no {kind[:-1]} {name} in namespace {self.namespace}")
        if self._is_protected(found):
            raise TargetError(f"{name} is protected by its label")
        return path, found

    def _pods(self, workload: Workload) -> list[kubernetes.Object]:
        """Running pods of a workload, by name. A workload without a selector has none: everything is never meant."""
        _, found = self._workload(workload)
        labels = found["spec"].get("selector", {}).get("matchLabels", {})
        if not labels:
            raise TargetError("the workload selects no labels, and every pod is never a target")
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in sorted(labels.items()))}
        pods = kubernetes.request("GET", f"/api/v1/namespaces/{self.namespace}/pods", query=query)["items"]
        return sorted(
            (pod for pod in pods if not pod["metadata"].get("deletionTimestamp")),
            key=lambda pod: str(pod["metadata"]["name"]),
        )

    # Each kind -----------------------------------------------------------------------------------------------------

    def _kill_replica(self, settings: dict[str, Any]) -> Prepared:
        pods = self._pods(self._model(settings))
        wanted = settings.get("target")
        free = [pod for pod in pods if not self._is_protected(pod)]
        free.sort(key=lambda pod: (pod["metadata"]["name"] != wanted, pod["metadata"]["name"]))
        chosen = free[: settings.get("replicas") or 1]
        faults: list[Fault] = [
            PodKilled(target=pod["metadata"]["name"], namespace=self.namespace, uid=pod["metadata"]["uid"])
            for pod in chosen
        ]
        return Prepared(
            faults=faults,
            hit=tuple(fault.target for fault in faults),
            candidates=tuple(pod["metadata"]["name"] for pod in pods),
        )

    def _lost(self, kind: Kind) -> Prepared:
        part = PARTS[kind]
        path, found = self._workload(self._known(self.settings.parts, part, "parts"))
        name, replicas = found["metadata"]["name"], found["spec"].get("replicas", 1)
        fault = Scaled(
            target=part,
            path=path,
            patch={"spec": {"replicas": 0}},
            back={"spec": {"replicas": replicas}},
            what=f"scale {name} from {replicas} to 0",
        )
        return Prepared(faults=[fault], hit=(part,), candidates=tuple(sorted(PARTS.values())))

    def _lose_exporter(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost(Kind.LOSE_EXPORTER)

    def _lose_prometheus(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost(Kind.LOSE_PROMETHEUS)

    def _lose_alertmanager(self, _settings: dict[str, Any]) -> Prepared:
        return self._lost(Kind.LOSE_ALERTMANAGER)

    def _slow_model(self, settings: dict[str, Any]) -> Prepared:
        """The processor time of one replica is cut to a hundredth of a core, in place (Kubernetes 1.33 and newer)."""
        pods = self._pods(self._model(settings))
        free = [pod for pod in pods if not self._is_protected(pod)]
        if not free:
            raise TargetError("every replica is protected")
        pod = free[0]
        container = pod["spec"]["containers"][0]
        name, limits = container["name"], container.get("resources", {}).get("limits", {})
        requests = container.get("resources", {}).get("requests", {})
        if "cpu" not in limits or "cpu" not in requests:
            raise UnsupportedError(f"container {name} has no cpu request and limit, so they cannot be lowered in place")

        def patch(limit: str, request: str) -> dict[str, Any]:
            resources = {"limits": {"cpu": limit}, "requests": {"cpu": request}}
            return {"spec": {"containers": [{"name": name, "resources": resources}]}}

        pod_name = pod["metadata"]["name"]
        fault = Resized(
            target=pod_name,
            path=f"/api/v1/namespaces/{self.namespace}/pods/{pod_name}",
            patch=patch("10m", "10m"),
            back=patch(limits["cpu"], requests["cpu"]),
            what=f"resize {pod_name} from {limits['cpu']} to 10m of processor",
            kind=kubernetes.STRATEGIC,
        )
        return self._one(fault, pods)

    def _one(self, fault: Fault, pods: list[kubernetes.Object]) -> Prepared:
        names = tuple(pod["metadata"]["name"] for pod in pods)
        return Prepared(faults=[fault], hit=(fault.target,), candidates=names)

    def _failing_model(self, settings: dict[str, Any]) -> Prepared:
        """The model's Service selects nothing, so that every request through it fails."""
        workload = self._model(settings)
        if workload.service is None:
            raise TargetError(f"say which Service is in front: chaos.kubernetes.models.{settings['model']}.service")
        path = f"/api/v1/namespaces/{self.namespace}/services/{workload.service}"
        if find(path) is None:
            raise TargetError(f"there is no service {workload.service} in namespace {self.namespace}")
        fault = Patched(
            target=settings["model"],
            path=path,
            patch={"spec": {"selector": {NOWHERE: "true"}}},
            back={"spec": {"selector": {NOWHERE: None}}},
            what=f"let service {workload.service} select no pod",
        )
        return self._of_models(fault)

    def _of_models(self, fault: Fault) -> Prepared:
        """One model of all that are known here."""
        return Prepared(faults=[fault], hit=(fault.target,), candidates=tuple(sorted(self.settings.models)))

    def _corrupt_features(self, settings: dict[str, Any]) -> Prepared:
        """The feature feed's ConfigMap tells it to scale features: key `scale` as JSON."""
        workload = self._model(settings)
        if workload.feature_config is None:
            where = f"chaos.kubernetes.models.{settings['model']}.feature_config"
            raise UnsupportedError(f"say which ConfigMap the feature feed reads its factors from: {where}")
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{workload.feature_config}"
        found = find(path)
        if found is None:
            raise TargetError(f"there is no config map {workload.feature_config} in namespace {self.namespace}")
        fault = Patched(
            target=settings["model"],
            path=path,
            patch={"data": {"scale": json.dumps(settings["scale"], sort_keys=True)}},
            back={"data": {"scale": found.get("data", {}).get("scale")}},
            what=f"set the feature factors in config map {workload.feature_config}",
        )
        return self._of_models(fault)

    def _cut_network(self, settings: dict[str, Any]) -> Prepared:
        """A NetworkPolicy lets nothing reach the model's pods."""
        _, found = self._workload(self._model(settings))
        name = f"midwatch-chaos-{uuid.uuid4().hex[:8]}"
        manifest = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": self.namespace, "labels": MANAGED},
            "spec": {
                "podSelector": {"matchLabels": found["spec"]["selector"]["matchLabels"]},
                "policyTypes": ["Ingress"],
            },
        }
        fault = Created(
            target=settings["model"],
            collection=f"/apis/networking.k8s.io/v1/namespaces/{self.namespace}/networkpolicies",
            manifest=manifest,
            what=f"let nothing reach the pods of {found['metadata']['name']} (NetworkPolicy {name})",
        )
        return self._of_models(fault)

    def _fill_disk(self, settings: dict[str, Any]) -> Prepared:
        return self._hog(settings, "disk", {"ephemeral-storage": "1Gi"}, "exporter")

    def _exhaust_cpu(self, settings: dict[str, Any]) -> Prepared:
        return self._hog(settings, "cpu", {"cpu": str(settings["cores"])}, None)

    def _exhaust_memory(self, settings: dict[str, Any]) -> Prepared:
        return self._hog(settings, "memory", {"memory": str(int(settings["size"] * 1.25))}, None)

    def _hog(self, settings: dict[str, Any], kind: str, limits: dict[str, str], part: str | None) -> Prepared:
        """A pod, on the node of the first target, that takes what others need and ends by itself at the latest."""
        workload = self._known(self.settings.parts, part, "parts") if part else self._model(settings)
        pods = [pod for pod in self._pods(workload) if pod["spec"].get("nodeName")]
        if not pods:
            raise TargetError("no pod of it is on a node")
        node = pods[0]["spec"]["nodeName"]
        name = f"midwatch-chaos-{uuid.uuid4().hex[:8]}"
        size = {"memory": [str(int(settings.get("size") or 0))], "disk": [str(2**30)]}.get(kind, [])
        seconds = int(settings["seconds"])
        container = {
            "name": "hog",
            "image": self.settings.image,
            "command": ["python", "-P", "-m", "chaos.local.hog", kind, str(seconds), *size],
            "resources": {"limits": limits, "requests": limits},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        manifest = {
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
        fault = Created(
            target=node,
            collection=f"/api/v1/namespaces/{self.namespace}/pods",
            manifest=manifest,
            what=f"run pod {name} that takes {kind} on node {node} for at most {seconds} s",
        )
        return Prepared(faults=[fault], hit=(node,), candidates=self._nodes())

    def _nodes(self) -> tuple[str, ...]:
        nodes = kubernetes.request("GET", "/api/v1/nodes")["items"]
        return tuple(sorted(node["metadata"]["name"] for node in nodes))

    def _lose_node(self, settings: dict[str, Any]) -> Prepared:
        """The node of the first replica; only pods of this namespace are evicted, and no protected one."""
        pods = self._pods(self._model(settings))
        nodes = [pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")]
        wanted = settings.get("target")
        if wanted is None and not nodes:
            raise TargetError(f"no pod of {settings['model']} is on a node")
        node = wanted or nodes[0]
        found = find(f"/api/v1/nodes/{node}")
        if found is None or self._is_protected(found):
            raise TargetError(f"node {node} is protected by its label" if found else f"there is no node {node}")
        here = kubernetes.request(
            "GET", f"/api/v1/namespaces/{self.namespace}/pods", query={"fieldSelector": f"spec.nodeName={node}"}
        )["items"]
        if protected := [pod["metadata"]["name"] for pod in here if self._is_protected(pod)]:
            raise TargetError(f"pods {', '.join(protected)} on node {node} are protected by their labels")
        names = sorted(f"{self.namespace}/{pod['metadata']['name']}" for pod in here)
        return Prepared(faults=[NodeLost(target=node, pods=names)], hit=(node,), candidates=self._nodes())

    def _skew_clock(self, _settings: dict[str, Any]) -> Prepared:
        raise UnsupportedError("a pod has its node's clock, which the Kubernetes API cannot change")

    def _deploy_bad_version(self, settings: dict[str, Any]) -> Prepared:
        path, found = self._workload(self._model(settings))
        container = found["spec"]["template"]["spec"]["containers"][0]
        image = container["image"]
        bad = f"{image.rpartition(':')[0] or image}:{settings['bad_version']}"

        def patch(text: str) -> dict[str, Any]:
            return {"spec": {"template": {"spec": {"containers": [{"name": container["name"], "image": text}]}}}}

        fault = Patched(
            target=settings["model"],
            path=path,
            patch=patch(bad),
            back=patch(image),
            what=f"deploy {bad} instead of {image}",
            kind=kubernetes.STRATEGIC,
        )
        return self._of_models(fault)


_MAKERS = {kind: getattr(Cluster, f"_{kind.value}") for kind in Kind}
