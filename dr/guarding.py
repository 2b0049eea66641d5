"""Which recovery a guard carries out: one per kind of store."""

from __future__ import annotations

from pathlib import Path

from dr.commands import CommandsRecovery
from dr.guard import Recovery
from dr.objects.recovery import FolderRecovery
from dr.postgres import cluster
from dr.postgres.recovery import ClusterRecovery
from dr.postgres.remote import RemoteRecovery, Servers
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec

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
        ), _made(backup)
    if store.postgresql:
        remote = RemoteRecovery(
            servers=Servers.read(store.postgresql, base), commands=store.postgresql.commands,
            rpo=settings.rpo_of(store), timeout=settings.guard.timeout,
        )  # fmt: skip
        return remote, _made(base / ".midwatch" / store.name)
    if store.commands:
        commands = CommandsRecovery(commands=store.commands, timeout=max(settings.guard.timeout, COMMAND_SECONDS))
        return commands, _made(base / ".midwatch" / store.name)
    raise MidwatchError(
        f"{store.name}: a store of kind {store.kind} recovers by its own operator; nothing to guard here"
    )


def _made(folder: Path) -> Path:
    """The folder of a lease, the same for every guard of the store on whatever behalf."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
