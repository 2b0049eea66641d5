"""What the experiments' account may do with the objects that its role lets it write: no more than an injection does.

Without it the right to make pods is that to any service account and Secret of the namespace, the right to change a
workload that to run anything in its place, and protection by labels is kept by the experiments' own word alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chaos import lease
from chaos.kinds.failing_model import NOWHERE
from chaos.places.cluster.namespace import HOG_WORDS, MANAGED, PREFIX
from midwatch import admission
from midwatch.admission import Demand
from midwatch.spec.chaos import Kubernetes

APPS, NETWORKING, COORDINATION = "apps", "networking.k8s.io", "coordination.k8s.io"

_REPOSITORY = "{0}.image.find('^.*/') + {0}.image.find('[^/]*$').find('^[^:@]+')"
"""CEL of a container's image without tag and digest."""
_KEPT_IN_WORKLOADS = (
    "paused",
    "replicas",
    "selector",
    "serviceName",
    "strategy",
    "updateStrategy",
    "volumeClaimTemplates",
)
_KEPT_IN_PODS = (
    "automountServiceAccountToken",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "shareProcessNamespace",
    "volumes",
)
_KEPT_IN_CONTAINERS = (
    "args",
    "command",
    "env",
    "envFrom",
    "lifecycle",
    "securityContext",
    "volumeDevices",
    "volumeMounts",
)


def objects(metadata: dict[str, Any], settings: Kubernetes, protected: Mapping[str, str]) -> list[dict[str, Any]]:
    """The policy and its binding; `protected` are labels of what no experiment may hit."""
    demands = [*_of_pods(settings, protected), *_of_workloads(), *_of_networks(), _of_nodes(), _of_leases()]
    variables = {"pod": "object.spec.template.spec", "podBefore": "oldObject.spec.template.spec"}
    return admission.policy(metadata, settings.service_account, settings.namespace, demands, variables)


def _of_pods(settings: Kubernetes, protected: Mapping[str, str]) -> Iterator[Demand]:
    words = " && ".join(f"c.command[{index}] == {json.dumps(word)}" for index, word in enumerate(HOG_WORDS))
    container = (
        f"c.image == {json.dumps(settings.image)} && c.command.size() >= {len(HOG_WORDS)} && {words}"
        " && c.?args.orValue([]).size() == 0 && c.?envFrom.orValue([]).size() == 0"
        " && c.?env.orValue([]).all(e, !has(e.valueFrom))"
        " && c.securityContext.allowPrivilegeEscalation == false && c.securityContext.runAsNonRoot == true"
        " && !c.securityContext.?privileged.orValue(false)"
    )
    pod = [
        "object.spec.automountServiceAccountToken == false",
        "object.spec.?serviceAccountName.orValue('') in ['', 'default']",
        "object.spec.?volumes.orValue([]).all(v, has(v.emptyDir) || has(v.downwardAPI))",
        "object.spec.?initContainers.orValue([]).size() == 0",
        "object.spec.activeDeadlineSeconds > 0",
        *(f"!object.spec.?{name}.orValue(false)" for name in ("hostIPC", "hostNetwork", "hostPID")),
        f"object.spec.containers.all(c, {container})",
    ]
    message = "experiments make pods of their own image alone, that take what others need, without account or Secret"
    yield Demand(resources=("pods",), operation="CREATE", expression=" && ".join(pod), message=message)
    if protected:
        kept = [f"{_label('oldObject', name)} != {json.dumps(value)}" for name, value in sorted(protected.items())]
        message = "experiments never delete a pod with a label that protects it"
        yield Demand(resources=("pods",), operation="DELETE", expression=" && ".join(kept), message=message)


def _of_workloads() -> Iterator[Demand]:
    same = [f"c.?{name} == before.?{name}" for name in _KEPT_IN_CONTAINERS]
    same += ["c.name == before.name", f"{_REPOSITORY.format('c')} == {_REPOSITORY.format('before')}"]
    workload = [
        "object.metadata.?labels == oldObject.metadata.?labels",
        *(f"object.spec.?{name} == oldObject.spec.?{name}" for name in _KEPT_IN_WORKLOADS),
        "object.spec.template.metadata.?labels == oldObject.spec.template.metadata.?labels",
        *(f"variables.pod.?{name} == variables.podBefore.?{name}" for name in _KEPT_IN_PODS),
        "variables.pod.containers.size() == variables.podBefore.containers.size()",
        f"variables.pod.containers.all(c, variables.podBefore.containers.exists(before, {' && '.join(same)}))",
    ]
    yield Demand(
        group=APPS,
        resources=("deployments", "statefulsets"),
        operation="UPDATE",
        expression=" && ".join(workload),
        message="experiments change the tag of a workload's images, and nothing else of it",
    )
    selectors = ("oldObject.spec.?selector.orValue({})", "object.spec.?selector.orValue({})")
    kept = [
        f"{one}.all(k, k == '{NOWHERE}' || {other}[?k].orValue('') == {one}[k])"
        for one, other in (selectors, selectors[::-1])
    ]
    kept += [
        f"object.spec.?{name} == oldObject.spec.?{name}" for name in ("externalIPs", "externalName", "ports", "type")
    ]
    yield Demand(
        resources=("services",),
        operation="UPDATE",
        expression=" && ".join(kept),
        message=f"experiments add {NOWHERE} to what a Service selects, or take it away",
    )


def _of_networks() -> Iterator[Demand]:
    cut = f"object.metadata.name.startsWith('{PREFIX}') && object.spec.policyTypes == ['Ingress']"
    cut += " && object.spec.?ingress.orValue([]).size() == 0"
    message = f"experiments make NetworkPolicies called {PREFIX}… that let nothing in"
    yield Demand(group=NETWORKING, resources=("networkpolicies",), operation="CREATE", expression=cut, message=message)
    own = " && ".join(f"{_label('oldObject', name)} == '{value}'" for name, value in sorted(MANAGED.items()))
    message = "experiments delete no NetworkPolicy but their own"
    yield Demand(group=NETWORKING, resources=("networkpolicies",), operation="DELETE", expression=own, message=message)


def _of_nodes() -> Demand:
    kept = ("metadata.?annotations", "metadata.?labels", "spec.?providerID", "spec.?taints")
    expression = " && ".join(f"object.{name} == oldObject.{name}" for name in kept)
    message = "experiments make a node take no pods, or take them again, and change nothing else of it"
    return Demand(resources=("nodes",), operation="UPDATE", expression=expression, message=message)


def _of_leases() -> Demand:
    expression = f"object.metadata.name == '{lease.LEASE_NAME}'"
    message = f"experiments have the Lease {lease.LEASE_NAME} alone"
    return Demand(group=COORDINATION, resources=("leases",), operation="CREATE", expression=expression, message=message)


def _label(of: str, name: str) -> str:
    """CEL of an object's label; an empty text without it."""
    return f"{of}.metadata.?labels[?{json.dumps(name)}].orValue('')"
