"""Stores of kind `files`: folders of files that are published."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Finding, Place, Strict
from midwatch.spec.stores.base import Store, check_interval
from midwatch.spec.values import SomeDuration


class Fault(StrEnum):
    """What a drill can do to it."""

    LOSE_FILES = "lose_files"
    DAMAGE_FILES = "damage_files"


class Files(Strict):
    """A folder of files or objects, copied with checksums to another: models, references, dashboards, rules."""

    source: Path = Field(strict=False)
    """The folder."""
    backup: Path = Field(strict=False)
    """Folder of the copies."""
    interval: SomeDuration = 300.0
    """Time between two copies."""
    keep: Annotated[int, Field(ge=2)] = 10
    """Copies that are kept; what did not change takes no more space."""


class FilesStore(Store):
    """A store of kind `files`."""

    kind: ClassVar[str] = "files"
    faults: ClassVar[type[StrEnum]] = Fault

    files: Files

    @property
    def relies_on_backups(self) -> bool:
        """Always."""
        return True

    @property
    def has_backup_sizes(self) -> bool:
        """The copies lie in a folder."""
        return True

    @property
    def is_restored_to_verify(self) -> bool:
        """Always."""
        return True

    @property
    def has_published_files(self) -> bool:
        """Always."""
        return True

    def find_problems(self, place: Place, rpo: float) -> Iterator[Finding]:
        """Copies that are too rare."""
        yield from check_interval((*place, self.kind), self.files.interval, rpo)
