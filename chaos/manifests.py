"""What a cluster runs: a CronJob for each scheduled experiment, with no more rights than the experiments need.

The same command runs by cron or a systemd timer. `Forbid` keeps runs of one experiment apart, the lease those of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from chaos import admission, expectations, experiments, kinds
from chaos.document import extension
from chaos.lease import LEASE_NAME
from midwatch import object_names, pod_security, pod_volumes, rbac, yamlfile
from midwatch.rbac import Right
from midwatch.spec.chaos import Experiment, Kubernetes, Workload
from midwatch.spec.model import Platform

FILE = "kubernetes/chaos.yaml"
LATE_SECONDS = 300
"""A run that could not start so long after its time is missed, and an alert."""
LABELS = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "chaos"}

Object = dict[str, Any]

LEASES = "coordination.k8s.io"
LEASE = (
    Right(group=LEASES, resources=("leases",), verbs=("get", "update", "patch"), names=(LEASE_NAME,)),
    Right(group=LEASES, resources=("leases",), verbs=("create",)),  # which cannot name what it creates
)
"""What every experiment needs beside the rights of its kind."""

NAMED: dict[str, Callable[[Workload], str | None]] = {
    "deployments": lambda workload: workload.deployment,
    "statefulsets": lambda workload: workload.stateful_set,
    "services": lambda workload: workload.service,
    "configmaps": lambda workload: workload.feature_config,
}
"""Resources whose objects the platform file names: rights on them are on these alone."""


def render_files(platform: Platform) -> dict[str, str]:
    """Text of the manifest, if the platform has experiments in a cluster."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None or not chaos.experiments:
        return {}
    return {FILE: yamlfile.dump_all(objects(platform))}


def objects(platform: Platform) -> list[Object]:
    """Service account, roles, what the account is refused all the same, network policy, and the CronJobs."""
    chaos = platform.chaos
    if chaos is None or chaos.kubernetes is None:
        return []
    settings = chaos.kubernetes
    account, namespace = settings.service_account, settings.namespace
    everywhere = object_names.of_account_in_cluster(account, platform.platform, namespace)
    documents = experiments.documents(platform)
    return [
        rbac.service_account(_metadata(platform, account, namespace)),
        *rbac.role(
            _metadata(platform, object_names.of_account(account, platform.platform), namespace),
            rules(platform, settings, chaos.experiments),
            account,
            namespace,
        ),
        *_cluster_role(_metadata(platform, everywhere, None), settings, chaos.experiments),
        *admission.objects(_metadata(platform, everywhere, None), settings, chaos.guard.protected.labels),
        _network_policy(platform, settings),
        *(
            _cron_job(platform, settings, experiment, extension(documents[experiment.title])["longest_seconds"])
            for experiment in chaos.experiments
            if experiment.schedule
        ),
    ]


def rules(platform: Platform, settings: Kubernetes, chosen: Sequence[Experiment]) -> list[Object]:
    """Rules of a Role for these experiments: one for each resource and its objects, its verbs joined."""
    rights = [right for experiment in chosen for right in _rights(platform, settings, experiment)]
    return rbac.least_rules([*LEASE, *rights])


def _rights(platform: Platform, settings: Kubernetes, experiment: Experiment) -> Iterator[Right]:
    """Rights of an experiment. It reads what the platform file names, to know what else is down, and writes its target.

    Of what the platform file does not name there is no right: the experiment is refused, and says what is missing.
    """
    kind = kinds.table()[experiment.kind]
    hit = kind.workload_hit(expectations.model_of(platform, experiment), settings)
    targets = [] if hit is None else [hit]
    known = [*settings.models.values(), *settings.parts.values()]
    for right in kind.rights:
        for resource, verb in product(right.resources, right.verbs):
            name_of = NAMED.get(resource.partition("/")[0])
            one = replace(right, resources=(resource,), verbs=(verb,))
            if name_of is None:
                yield one
            elif names := {name_of(workload) for workload in (known if verb == "get" else targets)} - {None}:
                yield replace(one, names=tuple(sorted(filter(None, names))))


def _metadata(platform: Platform, name: str, namespace: str | None) -> Object:
    labels = {**LABELS, object_names.PART_OF: platform.platform}
    return {"name": name, "labels": labels} | ({} if namespace is None else {"namespace": namespace})


def _cluster_role(metadata: Object, settings: Kubernetes, chosen: Sequence[Experiment]) -> list[Object]:
    """Its own namespace may be looked at, for the label that protects it, and nodes as far as a kind needs it."""
    own = rbac.rule("", "namespaces", ["get"], [settings.namespace])
    verbs = sorted({verb for experiment in chosen for verb in kinds.table()[experiment.kind].node_verbs})
    nodes = [rbac.rule("", "nodes", verbs)] if verbs else []
    return rbac.cluster_role(metadata, [own, *nodes], settings.service_account, settings.namespace)


def _network_policy(platform: Platform, settings: Kubernetes) -> Object:
    """Nothing may reach the experiments; they may reach DNS, the API server, and what speaks HTTP in the cluster."""
    ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443, 9090, 9091, 9093, 3000, 4317, 4318)]
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(
            platform, object_names.of_account(settings.service_account, platform.platform), settings.namespace
        ),
        "spec": {
            "podSelector": {"matchLabels": {**LABELS, object_names.PART_OF: platform.platform}},
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
        "securityContext": pod_security.of_pod(),
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
        "template": {"metadata": {"labels": {**LABELS, object_names.PART_OF: platform.platform}}, "spec": pod},
    }
    name = object_names.joined("chaos", platform.platform, experiment.title, longest=object_names.CRON_JOB)
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": _metadata(platform, name, settings.namespace),
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
        "securityContext": pod_security.of_container(),
        "volumeMounts": [
            {"name": "platform", "mountPath": "/etc/midwatch", "readOnly": True},
            {"name": "state", "mountPath": "/var/lib/midwatch"},
        ],
    }
