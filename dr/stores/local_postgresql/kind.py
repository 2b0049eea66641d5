"""Stores of kind `local_postgresql`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dr.drill.client import Client
from dr.postgres.client import PostgresqlClient
from dr.recoverer.recovery import Recovery
from dr.samples import Collector
from dr.stores.kind import DrillSite, Kind, Restored, Site
from dr.stores.local_postgresql import cluster, verification
from dr.stores.local_postgresql.collector import LocalCollector
from dr.stores.local_postgresql.recovery import ClusterRecovery
from dr.stores.local_postgresql.running import RunningSetup
from dr.stores.local_postgresql.setup import LocalSetup
from dr.stores.setup import DrillSetup
from midwatch.errors import MidwatchError
from midwatch.spec.stores.local_postgresql import LocalPostgresqlStore


class LocalPostgresqlKind(Kind[LocalPostgresqlStore]):
    """PostgreSQL that Midwatch runs on this machine."""

    name = "local_postgresql"
    lag_advice = "name its running cluster with --cluster STORE=FOLDER"
    is_local = True

    def setup(self, site: DrillSite[LocalPostgresqlStore]) -> DrillSetup:
        """Servers of its own, or those of a running `midwatch up`."""
        return LocalSetup(site) if site.state is None else RunningSetup(site, site.state)

    def client(self, arguments: dict[str, Any], run: str) -> Client:
        """The database."""
        return PostgresqlClient(run=run, **arguments)

    def recovery(self, site: Site[LocalPostgresqlStore]) -> tuple[Recovery, Path]:
        """Of the cluster in the folder."""
        running = cluster.load(site.own_folder)
        if running.settings.store != site.store.name:
            raise MidwatchError(
                f"{site.own_folder} holds the store {running.settings.store!r}, not {site.store.name!r}"
            )
        rpo = site.promised.rpo_of(site.store)
        return ClusterRecovery(cluster=running, rpo=rpo, timeout=site.promised.guard.timeout), site.own_folder

    def collector(self, site: Site[LocalPostgresqlStore]) -> Collector | None:
        """Where a cluster runs."""
        return LocalCollector(site.store.name, site.folder) if site.folder else None

    def verify(self, site: Site[LocalPostgresqlStore], say: Callable[[str], None]) -> Restored:
        """From the cluster's own backups and archive."""
        return verification.verify(cluster.load(site.own_folder), say)

    def stop_leftovers(self, folder: Path) -> None:
        """Servers."""
        cluster.stop_below(folder)
