"""How far the standbys of a PostgreSQL server are behind, asked from the server itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dr.postgres import session
from dr.samples import Lag, Sample
from midwatch import metrics
from midwatch.errors import MidwatchError

WRITTEN = "(SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn)"
FLUSHED = "(SELECT max(flush_lsn - '0/0'::pg_lsn) FROM pg_stat_replication WHERE state IN ('streaming', 'catchup'))"
"""Positions, in bytes of WAL: of the server, and of the standby that has most."""


class StandbyCollector:
    """Implements `samples.Collector`. `connection` is asked for each time."""

    SQL = f"SELECT {WRITTEN}, {FLUSHED}, (SELECT count(*) FROM pg_stat_replication WHERE state IS NULL)"  # noqa: S608 - ours

    def __init__(self, store: str, connection: Callable[[], str]) -> None:
        self._store, self._connection, self._lag = store, connection, Lag()

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when the primary does not answer, or hides its standbys."""
        ((written, flushed, hidden),) = session.ask(self._connection(), self.SQL, timeout=2.0)
        if hidden != "0":
            # PostgreSQL shows empty columns to who may not see them: that is no standby that is lost.
            raise MidwatchError(f"{self._store}: its role may not see the standbys; grant it pg_monitor")
        labels = {"store": self._store, "region": "standby"}
        lag = self._lag.measure(now, int(float(written or 0)), int(float(flushed or 0)))
        yield metrics.DR_REPLICATION_LAG, labels, lag
        yield metrics.DR_STANDBY_CONNECTED, labels, float(flushed is not None)
