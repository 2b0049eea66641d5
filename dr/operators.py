"""Stores that an operator in a cluster recovers: Velero's restores and CloudNativePG's switchovers, by their resources.

The recoverer is the operator. What is added here is what it does not say: whether drills are allowed there, how old
the newest backup was, how long it took until everything was there, and whether what came back is whole.

Field names, phases and labels are those of Velero 1.18 (pkg/apis/velero/v1) and CloudNativePG 1.27 (api/v1).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.faults import Fault
from dr import targets
from dr.postgres import session
from dr.scene import Injury, NotReadyError
from dr.verdict import Check, Phase, Result, Verdict
from midwatch import kubernetes
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec

ALLOWED = "midwatch.dev/drills"
"""Label of a namespace that may be hurt; its value has to be `allowed`."""
POLL_SECONDS = 1.0
OBSERVABLE = "SELECT current_setting('server_version'), to_regclass('midwatch_drill.writes'), inet_server_port()"
TABLE = (
    "create it: CREATE SCHEMA midwatch_drill; CREATE TABLE midwatch_drill.writes (run text NOT NULL, "
    "seq bigint NOT NULL, checksum text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
)
ATTEMPTS = 5
"""An operator writes a status of its own every few seconds; so often in a row at the same moment is no accident."""

Object = dict[str, Any]


ENDED = ("Completed", "PartiallyFailed", "Failed", "FailedValidation")
"""Phases of a restore after which nothing follows (velero, pkg/apis/velero/v1/restore_types.go)."""


class OperatorError(MidwatchError):
    """An operator's resource is not there, or says that it failed."""


def ensure_allowed(namespace: str) -> None:
    """NotReadyError when a namespace does not carry the label that allows drills."""
    found = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}")
    if (found["metadata"].get("labels") or {}).get(ALLOWED) != "allowed":
        raise NotReadyError(
            f"namespace {namespace} does not allow drills: is it production? If it may be hurt, label it "
            f"{ALLOWED}=allowed"
        )


# Velero --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VeleroBackup:
    """A backup that Velero calls complete; times are seconds since the epoch."""

    name: str
    started: float
    items: int


def newest_backup(settings: spec.Velero) -> tuple[VeleroBackup, list[str]]:
    """The newest complete backup of a schedule, and what was wrong with those after it. OperatorError without one."""
    selector = {"labelSelector": f"velero.io/schedule-name={settings.schedule}"}
    found = kubernetes.request("GET", _velero(settings, "backups"), query=selector)["items"]
    flaws: list[str] = []
    # As Velero itself: not by creation, which is new for each backup that is synchronised from its storage
    # (velero, restore_controller.go, mostRecentCompletedBackup).
    for item in sorted(found, key=_started, reverse=True):
        status = item.get("status") or {}
        if status.get("phase") == "Completed" and status.get("startTimestamp"):
            progress = status.get("progress") or {}
            return VeleroBackup(
                name=item["metadata"]["name"],
                started=_started(item),
                items=int(progress.get("itemsBackedUp", 0)),
            ), flaws
        flaws.append(f"{item['metadata']['name']}: {status.get('phase', 'no phase')}")
    raise OperatorError(f"schedule {settings.schedule} has no complete backup: {'; '.join(flaws) or 'there is none'}")


def restore(
    settings: spec.Velero, backup: VeleroBackup, name: str, *, limit: float, wait: Callable[[float], None]
) -> Object:
    """Restore a backup into the empty restore namespace; its last status, which may be that it has not ended.

    Waits for its end for at most `limit` seconds. A failure is returned, not raised: it is judged. RefusedError and
    UnreachableError when it cannot be asked for.
    """
    body = {
        "apiVersion": "velero.io/v1",
        "kind": "Restore",
        "metadata": {"name": name, "namespace": settings.velero_namespace},
        "spec": {
            "backupName": backup.name,
            "includedNamespaces": [settings.namespace],
            "namespaceMapping": {settings.namespace: settings.restore_namespace},
        },
    }
    kubernetes.request("POST", _velero(settings, "restores"), body=body)
    deadline = time.monotonic() + limit
    while True:
        status = _restore_status(settings, name)
        if status.get("phase") in ENDED or "refused" in status or time.monotonic() >= deadline:
            return status
        wait(POLL_SECONDS)


