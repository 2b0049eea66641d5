"""Continuous verification: the newest backup is restored into an empty target and looked at, and that goes on record.

A backup that exists is a hope. What is known to be restorable is the newest point that was restored: its age is a gauge
and an alert.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dr import processes, targets
from dr.objects import copies
from dr.postgres import backup, cluster, session
from dr.postgres.instance import Instance
from dr.postgres.programs import PostgresError
from dr.records import Book
from midwatch.errors import MidwatchError
from midwatch.ports import free_ports
from midwatch.spec import dr as spec

RESTORE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was restored: from which backup, up to when (seconds since the epoch), how long it took, and what newer
    backups could not be used.
    """

    store: str
    backup: str
    point: float
    seconds: float
    unusable: tuple[str, ...]
    detail: str


def verify(store: spec.Store, base: Path, folder: Path | None, book: Book) -> Verified:
    """Restore the newest good backup of a store and keep the result; MidwatchError when none can be restored."""
    begun = time.monotonic()
    try:
        if store.local_postgresql:
            if folder is None:
                raise MidwatchError(f"{store.name} is a local store: say with --cluster where it runs")
            found = _postgresql(store.name, cluster.load(folder))
        elif store.files:
            found = _folder(store.name, base / store.files.backup)
        else:
            raise MidwatchError(
                f"{store.name}: its drills restore a store of kind {store.kind}; there is no verification"
            )
    except MidwatchError as error:
        book.log.append("restore-failed", store=store.name, reason=str(error))
        raise
    done = replace(found, seconds=round(time.monotonic() - begun, 3))
    book.log.append("restore-verified", **{name: _plain(value) for name, value in vars(done).items()})
    return done


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _folder(store: str, copies_folder: Path) -> Verified:
    good, flaws = copies.newest_good(copies_folder)
    with tempfile.TemporaryDirectory(prefix="midwatch-verify-") as scratch:
        copies.restore(good, Path(scratch) / "restored")
    detail = f"{len(good.digests)} files as they were copied"
    return Verified(
        store=store, backup=good.folder.name, point=good.began, seconds=0.0, unusable=tuple(flaws), detail=detail
    )


def _postgresql(store: str, source: cluster.Cluster) -> Verified:
    """Restore to the end of the archive in a folder and on a port of its own, and check every page."""
    good, flaws = backup.newest_good(source.backups, source.programs)
    with processes.folder(keep=False) as home:
        (port,) = free_ports()
        target = Instance(
            programs=source.programs, name="verify", folder=home / "verify", port=port, password=source.password
        )
        target.prepare({"archive_mode": "off"})
        backup.restore(good, target, source.archive)
        target.skip_first_sync()
        try:
            target.start()
            point, detail = _looked_at(target, good.finished)
        finally:
            target.stop()
            shutil.rmtree(target.folder, ignore_errors=True)
    return Verified(store=store, backup=good.name, point=point, seconds=0.0, unusable=tuple(flaws), detail=detail)


def _looked_at(target: Instance, finished: float) -> tuple[float, str]:
    deadline = time.monotonic() + RESTORE_SECONDS
    while target.is_standby():
        if time.monotonic() > deadline:
            raise PostgresError(f"the restore still replays after {RESTORE_SECONDS:g} s")
        time.sleep(0.05)
    database = target.conninfo(cluster.DATABASE)
    target.programs.run("pg_amcheck", "--heapallindexed", database)
    ((content, replayed),) = session.ask(
        database,
        f"SELECT ({targets.CONTENT}), extract(epoch FROM pg_last_xact_replay_timestamp())",  # noqa: S608 - ours
        timeout=60.0,
    )
    return float(replayed or finished), f"content {content}; pg_amcheck --heapallindexed"
