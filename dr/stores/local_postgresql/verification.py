"""Restoring the newest good backup of a local store, to the end of the archive, and checking every page of it."""

from __future__ import annotations

import shutil

from dr import temporary
from dr.postgres import session
from dr.stores.kind import Restored
from dr.stores.local_postgresql import archive, backup, cluster, replay
from dr.stores.local_postgresql.archive import Archive
from dr.stores.local_postgresql.instance import Instance
from midwatch.ports import free_ports


def verify(source: cluster.Cluster, say: replay.Say) -> Restored:
    """Restore in a folder and on a port of its own; PostgresError when no backup can be."""
    good, flaws = backup.newest_good(source.backups, source.programs)
    with temporary.folder(keep=False, stop=cluster.stop_below) as home:
        (port,) = free_ports()
        target = Instance(
            programs=source.programs, name="verify", folder=home / "verify", port=port, password=source.password
        )
        target.prepare({"archive_mode": "off"})
        say(f"laying down {good.name} ({good.size / 2**20:.0f} MiB)")
        backup.restore(good, target, source.archive)
        target.skip_first_sync()
        newest = Archive(source.archive).newest()  # the primary goes on archiving beside the replay
        try:
            replay.follow(target, lambda: not target.is_standby(), say)
            end, timeline = archive.replayed(target)
            hole = Archive(source.archive).unseen(end, timeline, newest)
            say(f"replayed to {archive.written(end.until)}; checking every page")
            point, detail = _looked_at(target, good.finished)
        finally:
            target.stop()
            shutil.rmtree(target.folder, ignore_errors=True)
    return Restored(backup=good.name, point=point, unusable=tuple(flaws), detail=detail, holes=(hole,) if hole else ())


def _looked_at(target: Instance, finished: float) -> tuple[float, str]:
    database = target.conninfo(cluster.DATABASE)
    target.run("pg_amcheck", "--heapallindexed", database=cluster.DATABASE)
    ((content, replayed),) = session.ask(
        database,
        f"SELECT ({cluster.CONTENT}), extract(epoch FROM pg_last_xact_replay_timestamp())",  # noqa: S608 - ours
        timeout=60.0,
    )
    return float(replayed or finished), f"content {content}; pg_amcheck --heapallindexed"
