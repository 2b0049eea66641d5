"""Looks at the copies of a folder; what is not copied yet is what would be lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dr.samples import ARCHIVE, Sample
from dr.stores.files import copies
from midwatch import metrics


class FolderCollector:
    """Implements `samples.Collector`."""

    def __init__(self, store: str, backup: Path) -> None:
        self._store, self._backup = store, backup

    def collect(self, now: float) -> Iterator[Sample]:  # noqa: ARG002 - copies carry the time of day
        """Samples of one look; CopyError before the first copy."""
        known = copies.newest_first(self._backup)
        if not known:
            raise copies.CopyError(f"{self._backup} holds no copy")
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, time.time() - known[0].began
        yield metrics.DR_BACKUP_SIZE, {"store": self._store}, float(known[0].size)
        yield metrics.DR_BACKUP_LARGEST, {"store": self._store}, float(max(copy.size for copy in known))
        yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, known[0].began
