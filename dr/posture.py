"""Between drills: how far behind each store's second copy is, and what could be restored if it were lost now.

Lag is measured, not asked for: a standby that stopped silently goes on reporting that it is fine. Every look notes the
primary's position; the lag is the time since the last position that the standby, or the archive, has by now.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from dr import operators
from dr.objects import copies
from dr.postgres import backup, cluster, session
from dr.postgres.remote import Servers
from dr.records import Book
from midwatch import evidence, metrics
from midwatch.errors import MidwatchError
from midwatch.metrics import Metric
from midwatch.spec import dr as spec

Sample = tuple[Metric, dict[str, str], float]

ARCHIVE = "archive"
"""The region that stands for a store's WAL archive."""

REMEMBERED = 100_000


class Looker(Protocol):
    """Looks at one store."""

    def look(self, now: float) -> Iterator[Sample]:
        """Samples of one look at monotonic seconds; MidwatchError when the store cannot be looked at."""


@dataclass
class Lag:
    """Seconds of writes that a copy lacks, from positions seen over time."""

    _seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def look(self, now: float, primary: int, copy: int) -> float:
        """Note where both are (bytes of WAL); returns the lag in seconds, 0 when the copy has everything.

        >>> lag = Lag()
        >>> [lag.look(0.0, 10, 10), lag.look(1.0, 20, 10), lag.look(3.0, 30, 10), lag.look(4.0, 30, 30)]
        [0.0, 1.0, 3.0, 0.0]
        """
        if copy >= primary:
            self._seen.clear()
            self._seen.append((now, primary))
            return 0.0
        while len(self._seen) > 1 and self._seen[1][1] <= copy:
            self._seen.popleft()
        self._seen.append((now, primary))
        return now - self._seen[0][0]


class ClusterPosture:
    """Looks at a local store's cluster."""

    SQL = """
    SELECT (SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn),
      (SELECT max(flush_lsn - '0/0'::pg_lsn) FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')),
      (SELECT last_archived_wal FROM pg_stat_archiver),
      (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size')
    """

    def __init__(self, store: str, folder: Path) -> None:
        self._store, self._cluster = store, cluster.load(folder)
        self._standby, self._archive = Lag(), Lag()
        self._last = 0

    def look(self, now: float) -> Iterator[Sample]:
        """Samples of one look; SqlError when the store does not answer."""
        settings = self._cluster.settings
        ((written, flushed, archived, size),) = session.ask(self._cluster.client, self.SQL, timeout=2.0)
        position = int(float(written or 0))
        if settings.standby:
            region = self._other()
            lag = self._standby.look(now, position, int(float(flushed or 0)))
            yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": region}, lag
            yield metrics.DR_STANDBY_CONNECTED, {"store": self._store, "region": region}, float(flushed is not None)
        safe = _end_of(archived, int(size or 0))
        yield (
            metrics.DR_REPLICATION_LAG,
            {"store": self._store, "region": ARCHIVE},
            self._archive.look(now, position, safe),
        )
        yield from self._backups()

    def _other(self) -> str:
        from dr import endpoint

        primary = endpoint.route_of(self._cluster.folder)["region"]
        return next(region for region in cluster.REGIONS if region != primary)

    def _backups(self) -> Iterator[Sample]:
        found = backup.newest_first(self._cluster.backups)
        if found:
            yield metrics.DR_BACKUP_SIZE, {"store": self._store}, float(found[0].size)
            yield metrics.DR_BACKUP_LARGEST, {"store": self._store}, float(max(one.size for one in found))
            yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, found[0].finished


