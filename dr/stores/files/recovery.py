"""Recovering a folder: copied every interval, and laid down again from the newest good copy when it is damaged."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from dr.recoverer.recovery import Health, Recovery
from dr.stores.files import copies

DRILL = ".midwatch-drill"
"""Folder of the drills' own files; they come and go."""


@dataclass(kw_only=True)
class FolderRecovery(Recovery):
    """The recovery of a folder. `interval` is seconds between two copies."""

    source: Path
    backup: Path
    interval: float
    keep: int
    _due: float = 0.0
    _known: copies.Copy | None = None
    _sound: dict[str, tuple[int, int]] = field(default_factory=dict)
    _term: int = 0

    def check(self) -> Health:
        """Whether every file that was ever copied is there as it was; takes the next copy when it is due."""
        if not self.source.is_dir():
            return Health(good=False, why=f"{self.source} is not there")
        if self._known is None:
            known = copies.newest_first(self.backup)
            self._known = known[0] if known else None
        if self._known and (wrong := self._damage(self._known)):
            return Health(good=False, why=wrong)
        if time.monotonic() >= self._due:
            self._known = copies.take(self.source, self.backup, now=time.time(), keep=self.keep)
            self._due = time.monotonic() + self.interval
        return Health(good=True)

    def _damage(self, copy: copies.Copy) -> str | None:
        """The first file that is gone or changed; content is read again only where size or time changed."""
        for name, (wanted, _) in copy.digests.items():
            path = self.source / name
            try:
                status = path.stat()
                seen = (status.st_size, status.st_mtime_ns)
                if self._sound.get(name) != seen:
                    if copies.digest(path) != wanted:
                        return f"{name} is damaged"
                    self._sound[name] = seen
            except OSError:
                return f"{name} is gone"
        return None

    def plan(self) -> str:
        """Restore."""
        return "restore the newest good copy"

    def fence(self, term: int) -> str:
        """Take what is damaged away, so that nothing more is written into it."""
        self._term = term
        if not self.source.exists():
            return "there was nothing left"
        aside = self.source.with_name(f"{self.source.name}.damaged-{term}")
        self.source.rename(aside)
        return f"moved to {aside.name}"

    def recover(self) -> str:
        """Lay the newest good copy down beside, and check it."""
        good, flaws = copies.newest_good(self.backup)
        fresh = self._fresh
        shutil.rmtree(fresh, ignore_errors=True)
        copies.restore(good, fresh)
        self._known, self._due = good, time.monotonic()
        self._sound.clear()
        return good.folder.name + (f"; not used: {'; '.join(flaws)}" if flaws else "")

    @property
    def _fresh(self) -> Path:
        return self.source.with_name(f".{self.source.name}.restored-{self._term}")

    def reroute(self, term: int) -> str:  # noqa: ARG002 - a folder has no terms: the rename is atomic
        """Put it in place."""
        self._fresh.rename(self.source)
        return str(self.source)

    def rebuild(self) -> str | None:
        """Copy it again at once."""
        self._known = copies.take(self.source, self.backup, now=time.time(), keep=self.keep)
        return f"{self._known.folder.name} taken"


def content_of(folder: Path) -> str:
    """Digest of every file outside the drills' own folder."""
    made = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and DRILL not in path.parts:
            made.update(os.fsencode(str(path.relative_to(folder))) + copies.digest(path).encode())
    return made.hexdigest()
