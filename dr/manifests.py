"""Scheduled drills and recoverers: CronJobs and Deployments in a cluster, systemd services and timers on a machine.

A drill that always comes at the same minute finds the archive always in the same phase: the begin is spread at random
over `spread`. Whether it ran in time, or at all, are the alerts DrillOverdue and DrillNeverRun.

Drills have one service account, recoverers and the recovery exporter others, each with the rights that what it runs
needs, in the namespaces where it needs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.lease import LEASE_NAME
from dr import stores
from dr.recoverer.run import lease_name
from dr.stores.kind import Right
from midwatch import admission, object_names, pod_security, pod_volumes, rbac, systemd, yamlfile
from midwatch.spec import dr as spec
from midwatch.spec import model
from midwatch.spec.stores.base import Store
from midwatch.spec.values import format_duration

FILE = "kubernetes/recovery-drills.yaml"
LABELS = {"app.kubernetes.io/name": "midwatch", "app.kubernetes.io/component": "recovery"}
GRACE_SECONDS = 120
"""A drill that is told to stop reverts its fault and stops what it started; that must not be cut short."""
SPARE_SECONDS = 600.0

Object = dict[str, Any]


def render_files(platform: model.Platform) -> dict[str, str]:
    """A service and a timer for every scheduled drill, for `systemctl enable --now`."""
    recovery = platform.disaster_recovery
    files: dict[str, str] = {}
    for drill in recovery.drills if recovery else []:
        if drill.schedule:
            files[f"systemd/midwatch-drill-{drill.name}.service"] = _service(drill)
            files[f"systemd/midwatch-drill-{drill.name}.timer"] = _timer(drill, drill.schedule)
    return files


def _service(drill: spec.Drill) -> str:
    command = (
        f"midwatch dr run {drill.name} -f /etc/midwatch/platform.yaml --evidence /var/lib/midwatch/recovery --json"
    )
    return systemd.service(f"Recovery drill {drill.name} of {drill.store}", command, grace_seconds=GRACE_SECONDS)


def _timer(drill: spec.Drill, schedule: str) -> str:
    description = f"Schedule of the recovery drill {drill.name}"
    return systemd.timer(description, schedule, spread_seconds=drill.spread, catches_up=True)


def render_kubernetes(platform: model.Platform) -> dict[str, str]:
    """The manifest of the CronJobs and recoverers, where the platform says in which namespace."""
    found = objects(platform)
    return {FILE: yamlfile.dump_all(found)} if found else {}


def objects(platform: model.Platform) -> list[Object]:
    """Service accounts, roles, CronJobs of the scheduled drills, and recoverers of stores with a lease there."""
    recovery = platform.disaster_recovery
    if recovery is None or recovery.kubernetes is None:
        return []
    settings, accounts = recovery.kubernetes, _Accounts(platform.platform, recovery.kubernetes)
    drills = [drill for drill in recovery.drills if drill.schedule]
    recovered = [store for store in recovery.stores if store.has_cluster_lease]
    drilled = [store for store in recovery.stores if store.name in {drill.store for drill in drills}]
    found = accounts.of(settings.service_account, _drill_rights(platform, settings, drilled))
    found += _restrictions(platform, settings, drilled)
    found += [_cron_job(platform, recovery, settings, drill) for drill in drills]
    found += accounts.of(settings.exporter_account, list(_looking_rights(recovery.stores)))
    if recovered:
        leases = [lease_name(platform.platform, store.name) for store in recovered]
        rules = [(settings.namespace, rule) for rule in _lease_rules(leases, RECOVERER_VERBS)]
        found += accounts.of(settings.recoverer_account, rules)
        found += [_recoverer(platform, settings, store) for store in recovered]
    return found


# Rights --------------------------------------------------------------------------------------------------------------


RECOVERER_VERBS = ["get", "update"]
DRILL_VERBS = ["get", "patch", "update"]
"""A drill's recoverer asks the one that holds the lease to step aside: by an annotation."""


def _lease_rules(names: list[str], verbs: list[str]) -> list[Object]:
    """Of the stores' own leases; a right to create cannot name what it creates (Kubernetes, "RBAC")."""
    group = "coordination.k8s.io"
    return [rbac.rule(group, "leases", verbs, sorted(names)), rbac.rule(group, "leases", ["create"])]


def _drill_rights(
    platform: model.Platform, settings: spec.Kubernetes, drilled: list[Store]
) -> list[tuple[str, Object]]:
    """Rules by namespace."""
    found: list[tuple[str, Object]] = []
    leases = [lease_name(platform.platform, one.name) for one in drilled if one.has_cluster_lease]
    if leases:
        found += [(settings.namespace, rule) for rule in _lease_rules(leases, DRILL_VERBS)]
    found += _experiments_lease(platform) if drilled else []
    return found + [_rule(right) for store in drilled for right in stores.kind_of(store).rights(store)]


def _restrictions(platform: model.Platform, settings: spec.Kubernetes, drilled: list[Store]) -> list[Object]:
    """What the drills' account is refused although its rights let it; nothing where they say it all."""
    demands = admission.any_of(one for store in drilled for one in stores.kind_of(store).demands(store))
    if not demands:
        return []
    account, namespace = settings.service_account, settings.namespace
    name = object_names.of_account_in_cluster(account, platform.platform, namespace)
    metadata = {"name": name, "labels": {**LABELS, object_names.PART_OF: platform.platform}}
    return admission.policy(metadata, account, namespace, demands)


