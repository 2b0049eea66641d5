"""Disaster recovery in the platform file: what is promised, which stores there are, which drills prove it, and when."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from midwatch.spec import chaos, cron
from midwatch.spec.base import Finding, Name, Strict
from midwatch.spec.cron import LATE_SHARE, Cron
from midwatch.spec.values import Duration, format_duration

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

Command = Annotated[list[str], Field(min_length=1)]
"""A program and its arguments; no shell is involved."""


class Fault(StrEnum):
    """What a drill does to a store."""

    KILL_PRIMARY = "kill_primary"
    LOSE_REGION = "lose_region"
    LOSE_STORE = "lose_store"
    BAD_DELETE = "bad_delete"
    CORRUPT_BACKUP = "corrupt_backup"
    STOP_REPLICATION = "stop_replication"
    SPLIT_BRAIN = "split_brain"
    FAILBACK = "failback"
    LOSE_FILES = "lose_files"
    DAMAGE_FILES = "damage_files"
    RESTORE = "restore"
    SWITCHOVER = "switchover"
    COMMANDS = "commands"


class LocalPostgresql(Strict):
    """PostgreSQL servers that Midwatch runs on this machine: two regions, or one server with a backup and its WAL.

    `archive_interval` is how often WAL is archived at the latest, `upload_time` what an archived segment may take to be
    safe: together they bound what a restore loses. `up` has `midwatch up` run it.
    """

    standby: bool = True
    synchronous: bool = False
    archive_interval: Duration = 60.0
    upload_time: Duration = 10.0
    version: Annotated[int, Field(ge=13)] | None = None
    up: bool = False

    @model_validator(mode="after")
    def _synchronous_needs_standby(self) -> LocalPostgresql:
        if self.synchronous and not self.standby:
            raise ValueError("synchronous needs a standby; remove one of them")
        return self


class PostgresqlCommands(Strict):
    """What only the site can do to its servers. `fence` must make sure that the old primary cannot acknowledge."""

    inject: Command | None = None
    revert: Command | None = None
    fence: Command
    reroute: Command
    rebuild: Command | None = None


class Postgresql(Strict):
    """PostgreSQL that others run: the connection strings (in files) of the clients' endpoint and of both servers."""

    endpoint_file: Path = Field(strict=False)
    primary_file: Path = Field(strict=False)
    standby_file: Path = Field(strict=False)
    commands: PostgresqlCommands
    content: str | None = None


class Files(Strict):
    """A folder of files or objects, copied with checksums to another: models, references, dashboards, rules."""

    source: Path = Field(strict=False)
    backup: Path = Field(strict=False)
    interval: Duration = 300.0
    keep: Annotated[int, Field(ge=2)] = 10


class Velero(Strict):
    """A namespace that Velero backs up; a drill restores its newest backup into `restore_namespace`."""

    namespace: Name
    restore_namespace: Name
    schedule: Name
    velero_namespace: Name = "velero"
    interval: Duration = 3600.0


class CloudNativePg(Strict):
    """A PostgreSQL cluster of CloudNativePG; drills switch its primary over. `endpoint_file` as for `postgresql`."""

    namespace: Name
    cluster: Name
    endpoint_file: Path = Field(strict=False)


class Commands(Strict):
    """Any store, by commands that exit 0 for yes. `observe` runs on: it takes a row a line on standard input, and
    answers each with a line when it is durable; `read` writes every row that is there to standard output.
    """

    inject: Command
    is_effective: Command
    revert: Command | None = None
    check: Command
    fence: Command | None = None
    recover: Command
    observe: Command
    read: Command
    integrity: Command
    allowed: Command


class Store(Strict):
    """Something whose loss would break the promise: exactly one kind."""

    name: Name
    local_postgresql: LocalPostgresql | None = None
    postgresql: Postgresql | None = None
    files: Files | None = None
    velero: Velero | None = None
    cloudnative_pg: CloudNativePg | None = None
    commands: Commands | None = None
    rpo: Duration | None = None
    warn_after: Duration | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Store:
        if sum(getattr(self, kind) is not None for kind in FAULTS) != 1:
            raise ValueError(f"needs exactly one of {', '.join(FAULTS)}")
        return self

    @property
    def kind(self) -> str:
        """Which kind it is: the key in the file."""
        return next(kind for kind in FAULTS if getattr(self, kind) is not None)


