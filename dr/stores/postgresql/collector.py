"""Looks at a PostgreSQL that others run: the standby's lag, by whichever server is the primary, or that both are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dr import split_brain
from dr.postgres.standby import StandbyCollector
from dr.samples import Sample
from dr.stores.postgresql.servers import Servers, is_standby
from midwatch import metrics

ASK_SECONDS = 2.0


class ServersCollector:
    """Implements `samples.Collector`; `folder` is the recoverer's, where it runs on this machine."""

    def __init__(self, store: str, servers: Servers, folder: Path) -> None:
        self._store, self._servers, self._folder = store, servers, folder
        self._primary = servers.primary
        self._standby = StandbyCollector(store, lambda: self._primary)
        self._seen = 0.0

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when no primary answers."""
        both = (self._servers.primary, self._servers.standby)
        primaries = [one for one in both if is_standby(one, timeout=ASK_SECONDS) is False]
        if len(primaries) > 1:
            self._seen = time.time()
        elif primaries:
            (self._primary,) = primaries
        yield from self._standby.collect(now)
        seen = max(self._seen, split_brain.last_seen(self._folder))
        yield metrics.DR_SPLIT_BRAIN_SEEN, {"store": self._store}, seen
