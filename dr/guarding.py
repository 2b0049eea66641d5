"""Which recovery a guard carries out, one per kind of store, and under which lease."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.lease import LeaseObject
from dr.cluster_lease import REQUEST_SECONDS, ClusterLease
from dr.commands import CommandsRecovery
from dr.guard import Recovery
from dr.lease import FileLease, Lease
from dr.objects.recovery import FolderRecovery
from dr.postgres import cluster
from dr.postgres.recovery import ClusterRecovery
from dr.postgres.remote import RemoteRecovery, Servers
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import model as platforms

COMMAND_SECONDS = 5.0
"""A command starts a program; it may take longer than a check of a database."""


def recovery_of(
    settings: spec.DisasterRecovery, store: spec.Store, platform_file: Path, folder: Path | None
) -> tuple[Recovery, Path]:
    """The recovery of a store, and the folder of its lease. MidwatchError when it is nobody's to recover here."""
    if store.local_postgresql:
        if folder is None:
            raise MidwatchError(f"{store.name} is a local store: say with --cluster where it runs")
        found = cluster.load(folder)
        if found.settings.store != store.name:
            raise MidwatchError(f"{folder} holds the store {found.settings.store!r}, not {store.name!r}")
        return ClusterRecovery(cluster=found, rpo=settings.rpo_of(store), timeout=settings.guard.timeout), folder
    base = platform_file.resolve().parent
    if store.files:
        backup = base / store.files.backup
        return FolderRecovery(
            source=base / store.files.source, backup=backup, interval=store.files.interval, keep=store.files.keep
        ), backup
    if store.postgresql:
        remote = RemoteRecovery(
            servers=Servers.read(store.postgresql, base),
            commands=store.postgresql.commands,
            rpo=settings.rpo_of(store),
            timeout=settings.guard.timeout,
        )
        return remote, base / ".midwatch" / store.name
    if store.commands:
        commands = CommandsRecovery(commands=store.commands, timeout=max(settings.guard.timeout, COMMAND_SECONDS))
        return commands, base / ".midwatch" / store.name
    raise MidwatchError(
        f"{store.name}: a store of kind {store.kind} recovers by its own operator; nothing to guard here"
    )


@contextmanager
def leased(
    platform: platforms.Platform, store: spec.Store, folder: Path, *, local: bool, urgent: bool
) -> Iterator[Lease]:
    """The lease of a store: in the cluster for what guards there guard, unless `local`; else on a file in the folder.

    In the cluster it is waited for; `urgent` asks the holder to step aside. LeaseHeldError when another guard of this
    machine has it, UnreachableError and RefusedError when the cluster does not answer or forbids it.
    """
    settings = platform.disaster_recovery.kubernetes if platform.disaster_recovery else None
    if local or settings is None or not is_guarded_in_cluster(store):
        with FileLease(folder, f"midwatch dr guard {store.name}") as lease:
            yield lease
        return
    found = LeaseObject(settings.namespace, lease_name(platform.platform, store.name), timeout=REQUEST_SECONDS)
    with ClusterLease(found, f"{socket.gethostname()}_{uuid.uuid4()}") as held:
        held.take(urgent=urgent)
        yield held


def is_guarded_in_cluster(store: spec.Store) -> bool:
    """Whether guards in several places can reach a store, so that their lease has to be the cluster's."""
    return store.postgresql is not None or store.commands is not None


def lease_name(platform: str, store: str) -> str:
    """Name of a store's Lease."""
    return f"midwatch-guard-{platform}-{store}"
