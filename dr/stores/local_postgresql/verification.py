"""Restoring the newest good backup of a local store, to the end of the archive, and checking every page of it."""

from __future__ import annotations

import shutil
import time

from dr import temporary
from dr.postgres import session
from dr.stores.kind import Restored
from dr.stores.local_postgresql import backup, cluster
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError
from midwatch.ports import free_ports

RESTORE_SECONDS = 3600.0


def verify(source: cluster.Cluster) -> Restored:
    """Restore in a folder and on a port of its own; PostgresError when no backup can be."""
    good, flaws = backup.newest_good(source.backups, source.programs)
    with temporary.folder(keep=False, stop=cluster.stop_below) as home:
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
    return Restored(backup=good.name, point=point, unusable=tuple(flaws), detail=detail)


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
        f"SELECT ({cluster.CONTENT}), extract(epoch FROM pg_last_xact_replay_timestamp())",  # noqa: S608 - ours
        timeout=60.0,
    )
    return float(replayed or finished), f"content {content}; pg_amcheck --heapallindexed"
