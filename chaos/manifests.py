"""What a cluster runs: a CronJob for each scheduled experiment, with no more rights than the experiments need.

The same command runs by cron or a systemd timer. `Forbid` keeps runs of one experiment apart, the lease those of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chaos import experiments, kinds
from chaos.document import extension
from midwatch import pod_volumes, rbac, yamlfile
from midwatch.rbac import Right
from midwatch.spec.chaos import Experiment, Kubernetes
from midwatch.spec.model import Platform

FILE = "kubernetes/chaos.yaml"
LATE_SECONDS = 300
"""A run that could not start so long after its time is missed, and an alert."""
LABELS = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "chaos"}

Object = dict[str, Any]

LEASE = Right(group="coordination.k8s.io", resources=("leases",), verbs=("get", "create", "update", "patch"))
"""What every experiment needs beside the rights of its kind."""


def render_files(platform: Platform) -> dict[str, str]:
    """Text of the manifest, if the platform has experiments in a cluster."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None or not chaos.experiments:
        return {}
    return {FILE: yamlfile.dump_all(objects(platform))}


def objects(platform: Platform) -> list[Object]:
    """Service account, roles, network policy, and the CronJobs."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None:
        return []
    settings = chaos.kubernetes
    chosen = sorted({experiment.kind for experiment in chaos.experiments})
    account, namespace = settings.service_account, settings.namespace
    documents = experiments.documents(platform)
    return [
        rbac.service_account(_metadata(account, namespace)),
        *rbac.role(_metadata(account, namespace), rules(chosen), account, namespace),
        *_cluster_role(platform, settings, chosen),
        _network_policy(settings),
        *(
            _cron_job(platform, settings, experiment, extension(documents[experiment.title])["longest_seconds"])
            for experiment in chaos.experiments
            if experiment.schedule
        ),
    ]


def rules(chosen: Sequence[str]) -> list[Object]:
    """Rules of a Role for these kinds: one for each resource, its verbs joined."""
    return rbac.least_rules([LEASE, *(right for kind in chosen for right in kinds.table()[kind].rights)])


def _metadata(name: str, namespace: str | None) -> Object:
    return {"name": name, "labels": dict(LABELS)} | ({} if namespace is None else {"namespace": namespace})


def _cluster_role(platform: Platform, settings: Kubernetes, chosen: Sequence[str]) -> list[Object]:
    """Its own namespace may be looked at, for the label that protects it, and nodes as far as a kind needs it."""
    metadata = _metadata(f"{settings.service_account}-{platform.platform}", None)
    own = rbac.rule("", "namespaces", ["get"], [settings.namespace])
    verbs = sorted({verb for kind in chosen for verb in kinds.table()[kind].node_verbs})
    nodes = [rbac.rule("", "nodes", verbs)] if verbs else []
    return rbac.cluster_role(metadata, [own, *nodes], settings.service_account, settings.namespace)


def _network_policy(settings: Kubernetes) -> Object:
    """Nothing may reach the experiments; they may reach DNS, the API server, and what speaks HTTP in the cluster."""
    ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443, 9090, 9091, 9093, 3000, 4317, 4318)]
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(settings.service_account, settings.namespace),
        "spec": {
            "podSelector": {"matchLabels": dict(LABELS)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [{"ports": dns}, {"ports": ports}],
        },
    }


def _cron_job(platform: Platform, settings: Kubernetes, experiment: Experiment, longest: float) -> Object:
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
            {"name": "platform", **pod_volumes.platform_file(platform, settings.config_map)},
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
        "metadata": _metadata(f"chaos-{experiment.title}"[:52].rstrip("-"), settings.namespace),
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


def _state(settings: Kubernetes) -> Object:
    """Where evidence is kept: in a claim, so that it outlives the pod, if there is one."""
    if settings.evidence_claim:
        return {"persistentVolumeClaim": {"claimName": settings.evidence_claim}}
    return {"emptyDir": {}}


def _container(settings: Kubernetes, experiment: Experiment) -> Object:
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
