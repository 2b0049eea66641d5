"""What a cluster runs: a CronJob for each scheduled experiment, with no more rights than the experiments need.

The same command runs by cron or a systemd timer. `Forbid` keeps runs of one experiment apart, the lease those of all.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from chaos import experiments
from midwatch.spec import chaos as spec
from midwatch.spec import model as platform_spec
from midwatch.spec.chaos import Kind

FILE = "kubernetes/chaos.yaml"
LATE_SECONDS = 300
"""A run that could not start so long after its time is missed, and an alert."""
LABELS = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "chaos"}

Object = dict[str, Any]
Rule = tuple[str, tuple[str, ...], tuple[str, ...]]
"""API group, resources, verbs."""

ALWAYS: tuple[Rule, ...] = (("coordination.k8s.io", ("leases",), ("get", "create", "update", "patch")),)
_WORKLOADS: Rule = ("apps", ("deployments", "statefulsets"), ("get",))
_PODS: Rule = ("", ("pods",), ("get", "list"))
_SCALE: tuple[Rule, ...] = (("apps", ("deployments", "statefulsets"), ("get", "patch")),)
_HOG: tuple[Rule, ...] = (_WORKLOADS, ("", ("pods",), ("get", "list", "create", "delete")))

NEEDS: dict[Kind, tuple[Rule, ...]] = {
    Kind.KILL_REPLICA: (_WORKLOADS, ("", ("pods",), ("get", "list", "delete"))),
    Kind.SLOW_MODEL: (_WORKLOADS, _PODS, ("", ("pods/resize",), ("patch",))),
    Kind.FAILING_MODEL: (("", ("services",), ("get", "patch")),),
    Kind.CORRUPT_FEATURES: (("", ("configmaps",), ("get", "patch")),),
    Kind.LOSE_EXPORTER: _SCALE,
    Kind.LOSE_PROMETHEUS: _SCALE,
    Kind.LOSE_ALERTMANAGER: _SCALE,
    Kind.CUT_NETWORK: (_WORKLOADS, ("networking.k8s.io", ("networkpolicies",), ("get", "create", "delete"))),
    Kind.FILL_DISK: _HOG,
    Kind.EXHAUST_CPU: _HOG,
    Kind.EXHAUST_MEMORY: _HOG,
    Kind.LOSE_NODE: (_WORKLOADS, _PODS, ("", ("pods/eviction",), ("create",))),
    Kind.SKEW_CLOCK: (),
    Kind.DEPLOY_BAD_VERSION: _SCALE,
}
"""What each kind needs in its namespace."""

_NODES = ("get", "list")
NODE_NEEDS: dict[Kind, tuple[str, ...]] = {
    Kind.LOSE_NODE: (*_NODES, "patch"),
    Kind.FILL_DISK: _NODES,
    Kind.EXHAUST_CPU: _NODES,
    Kind.EXHAUST_MEMORY: _NODES,
}
"""What some kinds need on nodes, which are in no namespace."""


def render_files(platform: platform_spec.Platform) -> dict[str, str]:
    """Text of the manifest, if the platform has experiments in a cluster."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None or not chaos.experiments:
        return {}
    return {FILE: yaml.safe_dump_all(objects(platform), sort_keys=False, width=2**20)}


def objects(platform: platform_spec.Platform) -> list[Object]:
    """Service account, roles, network policy, and the CronJobs."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None:
        return []
    settings = chaos.kubernetes
    kinds = sorted({experiment.kind for experiment in chaos.experiments})
    found = [
        {"apiVersion": "v1", "kind": "ServiceAccount", **_metadata(settings.service_account, settings.namespace)},
        *_role(settings, kinds),
        *_cluster_role(platform, settings, kinds),
        _network_policy(settings),
    ]
    found += [_cron_job(platform, settings, experiment) for experiment in chaos.experiments if experiment.schedule]
    return found


def rules(kinds: list[Kind]) -> list[Object]:
    """Rules of a Role for these kinds: one for each resource, its verbs joined."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for group, resources, allowed in [*ALWAYS, *(rule for kind in kinds for rule in NEEDS[kind])]:
        for resource in resources:
            verbs.setdefault((group, resource), set()).update(allowed)
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(allowed)}
        for (group, resource), allowed in sorted(verbs.items())
    ]


