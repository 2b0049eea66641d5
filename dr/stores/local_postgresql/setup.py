"""Drills of PostgreSQL that Midwatch runs itself: a cluster of its own, in a folder of its own, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial

from chaos.faults import Fault as InjectedFault
from dr.drill import facts, ledger
from dr.drill.client import ClientConfig, NotSentError, RefusedError, RequestError, UnknownError
from dr.drill.verdict import Check
from dr.postgres import client, session
from dr.stores.kind import DrillSite
from dr.stores.local_postgresql import archive, backup, cluster, endpoint, faults, recovery
from dr.stores.local_postgresql.archive import Archive
from dr.stores.local_postgresql.cluster import Cluster, Settings
from dr.stores.local_postgresql.programs import PostgresError
from dr.stores.setup import ExpectedAlert, NotReadyError, PlannedFault, RecoveredSetup
from midwatch import metrics, modules
from midwatch.ports import free_ports
from midwatch.spec.stores.local_postgresql import NEEDS_ARCHIVE, Fault, LocalPostgresqlStore

WHO = f"""SELECT (SELECT system_identifier FROM pg_control_system()),
  (SELECT count(*) FROM midwatch_drill.allowed WHERE store = $1), ({cluster.CONTENT})"""  # noqa: S608 - ours
SWITCH_SECONDS = 60.0
ENDPOINT_SECONDS = 20.0
MAX_LAG_BYTES = 16 * 2**20
"""A standby further behind than one WAL segment is not in its steady state."""

INJECTED: dict[Fault, Callable[..., InjectedFault]] = {
    Fault.KILL_PRIMARY: faults.KillPrimary,
    Fault.LOSE_REGION: faults.LoseRegion,
    Fault.LOSE_STORE: faults.LosePrimaryDisk,
    Fault.CORRUPT_BACKUP: faults.CorruptBackup,
    Fault.BAD_DELETE: faults.BadDelete,
    Fault.SPLIT_BRAIN: faults.FreezePrimary,
    Fault.STOP_REPLICATION: faults.StopReplication,
    Fault.FAILBACK: partial(faults.Switchover, to="a"),
}
"""What does each fault; all take the region and the cluster's folder."""


