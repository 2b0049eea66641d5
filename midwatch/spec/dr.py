"""Disaster recovery in the platform file: what is promised, which stores there are, which drills prove it, and when."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from midwatch.spec import chaos, cron, stores
from midwatch.spec.base import Finding, Name, Place, Strict
from midwatch.spec.cron import LATE_SHARE, Cron
from midwatch.spec.scraped import Scraped
from midwatch.spec.stores import AnyStore
from midwatch.spec.stores.base import Store
from midwatch.spec.values import Duration, SomeDuration, format_duration

if TYPE_CHECKING:
    from midwatch.spec.model import Platform

FAULTS = sorted({fault for faults in stores.FAULTS.values() for fault in faults})
"""What drills can do to stores of all kinds."""


def _known_fault(fault: str) -> str:
    """A fault that some kind of store has; ValueError for others."""
    if fault not in FAULTS:
        close = difflib.get_close_matches(fault, FAULTS, 1)
        raise ValueError(f"{fault!r} is not one of {', '.join(FAULTS)}{f'; did you mean {close[0]}?' if close else ''}")
    return fault


FaultName = Annotated[str, AfterValidator(_known_fault), Field(json_schema_extra={"enum": list(FAULTS)})]
"""What a drill does; which faults there are, the kinds of stores say."""

UNSCHEDULED_AGE = 90 * 86400.0
"""Seconds: a drill that somebody runs by hand is expected every quarter."""


class Drill(Strict):
    """One drill. `warmup` is how long writes flow before the fault, `limit` how long a recovery is waited for."""

    name: Name
    """Its name."""
    store: Name
    """The store that it is done to."""
    fault: FaultName
    """What is done."""
    schedule: Cron | None = None
    """When it runs by itself, as cron writes it."""
    spread: Duration = 3600.0
    """Time over which scheduled starts are spread."""
    max_age: SomeDuration | None = None
    """How old its newest result may be."""
    writes_per_second: Annotated[float, Field(ge=10)] = 200.0
    """Writes per second while it runs."""
    warmup: Duration = 3.0
    """How long writes flow before the fault."""
    limit: SomeDuration | None = None
    """How long a recovery is waited for."""

    @property
    def result_age(self) -> float:
        """Seconds within which there has to be a result: `max_age`, else what the schedule lets expect."""
        if self.max_age is not None:
            return self.max_age
        if self.schedule is None:
            return UNSCHEDULED_AGE
        return LATE_SHARE * cron.parse(self.schedule).longest_gap() + self.spread


class Recoverer(Strict):
    """When the recoverer acts: `failures` checks in a row, `interval` apart, each of at most `timeout`.

    With `rebuild` it makes a lost server a standby again after a failover, where it can; without, it says how.
    """

    interval: SomeDuration = 0.1
    """Time between two checks."""
    failures: Annotated[int, Field(ge=1)] = 3
    """Failed checks in a row before it acts."""
    timeout: SomeDuration = 0.5
    """How long a check may take."""
    rebuild: bool = True
    """Whether a lost server is made a standby again after a failover."""


class Probe(Strict):
    """How a drill asks a model that runs in both regions: a request that predicts nothing, so it is not counted."""

    server: Name
    """The server that is asked."""
    path: str
    """Path of the request."""
    body: dict[str, Any]
    """Body of the request."""


class Kubernetes(chaos.Kubernetes):
    """Where drills and recoverers run in a cluster; their rights are not those of the experiments."""

    service_account: Name = "midwatch-recovery"
    """The service account of the jobs."""

    @property
    def exporter_account(self) -> str:
        """Service account of the recovery exporter, which only looks."""
        return f"{self.service_account}-exporter"

    @property
    def recoverer_account(self) -> str:
        """Service account of the recoverers."""
        return f"{self.service_account}-guard"


class Evidence(Strict):
    """Where drills leave what they have shown, and the key that signs it."""

    folder: Path = Field(default=Path("evidence/dr"), strict=False)
    """The folder it is written to."""
    key_file: Path | None = Field(default=None, strict=False)
    """File with the key that signs it."""
    earlier_key_files: list[Annotated[Path, Field(strict=False)]] = []
    """Files with keys that signed it before, the oldest first."""
    anchor_file: Path | None = Field(default=None, strict=False)
    """File elsewhere that the newest record's hash is kept in, so that a log that is cut off shows."""


class DisasterRecovery(Scraped):
    """What is promised when something is lost, and how that is proven."""

    owner: Name
    """Who is called."""
    rto: SomeDuration = 900.0
    """Longest time until a store can be used again."""
    rpo: Duration = 300.0
    """Most that may be lost, as time."""
    guard: Recoverer = Recoverer()
    """When the recoverer acts."""
    evidence: Evidence = Evidence()
    """Where results are kept."""
    listen: str = "127.0.0.1:9501"
    """HOST:PORT where the recovery exporter serves `/metrics`; off loopback it needs a token."""
    verify_every: SomeDuration = 86400.0
    """How often backups are restored to verify them."""
    model: Probe | None = None
    """The model that drills ask in both regions."""
    kubernetes: Kubernetes | None = None
    """Where drills run in a cluster."""
    stores: Annotated[list[AnyStore], Field(min_length=1)]
    """What must not be lost."""
    drills: list[Drill] = []
    """What proves it."""

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


def _check_drill(recovery: DisasterRecovery, place: Place, drill: Drill) -> Iterator[Finding]:
    by_name = {store.name: store for store in recovery.stores}
    store = by_name.get(drill.store)
    if store is None:
        yield (*place, "store"), f"there is no store {drill.store!r}", f"known: {', '.join(sorted(by_name))}"
        return
    day_and_weekday = drill.schedule.split()[2::2] if drill.schedule else []
    if day_and_weekday and "*" not in day_and_weekday:
        message = (
            f"{drill.schedule!r} has a day of the month and a day of the week: cron runs on either, timers on both"
        )
        yield (*place, "schedule"), message, "give one of them"
    yield from store.check_fault(place, drill.fault)


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


def _check_store(recovery: DisasterRecovery, place: Place, store: Store) -> Iterator[Finding]:
    """What a store cannot keep, by its settings and by when it warns."""
    rpo = recovery.rpo_of(store)
    yield from store.find_problems(place, rpo)
    if recovery.warn_after(store) >= rpo:
        warn = format_duration(recovery.warn_after(store))
        message = f"a warning after {warn} comes when the RPO of {format_duration(rpo)} is gone"
        yield (*place, "warn_after"), message, "warn earlier"