def _metadata(name: str, namespace: str | None) -> Object:
    metadata: Object = {"name": name, "labels": dict(LABELS)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"metadata": metadata}


def _role(settings: spec.Kubernetes, kinds: list[Kind]) -> list[Object]:
    name, namespace = settings.service_account, settings.namespace
    api = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": api, "kind": "Role", **_metadata(name, namespace), "rules": rules(kinds)},
        {
            "apiVersion": api,
            "kind": "RoleBinding",
            **_metadata(name, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    ]


def _cluster_role(platform: platform_spec.Platform, settings: spec.Kubernetes, kinds: list[Kind]) -> list[Object]:
    """Its own namespace may be looked at, for the label that protects it, and nodes as far as a kind needs it."""
    name, api = f"{settings.service_account}-{platform.platform}", "rbac.authorization.k8s.io/v1"
    own = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [settings.namespace], "verbs": ["get"]}
    verbs = sorted({verb for kind in kinds for verb in NODE_NEEDS.get(kind, ())})
    nodes = [{"apiGroups": [""], "resources": ["nodes"], "verbs": verbs}] if verbs else []
    subject = {"kind": "ServiceAccount", "name": settings.service_account, "namespace": settings.namespace}
    return [
        {"apiVersion": api, "kind": "ClusterRole", **_metadata(name, None), "rules": [own, *nodes]},
        {
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            **_metadata(name, None),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        },
    ]


def _network_policy(settings: spec.Kubernetes) -> Object:
    """Nothing may reach the experiments; they may reach DNS, the API server, and what speaks HTTP in the cluster."""
    ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443, 9090, 9091, 9093, 3000, 4317, 4318)]
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        **_metadata(settings.service_account, settings.namespace),
        "spec": {
            "podSelector": {"matchLabels": dict(LABELS)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [{"ports": dns}, {"ports": ports}],
        },
    }


def _cron_job(platform: platform_spec.Platform, settings: spec.Kubernetes, experiment: spec.Experiment) -> Object:
    longest = experiments.extension(experiments.document(platform, experiment))["longest_seconds"]
    pod: Object = {
        "serviceAccountName": settings.service_account,
        "restartPolicy": "Never",
        # SIGTERM stops the experiment and reverts its faults; that must not be cut short.
        "terminationGracePeriodSeconds": 60,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings, experiment)],
        "volumes": [
            {"name": "platform", "configMap": {"name": settings.config_map}},
            {"name": "state", **_state(settings)},
        ],
    }
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": math.ceil(longest) + 120,
        "ttlSecondsAfterFinished": 86400,
        "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        **_metadata(f"chaos-{experiment.title}"[:52].rstrip("-"), settings.namespace),
        "spec": {
            "schedule": experiment.schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": LATE_SECONDS,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }


def _state(settings: spec.Kubernetes) -> Object:
    """Where evidence is kept: in a claim, so that it outlives the pod, if there is one."""
    if settings.evidence_claim:
        return {"persistentVolumeClaim": {"claimName": settings.evidence_claim}}
    return {"emptyDir": {}}


def _container(settings: spec.Kubernetes, experiment: spec.Experiment) -> Object:
    command = ["midwatch", "chaos", "run", experiment.title, "--where", "kubernetes"]
    return {
        "name": "chaos",
        "image": settings.image,
        "command": [*command, "-f", "/etc/midwatch/platform.yaml", "--state", "/var/lib/midwatch", "--json"],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "platform", "mountPath": "/etc/midwatch", "readOnly": True},
            {"name": "state", "mountPath": "/var/lib/midwatch"},
        ],
    }