class LocalSetup(RecoveredSetup):
    """The setup of a local store. The site's randomness picks the phase of the archive at which the fault strikes."""

    def __init__(self, site: DrillSite[LocalPostgresqlStore]) -> None:
        super().__init__(site.file, site.store.name)
        self._site, self._store, self._fault = site, site.store, Fault(site.drill.fault)
        self._settings = Settings.of(site.store)
        self._folder = self.cluster_folder = site.own_folder
        self._children: list[subprocess.Popen[bytes]] = []
        self._cluster: Cluster | None = None
        self._identity = self._content = ""
        self._primary = "a"

    @property
    def cluster(self) -> Cluster:
        """The cluster; it is there after `start`."""
        if self._cluster is None:
            raise PostgresError("the store was not started")
        return self._cluster

    # Set up ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make and start the servers and the endpoint."""
        self._cluster = cluster.create(self._folder, self._settings)
        cluster.start(self._cluster)
        self._flushing = cluster.flush(self._folder)
        listener = endpoint.Listener(port=self._cluster.endpoint, targets=self._cluster.ports)
        endpoint.describe(self._folder, [listener])
        self._children.append(endpoint.start(self._folder))
        self._wait_for_endpoint()
        self._identity, self._content = self._who(self._cluster.client)

    def _wait_for_endpoint(self) -> None:
        deadline = time.monotonic() + ENDPOINT_SECONDS
        while True:
            try:
                session.ask(self.cluster.client, "SELECT 1", timeout=2.0)
            except RequestError as error:
                if time.monotonic() > deadline:
                    raise NotReadyError(f"the endpoint does not lead to the store: {error}") from error
                time.sleep(0.02)
            else:
                return

    def _who(self, target: str) -> tuple[str, str]:
        """System identifier with the marker, and the digest of the content."""
        ((system, marker, content),) = session.ask(target, WHO, [self._store.name], timeout=5.0)
        return f"{system}, marker {marker}", str(content)

    def client(self) -> ClientConfig:
        """The database, through the endpoint."""
        return client.config(self._store.kind, self.cluster.client, content=cluster.CONTENT)

    def prepare(self, warmup: float) -> float:
        """A second backup for the drill that damages one; a first switchover for the one that comes back."""
        if self._fault is Fault.CORRUPT_BACKUP:
            backup.take(self.cluster.server("a"), self.cluster.backups)
        if self._fault is Fault.FAILBACK:
            recovery.request_switchover(self._folder, "b")
            self._wait_until_redundant()
            self._primary = "b"
        if self._settings.standby:
            self._ensure_standby()
            return warmup
        interval = max(1.0, self._settings.archive_interval)
        return max(warmup, 1.5 * interval) + self._site.randomness.uniform(0.0, interval)

    def _wait_until_redundant(self) -> None:
        deadline = time.monotonic() + SWITCH_SECONDS
        while not super().is_redundant():
            if time.monotonic() > deadline:
                raise NotReadyError(f"the recoverer did not switch over and rebuild within {SWITCH_SECONDS:g} s")
            time.sleep(0.05)

    def _ensure_standby(self) -> None:
        """NotReadyError when the standby is too far behind for a drill to mean anything."""
        rows = session.ask(
            self.cluster.direct(self._primary),
            "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)), -1)::bigint "
            "FROM pg_stat_replication WHERE state = 'streaming'",
            timeout=5.0,
        )
        behind = int(rows[0][0] or -1)
        if behind < 0:
            raise NotReadyError("no standby streams; a drill would only show what is known already")
        if behind > MAX_LAG_BYTES:
            raise NotReadyError(
                f"the standby is {behind / 2**20:.0f} MiB behind, more than {MAX_LAG_BYTES / 2**20:.0f} MiB"
            )

    # The fault -------------------------------------------------------------------------------------------------------

    def fault(self) -> PlannedFault:
        """What hits the primary, once nothing of the setting up is still being written to the disk."""
        self._flushing.wait()
        spoils = self._fault is Fault.BAD_DELETE
        warns = self._fault is Fault.STOP_REPLICATION
        region = "b" if warns else self._primary
        return PlannedFault(
            fault=INJECTED[self._fault](target=region, folder=str(self._folder)),
            silences=not spoils and not warns,
            spoils=spoils,
            fails_over=not spoils and not warns,
            warning=self._warning() if warns else None,
            old=str(self.cluster.ports[self._primary]),
        )

    def _warning(self) -> ExpectedAlert:
        """The alert RecoveryPointAtRisk, by the exporter that publishes what it is made from."""
        (port,) = free_ports()
        command = [*modules.command("midwatch"), "dr", "export", "-f", str(self._file)]
        command += ["--listen", f"127.0.0.1:{port}", "--cluster", f"{self._store.name}={self._folder}"]
        return ExpectedAlert(
            command=tuple(command),
            url=f"http://127.0.0.1:{port}/metrics",
            metric=metrics.DR_REPLICATION_LAG.name,
            labels={"store": self._store.name, "region": "b"},
            above=self._site.promised.warn_after(self._store),
        )

    # Afterwards ------------------------------------------------------------------------------------------------------

    def is_redundant(self) -> bool | None:
        """Whether the recoverer says so after the last re-route; a store without a standby has none."""
        if not self._settings.standby:
            return None
        events = [type(event) for event in ledger.read_recorded(self._events)]
        since = events[::-1].index(facts.Rerouted) if facts.Rerouted in events else 0
        return facts.Redundant in events[len(events) - since :]

    def checks(self) -> list[Check]:
        """Fence, integrity, identity and content."""
        checks = [self._check_content()]
        if self._fault is Fault.STOP_REPLICATION:
            checks.append(self._check_caught_up())
        elif self._fault is not Fault.BAD_DELETE:
            checks.append(self._check_fence())
        checks.append(self._check_integrity())
        if self._fault in NEEDS_ARCHIVE:
            checks.append(self._check_replay())
        return checks

    def _check_replay(self) -> Check:
        name = "the restore came to the end of the archive"
        server = self.cluster.server(endpoint.route_of(self._folder)["region"])
        try:
            hole = Archive(self.cluster.archive).unseen(*archive.replayed(server))
        except (PostgresError, RequestError) as error:
            return Check(name=name, holds=None, detail=str(error))
        return Check(name=name, holds=hole is None, detail=hole or "")

    def _check_content(self) -> Check:
        name = "the same database with the same content"
        try:
            identity, content = self._who(self.cluster.client)
        except RequestError as error:
            return Check(name=name, holds=None, detail=str(error))
        same = (identity, content) == (self._identity, self._content)
        detail = "" if same else f"now {identity}, {content}; before {self._identity}, {self._content}"
        return Check(name=name, holds=same, detail=detail)

    def _check_fence(self) -> Check:
        name = "the old primary cannot acknowledge"
        try:
            session.ask(self.cluster.direct(self._primary), "CREATE TABLE midwatch_drill.fence (n int)", timeout=2.0)
        except (NotSentError, RefusedError) as error:
            return Check(name=name, holds=True, detail=str(error))
        except UnknownError as error:
            return Check(name=name, holds=None, detail=str(error))
        return Check(name=name, holds=False, detail="it acknowledged a write past the endpoint")

    def _check_caught_up(self) -> Check:
        name = "the standby has caught up"
        try:
            cluster.wait_until_streaming(self.cluster.server(self._primary))
        except PostgresError as error:
            return Check(name=name, holds=False, detail=str(error))
        return Check(name=name, holds=True)

    def _check_integrity(self) -> Check:
        name = "every index and heap page is sound"
        region = endpoint.route_of(self._folder)["region"]
        server = self.cluster.server(region)
        try:
            server.run("pg_amcheck", "--heapallindexed", database=cluster.DATABASE)
        except PostgresError as error:
            return Check(name=name, holds=False, detail=str(error))
        return Check(name=name, holds=True, detail="pg_amcheck --heapallindexed")

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self.cluster.programs.version}

    def stop(self) -> None:
        """Stop the endpoint and every server."""
        for child in self._children:
            child.kill()
            child.wait()
        self._children.clear()
        if self._cluster:
            cluster.stop(self._cluster)