def _restore_status(settings: spec.Velero, name: str) -> Object:
    """Status of a restore; `unknown`, in words, when the cluster does not say, `refused`, too, when it never will."""
    try:
        found: Object = kubernetes.request("GET", f"{_velero(settings, 'restores')}/{name}").get("status") or {}
    except kubernetes.RefusedError as error:
        return {"unknown": str(error), "refused": True}
    except kubernetes.UnreachableError as error:
        return {"unknown": str(error)}
    return found


def judge_restore(
    backup: VeleroBackup, status: Object, seconds: float, now: float, rto: float, rpo: float, flaws: list[str]
) -> Result:
    """A restore is met when it is complete, without errors, within the RTO, from a backup younger than the RPO."""
    breaches = []
    progress = status.get("progress") or {}
    restored = int(progress.get("itemsRestored", 0))
    ended = status.get("phase") in ENDED
    if ended and (status["phase"] != "Completed" or status.get("errors")):
        breaches.append(f"Velero says {status['phase']} with {status.get('errors', 0)} errors{_why(status)}")
    if seconds > rto and "unknown" not in status:
        breaches.append(f"{'RTO' if ended else 'not restored within'} {seconds:.1f} s, objective {rto:g} s")
    age = now - backup.started
    if age > rpo:
        breaches.append(f"the newest complete backup was {age:.0f} s old, objective {rpo:g} s")
    unclear = [] if restored else ["nobody can say how many items were restored"]
    if not ended:
        said = status.get("unknown") or f"Velero says {status.get('phase', 'nothing')}"
        unclear = [f"the restore did not end within the {seconds:.1f} s that were watched: {said}"]
    verdict = Verdict.BREACHED if breaches else Verdict.INCONCLUSIVE if unclear else Verdict.MET
    return Result(
        verdict=verdict,
        reasons=tuple(breaches + unclear),
        rto_seconds=seconds,
        rto_exceeds=not ended,
        rpo_seconds=age,
        rpo_is_bound=False,
        resolution_seconds=POLL_SECONDS,
        phases=(Phase(name="restore", at=seconds if ended else None, seconds=seconds if ended else None),),
        writes={"items_backed_up": backup.items, "items_restored": restored},
        notes=(*(f"not used: {one}" for one in flaws), *_warned(status)),
        checks=(
            Check(
                name="every item was restored without an error",
                holds=status["phase"] == "Completed" and not status.get("errors") if ended else None,
            ),
        ),
    )


def _why(status: Object) -> str:
    said = [
        *(status.get("validationErrors") or []),
        *([status["failureReason"]] if status.get("failureReason") else []),
    ]
    return f": {'; '.join(said)}" if said else ""


def _warned(status: Object) -> list[str]:
    """Velero warns of what it skipped, such as objects that were there already."""
    return [f"Velero warns {status['warnings']} times"] if status.get("warnings") else []


def _started(item: Object) -> float:
    """When a backup was started, seconds since the epoch; 0 for one that was not yet."""
    text = (item.get("status") or {}).get("startTimestamp")
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _velero(settings: spec.Velero, kind: str) -> str:
    return f"/apis/velero.io/v1/namespaces/{settings.velero_namespace}/{kind}"


# CloudNativePG -------------------------------------------------------------------------------------------------------


def instances(settings: spec.CloudNativePg) -> tuple[str, list[str]]:
    """The primary and the standbys that are ready. OperatorError when the cluster is not as it should be."""
    status = kubernetes.request("GET", _cluster(settings)).get("status") or {}
    primary = status.get("currentPrimary")
    ready = [name for name in (status.get("instancesStatus") or {}).get("healthy", []) if name != primary]
    if not primary or status.get("targetPrimary") != primary:
        raise OperatorError(f"{settings.cluster} is between two primaries: {status.get('phase', 'no phase')}")
    return str(primary), ready


