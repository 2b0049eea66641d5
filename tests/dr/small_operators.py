"""Velero and CloudNativePG as far as drills see them: controllers of the same resources on a real API server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from midwatch import kubernetes
from midwatch.errors import MidwatchError
from tests.chaos.cluster import wait_until

VELERO = "/apis/velero.io/v1/namespaces/velero"
CLUSTERS = "/apis/postgresql.cnpg.io/v1/namespaces/ml"


def install() -> None:
    """Define the operators' resources, and wait until they are served."""
    for crd in yaml.safe_load_all((Path(__file__).parent / "operator_crds.yaml").read_text()):
        root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        kubernetes.request("POST", root, query={"fieldValidation": "Strict"}, body=crd)
    for path in (f"{VELERO}/backups", f"{VELERO}/restores", f"{CLUSTERS}/clusters", f"{CLUSTERS}/backups"):
        wait_until(lambda path=path: _is_served(path))  # type: ignore[misc]


def _is_served(path: str) -> bool:
    with suppress(MidwatchError):
        kubernetes.request("GET", path)
        return True
    return False


def moment(age: float = 0.0) -> str:
    """The time so many seconds ago, as resources have it."""
    return datetime.fromtimestamp(time.time() - age, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def looping(work: Callable[[], None]) -> Iterator[None]:
    """Something is done again and again, until the end; what the API server refuses is tried again."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(0.02):
            with suppress(MidwatchError):
                work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# Velero --------------------------------------------------------------------------------------------------------------


def backup(name: str, phase: str | None, *, age: float, schedule: str = "daily") -> None:
    """A backup that began so many seconds ago."""
    body: dict[str, Any] = {
        "apiVersion": "velero.io/v1",
        "kind": "Backup",
        "metadata": {"name": name, "labels": {"velero.io/schedule-name": schedule}},
        "spec": {},
    }
    if phase:
        body["status"] = {"phase": phase, "startTimestamp": moment(age), "progress": {"itemsBackedUp": 12}}
    kubernetes.request("POST", f"{VELERO}/backups", query={"fieldValidation": "Strict"}, body=body)


class Velero:
    """Restores whatever is asked for, with one outcome; `seen` are the restores as the API server has them."""

    def __init__(self, **outcome: Any) -> None:
        self.outcome = {"phase": "Completed", "progress": {"itemsRestored": 12, "totalItems": 12}} | outcome
        self.seen: list[dict[str, Any]] = []

    def once(self) -> None:
        for restore in kubernetes.request("GET", f"{VELERO}/restores")["items"]:
            phase = (restore.get("status") or {}).get("phase")
            if phase is None:
                self.seen.append(restore)
            # No status subresource: Velero patches the object itself.
            following = {"status": {"phase": "InProgress"} if phase is None else self.outcome}
            if phase in (None, "InProgress"):
                kubernetes.request("PATCH", f"{VELERO}/restores/{restore['metadata']['name']}", body=following)


# CloudNativePG -------------------------------------------------------------------------------------------------------


def clusters_of(namespace: str) -> str:
    return f"/apis/postgresql.cnpg.io/v1/namespaces/{namespace}"


def cluster(name: str = "features", *, namespace: str = "ml") -> None:
    """A cluster with a primary and a standby that is ready, or anew what it was."""
    body = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": name},
        "spec": {"instances": 2},
    }
    path = f"{clusters_of(namespace)}/clusters"
    with suppress(kubernetes.RefusedError):
        kubernetes.request("DELETE", f"{path}/{name}")
    kubernetes.request("POST", path, query={"fieldValidation": "Strict"}, body=body)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "ClusterIsReady",
        "message": "Cluster is Ready",
        "lastTransitionTime": moment(600),
    }
    other = ready | {"type": "ContinuousArchiving", "reason": "ContinuousArchivingSuccess", "message": "It works"}
    set_status(
        name,
        namespace=namespace,
        instances=2,
        currentPrimary=f"{name}-1",
        targetPrimary=f"{name}-1",
        phase="Cluster in healthy state",
        instancesStatus={"healthy": [f"{name}-1", f"{name}-2"]},
        conditions=[ready, other],
    )


def status_of(name: str = "features", *, namespace: str = "ml") -> dict[str, Any]:
    found: dict[str, Any] = kubernetes.request("GET", f"{clusters_of(namespace)}/clusters/{name}")["status"]
    return found


def set_status(name: str, *, namespace: str = "ml", **status: Any) -> None:
    kubernetes.request("PATCH", f"{clusters_of(namespace)}/clusters/{name}/status", body={"status": status})


class CloudNativePg:
    """Promotes the target primary by `promote`, and says that it is the current one, once it is."""

    def __init__(self, promote: Callable[[], None], name: str = "features") -> None:
        self._promote, self._name = promote, name

    def once(self) -> None:
        status = status_of(self._name)
        target = status["targetPrimary"]
        if target == status["currentPrimary"]:
            return
        self._promote()
        set_status(
            self._name, currentPrimary=target, currentPrimaryTimestamp=moment(), phase="Cluster in healthy state"
        )


def database_backup(name: str, phase: str | None, *, age: float, of: str = "features") -> None:
    """A backup of a cluster that ended so many seconds ago."""
    body = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {"name": name},
        "spec": {"cluster": {"name": of}},
    }
    path = f"{CLUSTERS}/backups"
    kubernetes.request("POST", path, query={"fieldValidation": "Strict"}, body=body)
    status = {"phase": phase, "startedAt": moment(age + 5), "stoppedAt": moment(age)}
    if phase:
        kubernetes.request("PATCH", f"{path}/{name}/status", body={"status": status})
