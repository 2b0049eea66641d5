"""Looks at a folder and its copies: what is not copied yet would be lost, and what changed has to be explained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dr.samples import ARCHIVE, Sample
from dr.stores.files import copies
from dr.stores.files.condition import Watch
from midwatch import metrics


class FolderCollector:
    """Implements `samples.Collector`."""

    def __init__(self, store: str, source: Path, backup: Path) -> None:
        self._store, self._backup, self._watch = store, backup, Watch(source)

    def collect(self, now: float) -> Iterator[Sample]:  # noqa: ARG002 - copies carry the time of day
        """Samples of one look; CopyError before the first copy."""
        known = copies.newest_first(self._backup)
        if not known:
            raise copies.CopyError(f"{self._backup} holds no copy")
        yield metrics.DR_REPLICATION_LAG, {"store": self._store, "region": ARCHIVE}, time.time() - known[0].began
        yield metrics.DR_BACKUP_SIZE, {"store": self._store}, float(known[0].size)
        yield metrics.DR_BACKUP_LARGEST, {"store": self._store}, float(max(copy.size for copy in known))
        yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, known[0].began
        yield metrics.DR_FILES_UNSOUND, {"store": self._store}, float(not self._watch.look(known[0]).is_sound)