def switch_over(settings: spec.CloudNativePg, target: str) -> None:
    """Ask the operator for another primary by the cluster's status, as `kubectl cnpg promote` does.

    The same fields and the same optimistic locking (cloudnative-pg, internal/cmd/plugin/promote/promote.go). Raises
    OperatorError when the instance is fenced, RefusedError when the operator goes on changing the status at the same
    moments.
    """
    for attempt in range(ATTEMPTS):
        found = kubernetes.request("GET", _cluster(settings))
        if {target, "*"} & _fenced(found):
            raise OperatorError(f"{target} is fenced and cannot be promoted")
        try:
            kubernetes.request("PATCH", f"{_cluster(settings)}/status", body=_promotion(found, target))
        except kubernetes.RefusedError as error:
            if error.status != 409 or attempt == ATTEMPTS - 1:
                raise
        else:
            return


def _fenced(cluster: Object) -> set[str]:
    """Instances that may not run PostgreSQL, by the annotation of `kubectl cnpg fencing`; `*` stands for all."""
    text = (cluster["metadata"].get("annotations") or {}).get("cnpg.io/fencedInstances") or "[]"
    return set(json.loads(text))


def _promotion(found: Object, target: str) -> Object:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    before = (found.get("status") or {}).get("conditions") or []
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
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
        "status": {
            "targetPrimary": target,
            "targetPrimaryTimestamp": now,
            "phase": "Switchover in progress",
            "phaseReason": f"Switching over to {target}",
            # A merge patch replaces a list; with the version that was read nobody's condition is lost.
            "conditions": [*(one for one in before if one["type"] != "Ready"), ready],
        },
    }


def _cluster(settings: spec.CloudNativePg) -> str:
    return f"/apis/postgresql.cnpg.io/v1/namespaces/{settings.namespace}/clusters/{settings.cluster}"


def endpoint_of(settings: spec.CloudNativePg, base: Path) -> str:
    """Connection string of the clients' endpoint, from its file; NotReadyError when that cannot be read."""
    path = base / settings.endpoint_file
    try:
        return path.read_text().strip()
    except OSError as error:
        raise NotReadyError(f"{path}: {error.strerror}; it holds the connection string") from error


def newest_database_backup(settings: spec.CloudNativePg) -> float | None:
    """When the newest complete backup of a cluster ended, seconds since the epoch; 0 when none is, None without any.

    From the Backup resources: the cluster's own `lastSuccessfulBackup` is not set by backup plugins, and deprecated
    (cloudnative-pg, api/v1/cluster_types.go).
    """
    path = f"/apis/postgresql.cnpg.io/v1/namespaces/{settings.namespace}/backups"
    found = kubernetes.request("GET", path)["items"]
    mine = [one.get("status") or {} for one in found if one["spec"]["cluster"]["name"] == settings.cluster]
    ended = [one["stoppedAt"] for one in mine if one.get("phase") == "completed" and one.get("stoppedAt")]
    return max((datetime.fromisoformat(text).timestamp() for text in ended), default=0.0) if mine else None


@dataclass(frozen=True, kw_only=True)
class CnpgSwitchover(Fault):
    """A switchover of a CloudNativePG cluster; `target` is NAMESPACE/CLUSTER, `was` the primary, `to` the next one."""

    was: str
    to: str
    endpoint_file: str

    @property
    def _settings(self) -> spec.CloudNativePg:
        namespace, _, name = self.target.partition("/")
        return spec.CloudNativePg(namespace=namespace, cluster=name, endpoint_file=Path(self.endpoint_file))

    def inject(self) -> None:
        """Ask the operator for it."""
        switch_over(self._settings, self.to)

    def is_effective(self) -> bool:
        """The operator has taken it up: it works on another primary than before."""
        status = kubernetes.request("GET", _cluster(self._settings)).get("status") or {}
        return status.get("targetPrimary") == self.to

    def revert(self) -> None:
        """Nothing of it stays: the cluster is whole with either primary."""

    def is_reverted(self) -> bool:
        """Nothing of it stays."""
        return True

    def describe(self) -> str:
        """In a line."""
        return f"switchover from {self.was} to {self.to}"


