"""Looks at a local store: the lag of its standby and of its archive, and its backups."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dr import split_brain
from dr.drill.client import RequestError
from dr.postgres import session
from dr.postgres.standby import FLUSHED, WRITTEN
from dr.samples import ARCHIVE, Lag, Sample
from dr.stores.local_postgresql import archive, backup, cluster, endpoint
from dr.stores.local_postgresql.archive import Archive
from midwatch import metrics


class LocalCollector:
    """Implements `samples.Collector`."""

    SQL = f"""SELECT {WRITTEN}, {FLUSHED}, (SELECT last_archived_wal FROM pg_stat_archiver),
      (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')"""  # noqa: S608 - ours

    def __init__(self, store: str, folder: Path) -> None:
        self._store, self._cluster = store, cluster.load(folder)
        self._standby, self._archive = Lag(), Lag()
        self._seen = 0.0
        self._segments = Archive(self._cluster.archive)

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look; RequestError when the store does not answer."""
        ((written, flushed, archived, size),) = session.ask(self._cluster.client, self.SQL, timeout=2.0)
        position = int(float(written or 0))
        if self._cluster.settings.standby:
            labels = {"store": self._store, "region": self._other()}
            lag = self._standby.measure(now, position, int(float(flushed or 0)))
            yield metrics.DR_REPLICATION_LAG, labels, lag
            yield metrics.DR_STANDBY_CONNECTED, labels, float(flushed is not None)
            yield metrics.DR_SPLIT_BRAIN_SEEN, {"store": self._store}, self._split_brain_seen()
        lag = self._archive.measure(now, position, end_of(archived, int(size or 0)))
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, lag
        yield from self._backups()

    def _split_brain_seen(self) -> float:
        """By the recoverer, or by a look now: both servers may be watched by nobody else."""
        try:
            is_primary = not self._cluster.server(self._other()).is_standby(timeout=1.0)
        except RequestError:
            is_primary = False
        if is_primary:
            self._seen = time.time()
        return max(self._seen, split_brain.last_seen(self._cluster.folder))

    def _other(self) -> str:
        primary = endpoint.route_of(self._cluster.folder)["region"]
        return next(region for region in cluster.REGIONS if region != primary)

    def _backups(self) -> Iterator[Sample]:
        backups = backup.newest_first(self._cluster.backups)
        failing = backup.failure(self._cluster.backups) is not None
        yield metrics.DR_BACKUP_FAILING, {"store": self._store}, float(failing)
        if backups:
            flaws = self._segments.flaws(archive.begin_of(backups[0].folder))
            yield metrics.DR_ARCHIVE_FLAWS, {"store": self._store}, float(len(flaws))
            yield metrics.DR_BACKUP_SIZE, {"store": self._store}, float(backups[0].size)
            yield metrics.DR_BACKUP_LARGEST, {"store": self._store}, float(max(one.size for one in backups))
            yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, backups[0].finished


def end_of(segment: str | None, size: int) -> int:
    """WAL position at which an archived segment ends: its name holds its number (PostgreSQL, "WAL Internals").

    >>> end_of("000000010000000000000002", 16 * 2**20) == 3 * 16 * 2**20
    True
    """
    name = (segment or "").partition(".")[0]
    if len(name) != 24 or size <= 0:
        return 0
    return (int(name[8:16], 16) * (2**32 // size) + int(name[16:24], 16) + 1) * size
