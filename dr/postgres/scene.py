"""Drills of PostgreSQL that Midwatch runs itself: a cluster of its own, in a folder of its own, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from chaos.faults import Fault
from dr import endpoint, ledger, targets
from dr.postgres import backup, cluster, faults, recovery, session
from dr.postgres.cluster import Cluster, Settings
from dr.postgres.programs import PostgresError
from dr.processes import start_helper
from dr.scene import Alarm, Injury, NotReadyError
from dr.verdict import Check
from midwatch import metrics, modules
from midwatch.ports import free_ports
from midwatch.spec import dr as spec

WHO = f"""SELECT (SELECT system_identifier FROM pg_control_system()),
  (SELECT count(*) FROM midwatch_drill.allowed WHERE store = $1), ({targets.CONTENT})"""  # noqa: S608 - ours
SWITCH_SECONDS = 60.0
ENDPOINT_SECONDS = 20.0
MAX_LAG_BYTES = 16 * 2**20
"""A standby further behind than one WAL segment is not in its steady state."""


class LocalScene:
    """Implements `scene.Scene`. `randomness` picks the phase of the archive at which the fault strikes."""

    def __init__(
        self,
        recovery: spec.DisasterRecovery,
        store: spec.Store,
        drill: spec.Drill,
        platform_file: Path,
        folder: Path,
        randomness: Random,
    ) -> None:
        local = store.local_postgresql
        if local is None:
            raise AssertionError("the caller looked at the store's kind")
        self._recovery, self._store, self._drill, self._file = recovery, store, drill, platform_file
        self._random = randomness
        self._settings = Settings(
            store=store.name,
            synchronous=local.synchronous,
            standby=local.standby,
            archive_interval=local.archive_interval,
            version=local.version,
        )
        self._folder = folder
        self._helpers: list[subprocess.Popen[bytes]] = []
        self._cluster: Cluster | None = None
        self._identity = self._content = ""
        self._events = Path()
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
        self._helpers.append(start_helper("dr.endpoint", [str(self._folder)], self._folder / "endpoint.log"))
        self._wait_for_endpoint()
        self._identity, self._content = self._who(self._cluster.client)

    def _wait_for_endpoint(self) -> None:
        deadline = time.monotonic() + ENDPOINT_SECONDS
        while True:
            try:
                session.ask(self.cluster.client, "SELECT 1", timeout=2.0)
            except session.SqlError as error:
                if time.monotonic() > deadline:
                    raise NotReadyError(f"the endpoint does not lead to the store: {error}") from error
                time.sleep(0.02)
            else:
                return

    def _who(self, target: str) -> tuple[str, str]:
        """System identifier with the marker, and the digest of the content."""
        ((system, marker, content),) = session.ask(target, WHO, [self._store.name], timeout=5.0)
        return f"{system}, marker {marker}", str(content)

    def target(self) -> dict[str, Any]:
        """The database, through the endpoint."""
        return {"kind": "postgresql", "conninfo": self.cluster.client, "timeout": 1.0, "content": targets.CONTENT}

    def guard(self, events: Path) -> Sequence[str] | None:
        """`midwatch dr guard` of this cluster: the process that would do it in production."""
        self._events = events
        return [
            *modules.command("midwatch"),
            "dr",
            "guard",
            "-f",
            str(self._file),
            "--store",
            self._store.name,
            "--cluster",
            str(self._folder),
            "--events",
            str(events),
        ]

    def watched(self, events: Path) -> Path | None:
        """Where they were asked for."""
        return events

    def prepare(self, warmup: float) -> float:
        """A second backup for the drill that damages one; a first switchover for the one that comes back."""
        fault = self._drill.fault
        if fault is spec.Fault.CORRUPT_BACKUP:
            backup.take(self.cluster.server("a"), self.cluster.backups)
        if fault is spec.Fault.FAILBACK:
            recovery.request_switchover(self._folder, "b")
            self._wait_for_event("redundant")
            self._primary = "b"
        if self._settings.standby:
            self._ensure_standby()
            return warmup
        interval = max(1.0, self._settings.archive_interval)
        return max(warmup, 1.5 * interval) + self._random.uniform(0.0, interval)

    def _wait_for_event(self, kind: str) -> None:
        tail = ledger.Tail(self._events)
        deadline = time.monotonic() + SWITCH_SECONDS
        while not any(event["k"] == kind for event in tail.read()):
            if time.monotonic() > deadline:
                raise NotReadyError(f"the recoverer did not get as far as {kind!r} within {SWITCH_SECONDS:g} s")
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

    def injury(self) -> Injury:
        """What hits the primary, once nothing of the setting up is still being written to the disk."""
        self._flushing.wait()
        given: dict[str, Any] = {"target": self._primary, "folder": str(self._folder)}
        kinds: dict[spec.Fault, Fault] = {
            spec.Fault.KILL_PRIMARY: faults.KillPrimary(**given),
            spec.Fault.LOSE_REGION: faults.LoseRegion(**given),
            spec.Fault.LOSE_STORE: faults.LosePrimaryDisk(**given),
            spec.Fault.CORRUPT_BACKUP: faults.CorruptBackup(**given),
            spec.Fault.BAD_DELETE: faults.BadDelete(**given),
            spec.Fault.SPLIT_BRAIN: faults.FreezePrimary(**given),
            spec.Fault.STOP_REPLICATION: faults.StopReplication(target="b", folder=str(self._folder)),
            spec.Fault.FAILBACK: faults.Switchover(**given, to="a"),
        }
        spoils = self._drill.fault is spec.Fault.BAD_DELETE
        warns = self._drill.fault is spec.Fault.STOP_REPLICATION
        return Injury(
            fault=kinds[self._drill.fault],
            silences=not spoils and not warns,
            spoils=spoils,
            fails_over=not spoils and not warns,
            warning=self._warning() if warns else None,
            old=str(self.cluster.ports[self._primary]),
        )

    def _warning(self) -> Alarm:
        """The alert RecoveryPointAtRisk, by the exporter that publishes what it is made from."""
        (port,) = free_ports()
        command = [*modules.command("midwatch"), "dr", "export", "-f", str(self._file)]
        command += ["--listen", f"127.0.0.1:{port}", "--cluster", f"{self._store.name}={self._folder}"]
        return Alarm(
            command=tuple(command),
            url=f"http://127.0.0.1:{port}/metrics",
            metric=metrics.DR_REPLICATION_LAG.name,
            labels={"store": self._store.name, "region": "b"},
            above=self._recovery.warn_after(self._store),
        )

    # Afterwards ------------------------------------------------------------------------------------------------------

    def is_redundant(self) -> bool | None:
        """Whether the recoverer says so after the fault; a store without a standby has none."""
        return None if not self._settings.standby else self._redundant_again()

    def _redundant_again(self) -> bool:
        kinds = [event["k"] for event in ledger.read(self._events)]
        return "rerouted" in kinds and "redundant" in kinds[len(kinds) - 1 - kinds[::-1].index("rerouted") :]

    def checks(self) -> list[Check]:
        """Fence, integrity, identity and content."""
        found = [self._check_content()]
        if self._drill.fault is spec.Fault.STOP_REPLICATION:
            found.append(self._check_caught_up())
        elif self._drill.fault is not spec.Fault.BAD_DELETE:
            found.append(self._check_fence())
        found.append(self._check_integrity())
        return found

    def _check_content(self) -> Check:
        name = "the same database with the same content"
        try:
            identity, content = self._who(self.cluster.client)
        except session.SqlError as error:
            return Check(name=name, holds=None, detail=str(error))
        same = (identity, content) == (self._identity, self._content)
        detail = "" if same else f"now {identity}, {content}; before {self._identity}, {self._content}"
        return Check(name=name, holds=same, detail=detail)

    def _check_fence(self) -> Check:
        name = "the old primary cannot acknowledge"
        try:
            session.ask(self.cluster.direct(self._primary), "CREATE TABLE midwatch_drill.fence (n int)", timeout=2.0)
        except (session.NotSentError, session.RefusedError) as error:
            return Check(name=name, holds=True, detail=str(error)[:100])
        except session.UnknownError as error:
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
            self.cluster.programs.run("pg_amcheck", "--heapallindexed", server.conninfo(cluster.DATABASE))
        except PostgresError as error:
            return Check(name=name, holds=False, detail=str(error))
        return Check(name=name, holds=True, detail="pg_amcheck --heapallindexed")

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self.cluster.programs.version}

    def stop(self) -> None:
        """Stop the endpoint and every server."""
        for helper in self._helpers:
            helper.kill()
            helper.wait()
        self._helpers.clear()
        if self._cluster:
            cluster.stop(self._cluster)