class CnpgScene:
    """Implements `scene.Scene` for a cluster of CloudNativePG; its operator is the recoverer."""

    def __init__(self, store: spec.Store, platform_file: Path) -> None:
        if store.cloudnative_pg is None:
            raise AssertionError("the caller looked at the store's kind")
        self._settings, self._base = store.cloudnative_pg, platform_file.parent
        self._path = self._base / store.cloudnative_pg.endpoint_file
        self._primary, self._version = "", ""

    def start(self) -> None:
        """Look whether drills are allowed and a standby is ready; NotReadyError otherwise."""
        ensure_allowed(self._settings.namespace)
        self._primary, standbys = instances(self._settings)
        if not standbys:
            raise NotReadyError(f"{self._settings.cluster} has no standby that is ready")
        self._to = standbys[0]
        self._endpoint = endpoint_of(self._settings, self._base)
        self._version = self._ensure_observable()

    def _ensure_observable(self) -> str:
        """The version of a database that the observer can write to; NotReadyError when it cannot."""
        try:
            ((version, table, port),) = session.ask(self._endpoint, OBSERVABLE, timeout=5.0)
        except session.SqlError as error:
            raise NotReadyError(f"{self._settings.cluster} does not answer: {error}") from error
        if table is None:
            raise NotReadyError(f"{self._path}: the table for the observer's writes is missing there; {TABLE}")
        if port is None:
            raise NotReadyError(f"{self._path} leads to a socket file: nobody can tell which server answers there")
        return str(version)

    def target(self) -> dict[str, Any]:
        """The database, through the cluster's service."""
        return {"kind": "postgresql", "conninfo": self._endpoint, "timeout": 1.0, "content": None}

    def guard(self, events: Path) -> Sequence[str] | None:  # noqa: ARG002 - the operator's own
        """The operator's own."""
        return None

    def watched(self, events: Path) -> Path | None:  # noqa: ARG002 - see above
        """An operator keeps no events of this kind."""
        return None

    def prepare(self, warmup: float) -> float:
        """As asked."""
        return warmup

    def injury(self) -> Injury:
        """A switchover to the first standby that is ready.

        The old primary goes on taking writes until it is told; the recovery is the first write that another one takes.
        """
        name = f"{self._settings.namespace}/{self._settings.cluster}"
        fault = CnpgSwitchover(target=name, was=self._primary, to=self._to, endpoint_file=str(self._path))
        old = targets.server_of(self._endpoint, timeout=5.0)
        return Injury(fault=fault, silences=False, old=old)

    def is_redundant(self) -> bool | None:
        """Whether a standby is ready again."""
        try:
            return bool(instances(self._settings)[1])
        except OperatorError:
            return False

    def checks(self) -> list[Check]:
        """The new primary is the one that was asked for."""
        name = "the operator has settled on the new primary"
        try:
            now, _ = instances(self._settings)
        except MidwatchError as error:
            return [Check(name=name, holds=None, detail=str(error))]
        return [Check(name=name, holds=now == self._to, detail=now)]

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self._version}

    def stop(self) -> None:
        """Nothing was started."""


def drill_velero(
    settings: spec.Velero, number: str, *, rto: float, rpo: float, limit: float, say: Callable[[str], None]
) -> Result:
    """Restore the newest complete backup of a namespace into the empty restore namespace, and judge that."""
    begun, now = time.monotonic(), time.time()
    backup, flaws = newest_backup(settings)
    say(f"restoring {backup.name} into {settings.restore_namespace}")
    status = restore(settings, backup, number.lower(), limit=limit, wait=time.sleep)
    return judge_restore(backup, status, time.monotonic() - begun, now, rto, rpo, flaws)


def ensure_restorable(settings: spec.Velero) -> None:
    """NotReadyError when the restore namespace does not allow drills, or is not empty."""
    ensure_allowed(settings.restore_namespace)
    _ensure_empty(settings.restore_namespace)


def _ensure_empty(namespace: str) -> None:
    """A restore goes into an empty target: Velero leaves what is there as it is, and it would be taken for restored."""
    for kind in ("apps/v1/deployments", "apps/v1/statefulsets", "v1/pods", "v1/persistentvolumeclaims"):
        group, _, plural = kind.rpartition("/")
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if kubernetes.request("GET", f"{root}/namespaces/{namespace}/{plural}")["items"]:
            raise NotReadyError(f"namespace {namespace} is not empty: {plural}; a restore goes into an empty one")