_LOCAL = {
    Fault.KILL_PRIMARY,
    Fault.LOSE_REGION,
    Fault.STOP_REPLICATION,
    Fault.SPLIT_BRAIN,
    Fault.FAILBACK,
    Fault.BAD_DELETE,
    Fault.LOSE_STORE,
    Fault.CORRUPT_BACKUP,
}
NEEDS_STANDBY = {
    Fault.KILL_PRIMARY,
    Fault.LOSE_REGION,
    Fault.STOP_REPLICATION,
    Fault.SPLIT_BRAIN,
    Fault.FAILBACK,
}
NEEDS_ARCHIVE = {Fault.LOSE_STORE, Fault.CORRUPT_BACKUP}
"""Faults after which only backup and archive are left."""

FAULTS: dict[str, set[Fault]] = {
    "local_postgresql": _LOCAL,
    "postgresql": {Fault.KILL_PRIMARY},
    "files": {Fault.LOSE_FILES, Fault.DAMAGE_FILES},
    "velero": {Fault.RESTORE},
    "cloudnative_pg": {Fault.SWITCHOVER},
    "commands": {Fault.COMMANDS},
}
"""Faults by kind of store."""

UNSCHEDULED_AGE = 90 * 86400.0
"""Seconds: a drill that somebody runs by hand is expected every quarter."""


class Drill(Strict):
    """One drill. `warmup` is how long writes flow before the fault, `limit` how long a recovery is waited for."""

    name: Name
    store: Name
    fault: Fault = Field(strict=False)
    schedule: Cron | None = None
    spread: Duration = 3600.0
    max_age: Duration | None = None
    writes_per_second: Annotated[float, Field(ge=10)] = 200.0
    warmup: Duration = 3.0
    limit: Duration | None = None

    @property
    def result_age(self) -> float:
        """Seconds within which there has to be a result: `max_age`, else what the schedule lets expect."""
        if self.max_age is not None:
            return self.max_age
        if self.schedule is None:
            return UNSCHEDULED_AGE
        return LATE_SHARE * cron.parse(self.schedule).longest_gap() + self.spread


class Guard(Strict):
    """When the recoverer acts: `failures` checks in a row, `interval` apart, each of at most `timeout`."""

    interval: Duration = 0.1
    failures: Annotated[int, Field(ge=1)] = 3
    timeout: Duration = 0.5


class Probe(Strict):
    """How a drill asks a model that runs in both regions: a request that predicts nothing, so it is not counted."""

    server: Name
    path: str
    body: dict[str, Any]


class Kubernetes(chaos.Kubernetes):
    """Where drills and guards run in a cluster; their rights are not those of the experiments."""

    service_account: Name = "midwatch-recovery"


class Evidence(Strict):
    """Where drills leave what they have shown, and the key that signs it."""

    folder: Path = Field(default=Path("evidence/dr"), strict=False)
    key_file: Path | None = Field(default=None, strict=False)


class DisasterRecovery(Strict):
    """What is promised when something is lost, and how that is proven."""

    owner: Name
    rto: Duration = 900.0
    rpo: Duration = 300.0
    guard: Guard = Guard()
    evidence: Evidence = Evidence()
    listen: str = "127.0.0.1:9501"
    verify_every: Duration = 86400.0
    model: Probe | None = None
    kubernetes: Kubernetes | None = None
    stores: Annotated[list[Store], Field(min_length=1)]
    drills: list[Drill] = []

    def store(self, name: str) -> Store:
        """The store of a name; KeyError without one."""
        return {store.name: store for store in self.stores}[name]

    def rpo_of(self, store: Store) -> float:
        """Seconds promised for a store."""
        return self.rpo if store.rpo is None else store.rpo

    def warn_after(self, store: Store) -> float:
        """Seconds of lag that are an alert: half the RPO without a value of the store's own."""
        return self.rpo_of(store) / 2 if store.warn_after is None else store.warn_after


