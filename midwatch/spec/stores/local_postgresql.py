"""Stores of kind `local_postgresql`: PostgreSQL that Midwatch runs on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from midwatch.spec.base import Finding, Place, Strict
from midwatch.spec.stores.base import Store
from midwatch.spec.values import Duration, SomeDuration, format_duration


class Fault(StrEnum):
    """What a drill can do to it."""

    KILL_PRIMARY = "kill_primary"
    LOSE_REGION = "lose_region"
    LOSE_STORE = "lose_store"
    BAD_DELETE = "bad_delete"
    CORRUPT_BACKUP = "corrupt_backup"
    STOP_REPLICATION = "stop_replication"
    SPLIT_BRAIN = "split_brain"
    FAILBACK = "failback"


NEEDS_STANDBY = {
    Fault.KILL_PRIMARY,
    Fault.LOSE_REGION,
    Fault.STOP_REPLICATION,
    Fault.SPLIT_BRAIN,
    Fault.FAILBACK,
}
NEEDS_ARCHIVE = {Fault.LOSE_STORE, Fault.CORRUPT_BACKUP}
"""Faults after which only backup and archive are left."""


class LocalPostgresql(Strict):
    """PostgreSQL servers that Midwatch runs on this machine: two regions, or one server with a backup and its WAL."""

    standby: bool = True
    """A second server in region b follows the primary; without one a recovery restores backup and archive."""
    synchronous: bool = False
    """Commits wait for the standby, so that a failover loses nothing."""
    archive_interval: SomeDuration = 60.0
    """WAL is archived so often at the latest; with `upload_time` it bounds what a restore loses."""
    upload_time: Duration = 10.0
    """What an archived segment may take to be safe."""
    version: Annotated[int, Field(ge=13)] | None = None
    """Major version of PostgreSQL; the newest that is installed without it."""
    up: bool = False
    """`midwatch up` runs it."""

    @model_validator(mode="after")
    def _synchronous_needs_standby(self) -> LocalPostgresql:
        if self.synchronous and not self.standby:
            raise ValueError("synchronous needs a standby; remove one of them")
        return self


class LocalPostgresqlStore(Store):
    """A store of kind `local_postgresql`."""

    kind: ClassVar[str] = "local_postgresql"
    faults: ClassVar[type[StrEnum]] = Fault

    local_postgresql: LocalPostgresql

    @property
    def is_always_looked_at(self) -> bool:
        """Some stand in the file for drills alone, which set them up; where one runs, the exporter is told."""
        return False

    @property
    def has_standby(self) -> bool:
        """As it says."""
        return self.local_postgresql.standby

    @property
    def relies_on_backups(self) -> bool:
        """Without a standby."""
        return not self.local_postgresql.standby

    @property
    def has_backup_sizes(self) -> bool:
        """Its backups lie in its folder."""
        return True

    @property
    def has_archive(self) -> bool:
        """It lies in its folder."""
        return True

    @property
    def is_restored_to_verify(self) -> bool:
        """Always."""
        return True

    @property
    def has_two_servers(self) -> bool:
        """With a standby."""
        return self.local_postgresql.standby

    def find_problems(self, place: Place, rpo: float) -> Iterator[Finding]:
        """The arithmetic of the archive: whatever is not archived when the store is lost is lost."""
        local = self.local_postgresql
        worst = local.archive_interval + local.upload_time
        if local.standby or worst <= rpo:
            return
        message = (
            f"an archive every {format_duration(local.archive_interval)} that takes up to "
            f"{format_duration(local.upload_time)} to be safe loses up to {format_duration(worst)}; "
            f"the RPO is {format_duration(rpo)}"
        )
        remedy = f"archive every {format_duration(max(0.0, rpo - local.upload_time))} or more often, or add a standby"
        yield (*place, self.kind, "archive_interval"), message, remedy

    def check_fault(self, place: Place, fault: str) -> Iterator[Finding]:
        """What would be lost has to be there, and the recovery has to be the one that is drilled."""
        yield from super().check_fault(place, fault)
        if fault in NEEDS_STANDBY and not self.has_standby:
            yield (*place, "fault"), f"{fault} needs a standby, and {self.name} has none", "set standby: true"
        if fault in NEEDS_ARCHIVE and self.has_standby:
            message = f"{fault} is a drill of the archive, and {self.name} would promote its standby"
            yield (*place, "fault"), message, "drill a store with standby: false"
