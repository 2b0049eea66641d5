"""One experiment at a time: on a machine by a lock that the kernel lets go, in a cluster by a Lease object."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from midwatch import kubernetes, processes
from midwatch.errors import Exit, MidwatchError

LEASE_NAME = "midwatch-chaos"
STOP_ANNOTATION = "midwatch.dev/chaos-stop"
FAULTS_ANNOTATION = "midwatch.dev/chaos-faults"
"""Faults that may be there, as JSON by their numbers: a node that dies with a runner takes its files along."""
LOOKED_AT_SECONDS = 0.2
"""Somebody who only looks whether the lock is held has it for a moment."""
LEASE_SECONDS = 60
"""A holder that has not renewed for so long is gone."""


class LeaseTakenError(MidwatchError):
    """Another experiment runs."""

    exit = Exit.INCONCLUSIVE


@contextmanager
def on_this_machine(file: Path) -> Iterator[int]:
    """Hold the lock of a file; its descriptor can be passed on, and then the lock is held until that one ends too.

    LeaseTakenError when somebody else holds it, MidwatchError when the file cannot be opened.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MidwatchError(f"{file}: {error.strerror}: the lock of experiments and drills") from error
    try:
        if not processes.wait_until(lambda: _has_locked(descriptor, fcntl.LOCK_EX), LOOKED_AT_SECONDS):
            raise LeaseTakenError(f"another experiment runs, or a drill: {file} is locked")
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(file: Path) -> bool:
    """Whether somebody holds the lock of a file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _has_locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def holders(file: Path) -> list[int]:
    """Processes, but this one, that have the lock's file open: who holds it, and who waits for it to be let go."""
    try:
        wanted = file.stat()
    except OSError:
        return []
    return sorted(pid for pid in processes.having_open(wanted.st_dev, wanted.st_ino) if pid != os.getpid())


def _has_locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class LeaseObject:
    """A Lease of coordination.k8s.io/v1: whoever writes it has seen what is there (optimistic locking).

    Methods raise what `kubernetes.request` raises, and LeaseTakenError when somebody else wrote at the same moment.
    """

    def __init__(self, namespace: str, name: str, timeout: float | None = None) -> None:
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path, self._namespace, self.name = f"{self._collection}/{name}", namespace, name
        self._timeout = timeout

    def found(self) -> kubernetes.Object | None:
        """The object; None when there is none."""
        return kubernetes.find(self._path, timeout=self._timeout)

    def create(self, spec: kubernetes.Object, annotations: dict[str, str] | None = None) -> kubernetes.Object:
        """Create it."""
        metadata = {"name": self.name, "namespace": self._namespace, "annotations": annotations or {}}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        return self._send("POST", self._collection, body)

    def replace(
        self, found: kubernetes.Object, spec: kubernetes.Object, annotations: dict[str, str] | None = None
    ) -> kubernetes.Object:
        """Write over what was found, and over nothing newer; annotations stay without new ones."""
        metadata = found["metadata"] | ({} if annotations is None else {"annotations": annotations})
        return self._send("PUT", self._path, found | {"metadata": metadata, "spec": spec})

    def annotate(self, name: str, text: str | None) -> None:
        """Set an annotation, whoever holds it; None removes it."""
        kubernetes.request("PATCH", self._path, body={"metadata": {"annotations": {name: text}}}, timeout=self._timeout)

    def _send(self, method: str, path: str, body: kubernetes.Object) -> kubernetes.Object:
        try:
            return kubernetes.request(method, path, body=body, timeout=self._timeout)
        except kubernetes.RefusedError as error:
            if error.status == 409:
                raise LeaseTakenError(f"somebody else took lease {self.name} at the same moment") from error
            raise


