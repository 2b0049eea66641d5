"""What all kinds of stores have in common. A kind says here what the rest of Midwatch must know of it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from midwatch.spec.base import Finding, Name, Place, Strict
from midwatch.spec.values import Duration, format_duration

Command = Annotated[list[str], Field(min_length=1)]
"""A program and its arguments; no shell is involved."""


class Store(Strict):
    """Something whose loss would break the promise."""

    kind: ClassVar[str]
    """The key in the file that holds the kind's own keys."""
    faults: ClassVar[type[StrEnum]]
    """What a drill can do to it."""
    has_cluster_lease: ClassVar[bool] = False
    """Recoverers in several places can reach it, so their lease has to be the cluster's."""

    name: Name
    """What drills, metrics and alerts call it."""
    rpo: Duration | None = None
    """The RPO of this store, where it is not that of `disaster_recovery`."""
    warn_after: Duration | None = None
    """Lag that is an alert; half of the RPO without it."""

    # What is published of it decides which alerts it has.

    @property
    def is_always_looked_at(self) -> bool:
        """Whether a recovery exporter that runs asks it, and publishes whether it answers."""
        return True

    @property
    def has_standby(self) -> bool:
        """Whether another server follows it."""
        return False

    @property
    def relies_on_backups(self) -> bool:
        """Whether a recovery starts from a backup."""
        return False

    @property
    def has_backup_times(self) -> bool:
        """Whether the time of its newest backup is published."""
        return self.relies_on_backups

    @property
    def has_backup_sizes(self) -> bool:
        """Whether the sizes of its backups are published."""
        return False

    @property
    def has_archive(self) -> bool:
        """Whether it is published how whole its archive is, and whether its backups can be made."""
        return False

    @property
    def is_restored_to_verify(self) -> bool:
        """Whether `midwatch dr verify` restores its backups."""
        return False

    @property
    def has_two_servers(self) -> bool:
        """Whether it is published when two of its servers take writes."""
        return False

    @property
    def has_published_files(self) -> bool:
        """Whether it is published when its files are not as they should be."""
        return False

    # What does not fit together.

    def find_problems(self, place: Place, rpo: float) -> Iterator[Finding]:  # noqa: ARG002 - for kinds to override
        """What this store cannot keep by its own settings."""
        yield from ()

    def check_fault(self, place: Place, fault: str) -> Iterator[Finding]:
        """Whether a drill can do this to it; `place` is the drill's."""
        if fault not in list(self.faults):
            fitting = ", ".join(sorted(self.faults))
            yield (*place, "fault"), f"{fault} does not fit a store of kind {self.kind}", f"choose one of {fitting}"


def check_interval(place: Place, interval: float, rpo: float) -> Iterator[Finding]:
    """What was written since the last copy is lost with the store."""
    if interval > rpo:
        message = f"a copy every {format_duration(interval)} loses up to that; the RPO is {format_duration(rpo)}"
        yield (*place, "interval"), message, "copy more often, or give the store an rpo it can keep"