class StandbyPosture:
    """Looks at PostgreSQL that others run, from its primary: how far its standbys are behind."""

    SQL = """
    SELECT (SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn),
      (SELECT max(flush_lsn - '0/0'::pg_lsn) FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')),
      (SELECT count(*) FROM pg_stat_replication WHERE state IS NULL)
    """

    def __init__(self, store: str, connection: Callable[[], str]) -> None:
        self._store, self._connection, self._lag = store, connection, Lag()

    def look(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when the primary does not answer, or hides its standbys."""
        ((written, flushed, hidden),) = session.ask(self._connection(), self.SQL, timeout=2.0)
        if hidden != "0":
            # PostgreSQL shows empty columns to who may not see them: that is no standby that is lost.
            raise MidwatchError(f"{self._store}: its role may not see the standbys; grant it pg_monitor")
        labels = {"store": self._store, "region": "standby"}
        lag = self._lag.look(now, int(float(written or 0)), int(float(flushed or 0)))
        yield metrics.DR_REPLICATION_LAG, labels, lag
        yield metrics.DR_STANDBY_CONNECTED, labels, float(flushed is not None)


class CnpgPosture:
    """Looks at a cluster of CloudNativePG: at its standbys through the clients' endpoint, at its backups by the API."""

    EVERY_SECONDS = 30.0

    def __init__(self, store: str, settings: spec.CloudNativePg, base: Path) -> None:
        self._store, self._settings = store, settings
        self._standbys = StandbyPosture(store, lambda: operators.endpoint_of(settings, base))
        self._asked = float("-inf")
        self._newest: float | None = None

    def look(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when the primary does not answer.

        Of backups what was known last stays when the cluster does not answer, and 0 is published while none that is
        whole is known. Nothing is published for a cluster that has no backups at all: none were asked for.
        """
        yield from self._standbys.look(now)
        if now - self._asked > self.EVERY_SECONDS:
            self._newest = self._ask()
            self._asked = now
        if self._newest is not None:
            yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, self._newest

    def _ask(self) -> float | None:
        try:
            return operators.newest_database_backup(self._settings)
        except MidwatchError:
            return self._newest or 0.0


class FolderPosture:
    """Looks at the copies of a folder; what is not copied yet is what would be lost."""

    def __init__(self, store: str, backup: Path) -> None:
        self._store, self._backup = store, backup

    def look(self, now: float) -> Iterator[Sample]:  # noqa: ARG002 - copies carry the time of day
        """Samples of one look; none but the lag's before the first copy."""
        found = copies.newest_first(self._backup)
        if not found:
            raise copies.CopyError(f"{self._backup} holds no copy")
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, time.time() - found[0].began
        yield metrics.DR_BACKUP_SIZE, {"store": self._store}, float(found[0].size)
        yield metrics.DR_BACKUP_LARGEST, {"store": self._store}, float(max(copy.size for copy in found))
        yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, found[0].began


class VeleroPosture:
    """Looks at the backups of a schedule."""

    EVERY_SECONDS = 30.0

    def __init__(self, store: str, settings: spec.Velero) -> None:
        self._store, self._settings = store, settings
        self._asked, self._newest = float("-inf"), 0.0

    def look(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when there is no complete backup, or the cluster does not answer."""
        if now - self._asked > self.EVERY_SECONDS:
            self._newest = operators.newest_backup(self._settings)[0].started
            self._asked = now
        yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, self._newest
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, time.time() - self._newest


def lookers(recovery: spec.DisasterRecovery, base: Path, clusters: Mapping[str, Path]) -> dict[str, Looker]:
    """Whoever looks at the stores that can be looked at from here, by the stores' names."""
    found: dict[str, Looker] = {name: ClusterPosture(name, folder) for name, folder in clusters.items()}
    for store in recovery.stores:
        if store.files:
            found[store.name] = FolderPosture(store.name, base / store.files.backup)
        elif store.postgresql:
            found[store.name] = StandbyPosture(store.name, _always(Servers.read(store.postgresql, base).primary))
        elif store.cloudnative_pg:
            found[store.name] = CnpgPosture(store.name, store.cloudnative_pg, base)
        elif store.velero:
            found[store.name] = VeleroPosture(store.name, store.velero)
    return found


def _always(connection: str) -> Callable[[], str]:
    return lambda: connection


def _end_of(segment: str | None, size: int) -> int:
    """WAL position at which an archived segment ends: its name holds its number (PostgreSQL, "WAL Internals")."""
    name = (segment or "").partition(".")[0]
    if len(name) != 24 or size <= 0:
        return 0
    return (int(name[8:16], 16) * (2**32 // size) + int(name[16:24], 16) + 1) * size


# From the evidence ---------------------------------------------------------------------------------------------------


def objectives(recovery: spec.DisasterRecovery) -> Iterator[Sample]:
    """What is promised."""
    yield metrics.DR_OBJECTIVE, {"kind": "rto"}, recovery.rto
    yield metrics.DR_OBJECTIVE, {"kind": "rpo"}, recovery.rpo


def drills(recovery: spec.DisasterRecovery, book: Book) -> Iterator[Sample]:
    """The last run of every drill that the platform file has."""
    names = {(drill.name, drill.store) for drill in recovery.drills}
    last: dict[tuple[str, str], dict[str, Any]] = {}
    met: dict[tuple[str, str], float] = {}
    for result in book.results():
        key = (str(result["drill"]), str(result["store"]))
        if key in names:
            last[key] = result
            if result["verdict"] == "MET":
                met[key] = seconds_of(result["at"])
    for (drill, store), result in sorted(last.items()):
        labels = {"drill": drill, "store": store}
        for verdict in ("met", "breached", "inconclusive"):
            yield metrics.DR_DRILL_VERDICT, {**labels, "verdict": verdict}, float(result["verdict"].lower() == verdict)
        yield metrics.DR_DRILL_LAST_RUN, labels, seconds_of(result["at"])
        if result["rto_seconds"] is not None:
            yield metrics.DR_DRILL_RECOVERY, labels, result["rto_seconds"]
        if result["rpo_seconds"] is not None:
            yield metrics.DR_DRILL_DATA_LOSS, labels, result["rpo_seconds"]
    for (drill, store), at in sorted(met.items()):
        yield metrics.DR_DRILL_LAST_MET, {"drill": drill, "store": store}, at


def verified(book: Book, now: float) -> Iterator[Sample]:
    """Age of the newest point of each store that was restored and checked."""
    points: dict[str, float] = {}
    for record in evidence.read(book.log.path):
        if record.kind == "restore-verified":
            points[record.data["store"]] = max(points.get(record.data["store"], 0.0), record.data["point"])
    for store, point in sorted(points.items()):
        yield metrics.DR_RESTORABLE_AGE, {"store": store, "region": ARCHIVE}, max(0.0, now - point)


def seconds_of(text: str) -> float:
    """Seconds since the epoch of RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()


class Watch:
    """Everything that is published: the evidence, and the stores that can be looked at from here."""

    def __init__(self, recovery: spec.DisasterRecovery, book: Book, found: Mapping[str, Looker]) -> None:
        self._recovery, self._book, self._lookers = recovery, book, dict(found)

    def look(self) -> list[Sample]:
        """Samples of now; a store that does not answer says so."""
        found = [*objectives(self._recovery), *drills(self._recovery, self._book), *verified(self._book, time.time())]
        for name, looker in sorted(self._lookers.items()):
            try:
                samples = list(looker.look(time.monotonic()))
            except (MidwatchError, OSError):
                found.append((metrics.DR_STORE_ANSWERS, {"store": name}, 0.0))
            else:
                found += [*samples, (metrics.DR_STORE_ANSWERS, {"store": name}, 1.0)]
        return found
