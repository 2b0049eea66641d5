"""Recovering a folder: copied every interval; what is damaged for certain is laid down again from the copies.

Only what the folder's manifest says makes damage certain (see `published`). All else is said, and left to people: who
removes a model, or adds one, must not find the old one in its place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dr.recoverer.recovery import CannotRecoverError, Health, Recovery
from dr.stores.files import copies, published
from dr.stores.files.condition import Watch
from dr.stores.files.copies import Copy, CopyError
from midwatch.errors import MidwatchError

RETRY_SECONDS = 10.0
"""Until a copy that could not be taken is tried again."""


@dataclass(kw_only=True)
class FolderRecovery(Recovery):
    """The recovery of a folder. `interval` is seconds between two copies."""

    source: Path
    backup: Path
    interval: float
    keep: int
    _due: float = 0.0
    _known: Copy | None = None
    _uncopied: str = ""
    _whole: Copy | None = None
    _parts: dict[str, Copy] = field(default_factory=dict)
    _term: int = 0

    @cached_property
    def _watch(self) -> Watch:
        return Watch(self.source)

    def check(self) -> Health:
        """Whether every file is there as it was published; takes the next copy when it is due."""
        newest = self._newest()
        condition = self._watch.look(newest)
        if condition.is_gone:
            return Health(good=False, why=f"{self.source} is not there")
        if condition.doubt or condition.is_changing:
            return Health(good=True, doubt=condition.doubt)
        for name, wrong in condition.wrong.items():
            return Health(good=False, why=f"{name} is {wrong}")
        is_new = condition.published != (newest.published if newest else None)
        if time.monotonic() >= self._due or (is_new and not self._uncopied):
            self._copy()
        return Health(good=True, doubt=self._uncopied)

    def _newest(self) -> Copy | None:
        if self._known is None:
            self._known = next(iter(copies.newest_first(self.backup)), None)
        return self._known

    def _copy(self) -> None:
        """Take a copy. One that cannot be taken is no reason to restore anything."""
        try:
            self._known = copies.take(self.source, self.backup, now=time.time(), keep=self.keep)
        except MidwatchError as error:
            self._uncopied = f"no copy can be taken: {error}"
            self._due = time.monotonic() + min(self.interval, RETRY_SECONDS)
            return
        self._uncopied = ""
        self._due = time.monotonic() + self.interval

    def plan(self) -> str:
        """Lay down everything, or the files that are damaged for certain."""
        self._whole, self._parts = None, {}
        condition = self._watch.look(self._newest())
        if condition.is_gone:
            try:
                self._whole, flaws = copies.newest_good(self.backup, is_published=True)
            except CopyError as error:
                raise CannotRecoverError(str(error)) from error
            return f"restore {self._whole.folder.name}" + (f"; not used: {'; '.join(flaws)}" if flaws else "")
        if condition.doubt or not condition.wrong or condition.published is None:
            raise CannotRecoverError(condition.doubt or "nothing is damaged any more")
        known = copies.newest_first(self.backup)
        for name in condition.wrong:
            if copy := copies.newest_with(known, name, condition.published.files[name][0]):
                self._parts[name] = copy
        if not self._parts:
            names = ", ".join(condition.wrong)
            raise CannotRecoverError(f"{names}: damaged, and no copy has what generation {self._generation} lists")
        return f"put back {', '.join(self._parts)}"

    @property
    def _generation(self) -> int:
        now = published.read(self.source)
        return now.generation if now else 0

    def fence(self, term: int) -> str:
        """Take what is damaged away, so that nothing more is written into it; what else is there stays."""
        self._term = term
        if self._whole is not None:
            return "there was nothing left"
        aside = self.source.with_name(f"{self.source.name}.damaged-{term}")
        with _told():
            for name in self._parts:
                path, kept = published.inside(self.source, name), published.inside(aside, name)
                kept.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    path.rename(kept)
        return f"moved to {aside.name}"

    def recover(self) -> str:
        """Lay down beside what is needed, and check it."""
        fresh = self._fresh
        with _told():
            if fresh.is_symlink():
                fresh.unlink()
            shutil.rmtree(fresh, ignore_errors=True)
            if self._whole is not None:
                copies.restore(self._whole, fresh)
                self._known, self._due = self._whole, time.monotonic()
                return self._whole.folder.name
            fresh.mkdir()
            for name, copy in self._parts.items():
                copies.lay(copy, name, fresh)
                if published.digest(fresh / name) != copy.digests[name][0]:
                    raise CopyError(f"{name} of {copy.folder.name} is not what was copied")
        return ", ".join(f"{name} of {copy.folder.name}" for name, copy in self._parts.items())

    @property
    def _fresh(self) -> Path:
        return self.source.with_name(f".{self.source.name}.restored-{self._term}")

    def reroute(self, term: int) -> str:  # noqa: ARG002 - a folder has no terms: each rename is atomic
        """Put it in place."""
        with _told():
            if self._whole is not None:
                if self.source.exists():
                    raise CopyError(f"{self.source} came back by itself; nothing was put in its place")
                self._fresh.rename(self.source)
                return str(self.source)
            for name in self._parts:
                path = published.inside(self.source, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                (self._fresh / name).rename(path)
            shutil.rmtree(self._fresh, ignore_errors=True)
        return str(self.source)

    def rebuild(self) -> str | None:
        """Copy it again at once."""
        self._known = copies.take(self.source, self.backup, now=time.time(), keep=self.keep)
        return f"{self._known.folder.name} taken"


@contextmanager
def _told() -> Iterator[None]:
    """CopyError for what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise CopyError(f"{error.filename}: {error.strerror}") from error


def content_of(folder: Path) -> str:
    """Digest of every file outside the drills' own folder."""
    made = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and published.DRILL not in path.parts:
            made.update(os.fsencode(str(path.relative_to(folder))) + published.digest(path).encode())
    return made.hexdigest()