def now() -> str:
    """The time as a Lease has it (MicroTime), for people: deciding by it would trust other machines' clocks."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class ClusterLease:
    """A Lease of coordination.k8s.io/v1: taken, renewed and given back with optimistic locking."""

    def __init__(self, namespace: str, holder: str) -> None:
        self._lease, self._holder = LeaseObject(namespace, LEASE_NAME), holder

    def take(self) -> None:
        """Take it; LeaseTakenError when somebody else holds it and has renewed it lately."""
        found = self._lease.found()
        if found is None:
            self._create()
            return
        if holder := self._other_holder(found):
            raise LeaseTakenError(f"another experiment runs, or a drill: lease {LEASE_NAME} is held by {holder}")
        self._put(found, self._holder)

    def other_holder(self) -> str | None:
        """Who else holds it, and has renewed it lately."""
        found = self._lease.found()
        return None if found is None else self._other_holder(found)

    def _other_holder(self, found: kubernetes.Object) -> str | None:
        spec = found.get("spec", {})
        holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
        is_held = holder not in (None, "", self._holder) and renewed and _age(renewed) < spec["leaseDurationSeconds"]
        return str(holder) if is_held else None

    def renew(self) -> None:
        """Say that the holder is still there; LeaseTakenError when it no longer is the holder."""
        found = self._lease.found()
        if found is None or not self._is_mine(found):
            raise LeaseTakenError(f"lease {LEASE_NAME} was taken by somebody else")
        self._put(found, self._holder)

    def is_mine(self) -> bool:
        """Whether it still names this holder."""
        found = self._lease.found()
        return found is not None and self._is_mine(found)

    def _is_mine(self, found: kubernetes.Object) -> bool:
        return bool(found.get("spec", {}).get("holderIdentity") == self._holder)

    def give_back(self) -> None:
        """Let others have it."""
        found = self._lease.found()
        if found is not None and self._is_mine(found):
            self._put(found, "")

    def is_stopped(self) -> bool:
        """Whether the kill switch, an annotation of the lease, is set."""
        found = self._lease.found()
        return found is not None and bool(found["metadata"].get("annotations", {}).get(STOP_ANNOTATION))

    def set_stop(self, reason: str | None) -> None:
        """Set the kill switch, or lift it with None."""
        if self._lease.found() is None:
            self._create(holder="")
        self._lease.annotate(STOP_ANNOTATION, reason)

    def keep_fault(self, number: str, document: dict[str, Any]) -> None:
        """Note a fault before it is injected."""
        self._set_faults(self.kept_faults() | {number: document})

    def kept_faults(self) -> dict[str, Any]:
        """Faults that were noted and not forgotten."""
        found = self._lease.found()
        text = found["metadata"].get("annotations", {}).get(FAULTS_ANNOTATION) if found else None
        faults: dict[str, Any] = json.loads(text) if text else {}
        return faults

    def forget_faults(self) -> None:
        """Say that none is there any more."""
        if self.kept_faults():
            self._set_faults(None)

    def _set_faults(self, faults: dict[str, Any] | None) -> None:
        if self._lease.found() is None:
            self._create(holder="")
        text = None if faults is None else json.dumps(faults, sort_keys=True)
        self._lease.annotate(FAULTS_ANNOTATION, text)

    def _create(self, holder: str | None = None) -> None:
        self._lease.create(self._spec(self._holder if holder is None else holder))

    def _put(self, found: kubernetes.Object, holder: str) -> None:
        self._lease.replace(found, self._spec(holder))

    def _spec(self, holder: str) -> kubernetes.Object:
        moment = now()
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": moment,
            "acquireTime": moment,
        }


RENEW_SECONDS = LEASE_SECONDS / 4


@contextmanager
def held(lease: ClusterLease, on_loss: Callable[[str], None], renew_every: float = RENEW_SECONDS) -> Iterator[None]:
    """Take a cluster's lease, renew it beside whatever is done, and give it back.

    `on_loss` is told once it is somebody else's, or could not be renewed for as long as it is believed. Raises what
    `take` raises.
    """
    lease.take()
    ended = Event()
    keeper = Thread(target=_keep, args=(lease, ended, on_loss, renew_every), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        with suppress(MidwatchError):  # it ends by itself
            lease.give_back()


def _keep(lease: ClusterLease, ended: Event, on_loss: Callable[[str], None], renew_every: float) -> None:
    renewed = time.monotonic()
    while not ended.wait(renew_every):
        try:
            with suppress(LeaseTakenError):  # by who annotated it at the same moment
                lease.renew()
            if not lease.is_mine():
                on_loss(f"lease {LEASE_NAME} was taken by somebody else")
                return
            renewed = time.monotonic()
        except MidwatchError as error:
            if time.monotonic() - renewed + renew_every >= LEASE_SECONDS:
                on_loss(f"lease {LEASE_NAME} could not be renewed: {error}")
                return


def _age(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
