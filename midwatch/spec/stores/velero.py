"""Stores of kind `velero`: a namespace that Velero backs up."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import ClassVar

from midwatch.spec.base import Finding, Name, Place, Strict
from midwatch.spec.stores.base import Store, check_interval
from midwatch.spec.values import SomeDuration


class Fault(StrEnum):
    """What a drill does; it hurts nothing."""

    RESTORE = "restore"


class Velero(Strict):
    """A namespace that Velero backs up; a drill restores its newest backup into `restore_namespace`."""

    namespace: Name
    """The namespace that is backed up."""
    restore_namespace: Name
    """An empty namespace, labelled `midwatch.dev/drills=allowed`, that drills restore into."""
    schedule: Name
    """Name of Velero's Schedule."""
    velero_namespace: Name = "velero"
    """Namespace of Velero's own resources."""
    interval: SomeDuration = 3600.0
    """Time between two backups of the schedule."""


class VeleroStore(Store):
    """A store of kind `velero`."""

    kind: ClassVar[str] = "velero"
    faults: ClassVar[type[StrEnum]] = Fault

    velero: Velero

    @property
    def relies_on_backups(self) -> bool:
        """Always."""
        return True

    def find_problems(self, place: Place, rpo: float) -> Iterator[Finding]:
        """Backups that are too rare."""
        yield from check_interval((*place, self.kind), self.velero.interval, rpo)
