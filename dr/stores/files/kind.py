"""Stores of kind `files`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dr.drill.client import Client
from dr.recoverer.recovery import Recovery
from dr.samples import Collector
from dr.stores.files import copies, published
from dr.stores.files.client import FilesClient
from dr.stores.files.collector import FolderCollector
from dr.stores.files.recovery import FolderRecovery
from dr.stores.files.setup import FolderSetup
from dr.stores.kind import DrillSite, Kind, Publication, Restored, Site
from dr.stores.setup import DrillSetup
from midwatch.spec.stores.files import FilesStore


class FilesKind(Kind[FilesStore]):
    """A folder of files that are published."""

    name = "files"
    lag_advice = "there is no copy yet: its recoverer takes them (midwatch dr recoverer)"
    is_local = True

    def setup(self, site: DrillSite[FilesStore]) -> DrillSetup:
        """The folder itself, if it may be hurt."""
        return FolderSetup(site)

    def client(self, arguments: dict[str, Any], run: str) -> Client:
        """The folder."""
        return FilesClient(run=run, **arguments)

    def recovery(self, site: Site[FilesStore]) -> tuple[Recovery, Path]:
        """From the newest good copy."""
        files, backup = site.store.files, site.base / site.store.files.backup
        recovery = FolderRecovery(
            source=site.base / files.source, backup=backup, interval=files.interval, keep=files.keep
        )
        return recovery, backup

    def collector(self, site: Site[FilesStore]) -> Collector | None:
        """At the folder and its copies."""
        files = site.store.files
        return FolderCollector(site.store.name, site.base / files.source, site.base / files.backup)

    def publish(self, site: Site[FilesStore], remove: Sequence[str]) -> Publication:
        """Write the folder's manifest."""
        files = site.store.files
        known = [one.published.generation for one in copies.newest_first(site.base / files.backup) if one.published]
        return published.publish(site.base / files.source, known=max(known, default=0), remove=remove)

    def verify(self, site: Site[FilesStore], say: Callable[[str], None]) -> Restored:
        """Into a temporary folder."""
        good, flaws = copies.newest_good(site.base / site.store.files.backup)
        say(f"laying down {good.folder.name}")
        with tempfile.TemporaryDirectory(prefix="midwatch-verify-") as scratch:
            copies.restore(good, Path(scratch) / "restored")
        detail = f"{len(good.digests)} files as they were copied"
        return Restored(backup=good.folder.name, point=good.began, unusable=tuple(flaws), detail=detail)