def find_problems(platform: Platform) -> Iterator[Finding]:
    """Names that lead nowhere, faults that do not fit, and objectives that a store cannot keep by its own settings."""
    recovery, owners = platform.disaster_recovery, platform.owners
    if recovery is None:
        return
    if recovery.owner not in owners:
        yield (
            ("disaster_recovery", "owner"),
            f"there is no owner {recovery.owner!r}",
            f"known: {', '.join(sorted(owners))}",
        )
    yield from _check_regions(platform)
    yield from _twice("stores", [store.name for store in recovery.stores])
    yield from _twice("drills", [drill.name for drill in recovery.drills])
    for index, drill in enumerate(recovery.drills):
        yield from _check_drill(recovery, ("disaster_recovery", "drills", index), drill)
    for index, store in enumerate(recovery.stores):
        yield from _check_store(recovery, ("disaster_recovery", "stores", index), store)


def _twice(section: str, names: list[str]) -> Iterator[Finding]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield ("disaster_recovery", section, index, "name"), f"a second {name!r}", "give each its own name"


def _check_drill(recovery: DisasterRecovery, place: tuple[str | int, ...], drill: Drill) -> Iterator[Finding]:
    stores = {store.name: store for store in recovery.stores}
    store = stores.get(drill.store)
    if store is None:
        yield (*place, "store"), f"there is no store {drill.store!r}", f"known: {', '.join(sorted(stores))}"
        return
    day_and_weekday = drill.schedule.split()[2::2] if drill.schedule else []
    if day_and_weekday and "*" not in day_and_weekday:
        message = (
            f"{drill.schedule!r} has a day of the month and a day of the week: cron runs on either, timers on both"
        )
        yield (*place, "schedule"), message, "give one of them"
    if drill.fault not in FAULTS[store.kind]:
        fitting = ", ".join(sorted(FAULTS[store.kind]))
        yield (*place, "fault"), f"{drill.fault} does not fit a store of kind {store.kind}", f"choose one of {fitting}"
    local = store.local_postgresql
    if local and drill.fault in NEEDS_STANDBY and not local.standby:
        yield (*place, "fault"), f"{drill.fault} needs a standby, and {store.name} has none", "set standby: true"
    if local and drill.fault in NEEDS_ARCHIVE and local.standby:
        message = f"{drill.fault} is a drill of the archive, and {store.name} would promote its standby"
        yield (*place, "fault"), message, "drill a store with standby: false"


def _check_regions(platform: Platform) -> Iterator[Finding]:
    """Servers that stand in for another, and the one that a drill asks."""
    names = {server.name for server in platform.local.servers}
    known = f"known: {', '.join(sorted(names)) or 'none'}"
    for index, server in enumerate(platform.local.servers):
        if server.replica_of is not None and server.replica_of not in names:
            place = ("local", "servers", index, "replica_of")
            yield place, f"there is no server {server.replica_of!r}", known
    probe = platform.disaster_recovery.model if platform.disaster_recovery else None
    if probe and probe.server not in {server.replica_of for server in platform.local.servers}:
        message = f"no server is a replica of {probe.server!r}, so it is not served from two regions"
        yield ("disaster_recovery", "model", "server"), message, "give a server of region b replica_of"


def _check_store(recovery: DisasterRecovery, place: tuple[str | int, ...], store: Store) -> Iterator[Finding]:
    """The arithmetic of the archive: whatever is not archived when the store is lost is lost."""
    rpo = recovery.rpo_of(store)
    local, files, velero = store.local_postgresql, store.files, store.velero
    if local and not local.standby and local.archive_interval + local.upload_time > rpo:
        worst = local.archive_interval + local.upload_time
        message = (
            f"an archive every {format_duration(local.archive_interval)} that takes up to "
            f"{format_duration(local.upload_time)} to be safe loses up to {format_duration(worst)}; "
            f"the RPO is {format_duration(rpo)}"
        )
        remedy = f"archive every {format_duration(max(0.0, rpo - local.upload_time))} or more often, or add a standby"
        yield (*place, "local_postgresql", "archive_interval"), message, remedy
    for key, interval in (("files", files.interval if files else 0.0), ("velero", velero.interval if velero else 0.0)):
        if interval > rpo:
            message = f"a copy every {format_duration(interval)} loses up to that; the RPO is {format_duration(rpo)}"
            yield (*place, key, "interval"), message, "copy more often, or give the store an rpo it can keep"
    if recovery.warn_after(store) >= rpo:
        warn = format_duration(recovery.warn_after(store))
        message = f"a warning after {warn} comes when the RPO of {format_duration(rpo)} is gone"
        yield (*place, "warn_after"), message, "warn earlier"