def _experiments_lease(platform: model.Platform) -> list[tuple[str, Object]]:
    """The lease that experiments and drills share, in the experiments' namespace."""
    chaos = platform.chaos.kubernetes if platform.chaos else None
    return [] if chaos is None else [(chaos.namespace, rule) for rule in _lease_rules([LEASE_NAME], RECOVERER_VERBS)]


def _looking_rights(of_stores: Iterable[Store]) -> Iterator[tuple[str, Object]]:
    """What the recovery exporter may look at, by namespace."""
    return (_rule(right) for store in of_stores for right in stores.kind_of(store).looking_rights(store))


def _rule(right: Right) -> tuple[str, Object]:
    return right.namespace, rbac.rule(right.group, right.resource, right.verbs, right.names)


@dataclass(frozen=True)
class _Accounts:
    """Makes service accounts of a platform with their roles."""

    platform: str
    settings: spec.Kubernetes

    def of(self, account: str, rights: Sequence[tuple[str, Object]]) -> list[Object]:
        """An account, and a Role and its RoleBinding in every namespace that rights are needed in; none without."""
        objects = [rbac.service_account(_metadata(self.platform, account, self.settings.namespace))]
        for namespace in sorted({namespace for namespace, _ in rights}):
            # Two stores may need the same; a dict keeps the order and drops what is there twice.
            rules = list({str(rule): rule for where, rule in rights if where == namespace}.values())
            metadata = _metadata(self.platform, object_names.of_account(account, self.platform), namespace)
            objects += rbac.role(metadata, rules, account, self.settings.namespace)
        return objects


def _metadata(platform: str, name: str, namespace: str, labels: Mapping[str, str] = {}) -> Object:
    return {"name": name, "namespace": namespace, "labels": {**LABELS, object_names.PART_OF: platform, **labels}}


# Pods ----------------------------------------------------------------------------------------------------------------


def _recoverer(platform: model.Platform, settings: spec.Kubernetes, store: Store) -> Object:
    """Two replicas: one has the lease and recovers, the other waits for it."""
    own = {"app.kubernetes.io/component": "guard", "midwatch.dev/store": store.name}
    name = object_names.joined("guard", platform.platform, store.name)
    metadata = _metadata(platform.platform, name, settings.namespace, own)
    words = ["midwatch", "dr", "recoverer", "-f", "/etc/midwatch/platform.yaml", "--store", store.name]
    container = _container(settings, "guard", [*words, "--events", "/var/lib/midwatch"])
    pod = _pod(settings, container, {"emptyDir": {}}) | {"serviceAccountName": settings.recoverer_account}
    configuration = {pod_volumes.CHECKSUM: _digest(platform)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": dict(metadata["labels"])},
            "template": {"metadata": {"labels": dict(metadata["labels"]), "annotations": configuration}, "spec": pod},
        },
    }


def _digest(platform: model.Platform) -> str:
    """Digest of what the platform file says: a recoverer reads it only when it starts."""
    return hashlib.sha256(platform.model_dump_json().encode()).hexdigest()[:16]


def _pod(settings: spec.Kubernetes, container: Object, evidence: Object) -> Object:
    name = settings.config_map
    platform = [{"configMap": {"name": name}}, {"secret": {"name": name, "optional": True}}]
    return {
        "serviceAccountName": settings.service_account,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security.of_pod(),
        "containers": [container],
        # Connection strings are secret: files beside the platform file come from a Secret of the same name.
        "volumes": [
            {"name": "platform", "projected": {"sources": platform}},
            {"name": "evidence", **evidence},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _cron_job(
    platform: model.Platform, recovery: spec.DisasterRecovery, settings: spec.Kubernetes, drill: spec.Drill
) -> Object:
    name = object_names.joined("drill", platform.platform, drill.name, longest=object_names.CRON_JOB)
    metadata = _metadata(platform.platform, name, settings.namespace)
    longest = drill.spread + 2 * recovery.rto + SPARE_SECONDS
    claim = settings.evidence_claim
    volume = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    words = ["midwatch", "dr", "run", drill.name, "-f", "/etc/midwatch/platform.yaml"]
    words += ["--evidence", "/var/lib/midwatch", "--spread", format_duration(drill.spread), "--in-cluster", "--json"]
    pod = _pod(settings, _container(settings, "drill", words), volume) | {"restartPolicy": "Never"}
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": round(longest),
        "ttlSecondsAfterFinished": 86400,
        "template": {"metadata": {"labels": dict(metadata["labels"])}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": drill.schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }


def _container(settings: spec.Kubernetes, name: str, words: list[str]) -> Object:
    return {
        "name": name,
        "image": settings.image,
        "command": words,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": pod_security.of_container(),
        "volumeMounts": [
            {"name": "platform", "mountPath": "/etc/midwatch", "readOnly": True},
            {"name": "evidence", "mountPath": "/var/lib/midwatch"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an empty volume of the pod
        ],
    }
