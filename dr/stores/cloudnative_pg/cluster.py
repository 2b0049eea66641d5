"""A cluster of CloudNativePG by its resources: instances, switchovers, backups. The recoverer is the operator.

Field names, phases and labels are those of CloudNativePG 1.27 (api/v1).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chaos.faults import Fault
from dr.stores.namespaces import OperatorError
from dr.stores.setup import NotReadyError
from midwatch import kubernetes
from midwatch.kubernetes import Object
from midwatch.spec.stores.cloudnative_pg import CloudNativePg

ATTEMPTS = 5
"""An operator writes a status of its own every few seconds; so often in a row at the same moment is no accident."""


def instances(settings: CloudNativePg) -> tuple[str, list[str]]:
    """The primary and the standbys that are ready. OperatorError when the cluster is not as it should be."""
    status = kubernetes.request("GET", _path(settings)).get("status") or {}
    primary = status.get("currentPrimary")
    ready = [name for name in (status.get("instancesStatus") or {}).get("healthy", []) if name != primary]
    if not primary or status.get("targetPrimary") != primary:
        raise OperatorError(f"{settings.cluster} is between two primaries: {status.get('phase', 'no phase')}")
    return str(primary), ready


def switch_over(settings: CloudNativePg, target: str) -> None:
    """Ask the operator for another primary by the cluster's status, as `kubectl cnpg promote` does.

    The same fields and the same optimistic locking (cloudnative-pg, internal/cmd/plugin/promote/promote.go). Raises
    OperatorError when the instance is fenced, RefusedError when the operator goes on changing the status at the same
    moments.
    """
    for attempt in range(ATTEMPTS):
        resource = kubernetes.request("GET", _path(settings))
        if {target, "*"} & _fenced(resource):
            raise OperatorError(f"{target} is fenced and cannot be promoted")
        try:
            kubernetes.request("PATCH", f"{_path(settings)}/status", body=_promotion(resource, target))
        except kubernetes.RefusedError as error:
            if error.status != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _fenced(cluster: Object) -> set[str]:
    """Instances that may not run PostgreSQL, by the annotation of `kubectl cnpg fencing`; `*` stands for all."""
    text = (cluster["metadata"].get("annotations") or {}).get("cnpg.io/fencedInstances") or "[]"
    return set(json.loads(text))


def _promotion(resource: Object, target: str) -> Object:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    before = (resource.get("status") or {}).get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in before)
    since = next((one["lastTransitionTime"] for one in before if one["type"] == "Ready" and not is_ready), None)
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "ClusterIsNotReady",
        "message": "Cluster Is Not Ready",
        "lastTransitionTime": since or now[:19] + "Z",
    }
    return {
        "metadata": {"resourceVersion": resource["metadata"]["resourceVersion"]},
        "status": {
            "targetPrimary": target,
            "targetPrimaryTimestamp": now,
            "phase": "Switchover in progress",
            "phaseReason": f"Switching over to {target}",
            # A merge patch replaces a list; with the version that was read nobody's condition is lost.
            "conditions": [*(one for one in before if one["type"] != "Ready"), ready],
        },
    }


def _path(settings: CloudNativePg) -> str:
    return f"/apis/postgresql.cnpg.io/v1/namespaces/{settings.namespace}/clusters/{settings.cluster}"


def endpoint_of(settings: CloudNativePg, base: Path) -> str:
    """Connection string of the clients' endpoint, from its file; NotReadyError when that cannot be read."""
    path = base / settings.endpoint_file
    try:
        return path.read_text().strip()
    except OSError as error:
        raise NotReadyError(f"{path}: {error.strerror}; it holds the connection string") from error


def newest_database_backup(settings: CloudNativePg) -> float | None:
    """When the newest complete backup of a cluster ended, seconds since the epoch; 0 when none is, None without any.

    From the Backup resources: the cluster's own `lastSuccessfulBackup` is not set by backup plugins, and deprecated
    (cloudnative-pg, api/v1/cluster_types.go).
    """
    path = f"/apis/postgresql.cnpg.io/v1/namespaces/{settings.namespace}/backups"
    backups = kubernetes.request("GET", path)["items"]
    mine = [one.get("status") or {} for one in backups if one["spec"]["cluster"]["name"] == settings.cluster]
    ended = [one["stoppedAt"] for one in mine if one.get("phase") == "completed" and one.get("stoppedAt")]
    return max((datetime.fromisoformat(text).timestamp() for text in ended), default=0.0) if mine else None


@dataclass(frozen=True, kw_only=True)
class CloudNativePgSwitchover(Fault):
    """A switchover of a CloudNativePG cluster; `target` is NAMESPACE/CLUSTER, `was` the primary, `to` the next one."""

    was: str
    to: str
    endpoint_file: str

    @property
    def _settings(self) -> CloudNativePg:
        namespace, _, name = self.target.partition("/")
        return CloudNativePg(namespace=namespace, cluster=name, endpoint_file=Path(self.endpoint_file))

    def inject(self) -> None:
        """Ask the operator for it."""
        switch_over(self._settings, self.to)

    def is_effective(self) -> bool:
        """The operator has taken it up: it works on another primary than before."""
        status = kubernetes.request("GET", _path(self._settings)).get("status") or {}
        return status.get("targetPrimary") == self.to

    def revert(self) -> None:
        """Nothing of it stays: the cluster is whole with either primary."""

    def is_reverted(self) -> bool:
        """Nothing of it stays."""
        return True

    def describe(self) -> str:
        """In a line."""
        return f"switchover from {self.was} to {self.to}"
