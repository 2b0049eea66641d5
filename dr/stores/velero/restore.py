"""Restoring a Velero backup, and judging that. Velero does it; added is what it does not say: how old the newest backup
was, how long it took until everything was there, and whether what came back is whole.

Field names, phases and labels are those of Velero 1.18 (pkg/apis/velero/v1).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dr.drill.verdict import Check, Objectives, Phase, Result, Verdict
from dr.stores import namespaces
from dr.stores.namespaces import OperatorError
from dr.stores.setup import NotReadyError, RestoreDrill
from midwatch import kubernetes
from midwatch.kubernetes import Object
from midwatch.spec.stores.velero import Velero

POLL_SECONDS = 1.0

ENDED = ("Completed", "PartiallyFailed", "Failed", "FailedValidation")
"""Phases of a restore after which nothing follows (velero, pkg/apis/velero/v1/restore_types.go)."""


@dataclass(frozen=True, kw_only=True)
class VeleroBackup:
    """A backup that Velero calls complete; times are seconds since the epoch."""

    name: str
    started: float
    items: int


def newest_backup(settings: Velero) -> tuple[VeleroBackup, list[str]]:
    """The newest complete backup of a schedule, and what was wrong with those after it. OperatorError without one."""
    selector = {"labelSelector": f"velero.io/schedule-name={settings.schedule}"}
    backups = kubernetes.request("GET", _path(settings, "backups"), query=selector)["items"]
    flaws: list[str] = []
    # As Velero itself: not by creation, which is new for each backup that is synchronised from its storage
    # (velero, restore_controller.go, mostRecentCompletedBackup).
    for item in sorted(backups, key=_started, reverse=True):
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
    settings: Velero, backup: VeleroBackup, name: str, *, limit: float, wait: Callable[[float], None]
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
    kubernetes.request("POST", _path(settings, "restores"), body=body)
    deadline = time.monotonic() + limit
    while True:
        status = _restore_status(settings, name)
        if status.get("phase") in ENDED or "refused" in status or time.monotonic() >= deadline:
            return status
        wait(POLL_SECONDS)


def _restore_status(settings: Velero, name: str) -> Object:
    """Status of a restore; `unknown`, in words, when the cluster does not say, `refused`, too, when it never will."""
    try:
        status: Object = kubernetes.request("GET", f"{_path(settings, 'restores')}/{name}").get("status") or {}
    except kubernetes.RefusedError as error:
        return {"unknown": str(error), "refused": True}
    except kubernetes.UnreachableError as error:
        return {"unknown": str(error)}
    return status


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


def _path(settings: Velero, kind: str) -> str:
    return f"/apis/velero.io/v1/namespaces/{settings.velero_namespace}/{kind}"


# The drill -----------------------------------------------------------------------------------------------------------


class VeleroDrill(RestoreDrill):
    """Restores the newest complete backup of a namespace into the empty restore namespace."""

    def __init__(self, settings: Velero) -> None:
        self._settings = settings
        self.what = f"restore of the newest backup of {settings.namespace} into {settings.restore_namespace}"

    def start(self) -> None:
        """NotReadyError when the restore namespace does not allow drills, or is not empty."""
        namespaces.ensure_allowed(self._settings.restore_namespace)
        _ensure_empty(self._settings.restore_namespace)

    def restore(self, run: str, objectives: Objectives, say: Callable[[str], None]) -> Result:
        """Restore, wait for its end, and judge that."""
        begun, now = time.monotonic(), time.time()
        backup, flaws = newest_backup(self._settings)
        say(f"restoring {backup.name} into {self._settings.restore_namespace}")
        status = restore(self._settings, backup, run.lower(), limit=objectives.limit, wait=time.sleep)
        return judge_restore(backup, status, time.monotonic() - begun, now, objectives.rto, objectives.rpo, flaws)


def _ensure_empty(namespace: str) -> None:
    """A restore goes into an empty target: Velero leaves what is there as it is, and it would be taken for restored."""
    for kind in ("apps/v1/deployments", "apps/v1/statefulsets", "v1/pods", "v1/persistentvolumeclaims"):
        group, _, plural = kind.rpartition("/")
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if kubernetes.request("GET", f"{root}/namespaces/{namespace}/{plural}")["items"]:
            raise NotReadyError(f"namespace {namespace} is not empty: {plural}; a restore goes into an empty one")
