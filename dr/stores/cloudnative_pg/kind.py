"""Stores of kind `cloudnative_pg`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dr.drill.client import Client
from dr.postgres.client import PostgresqlClient
from dr.postgres.standby import StandbyCollector
from dr.samples import Collector, Sample
from dr.stores.cloudnative_pg import cluster
from dr.stores.cloudnative_pg.setup import CloudNativePgSetup
from dr.stores.kind import DrillSite, Kind, Right, Site
from dr.stores.setup import DrillSetup
from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.spec.stores.cloudnative_pg import CloudNativePg, CloudNativePgStore


class CloudNativePgCollector:
    """Looks at the standbys through the clients' endpoint, and at the backups by the API."""

    EVERY_SECONDS = 30.0

    def __init__(self, store: str, settings: CloudNativePg, base: Path) -> None:
        self._store, self._settings = store, settings
        self._standbys = StandbyCollector(store, lambda: cluster.endpoint_of(settings, base))
        self._asked = float("-inf")
        self._newest: float | None = None

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look; MidwatchError when the primary does not answer.

        Of backups what was known last stays when the cluster does not answer, and 0 is published while none that is
        whole is known. Nothing is published for a cluster that has no backups at all: none were asked for.
        """
        yield from self._standbys.collect(now)
        if now - self._asked > self.EVERY_SECONDS:
            self._newest = self._ask()
            self._asked = now
        if self._newest is not None:
            yield metrics.DR_BACKUP_SUCCESS, {"store": self._store}, self._newest

    def _ask(self) -> float | None:
        try:
            return cluster.newest_database_backup(self._settings)
        except MidwatchError:
            return self._newest or 0.0


class CloudNativePgKind(Kind[CloudNativePgStore]):
    """A PostgreSQL cluster of CloudNativePG."""

    name = "cloudnative_pg"
    lag_advice = "the cluster has to answer at endpoint_file, by a role that has pg_monitor"

    def setup(self, site: DrillSite[CloudNativePgStore]) -> DrillSetup:
        """A switchover."""
        return CloudNativePgSetup(site)

    def client(self, arguments: dict[str, Any], run: str) -> Client:
        """The database."""
        return PostgresqlClient(run=run, **arguments)

    def collector(self, site: Site[CloudNativePgStore]) -> Collector | None:
        """At standbys and backups."""
        return CloudNativePgCollector(site.store.name, site.store.cloudnative_pg, site.base)

    def looking_rights(self, store: CloudNativePgStore) -> Iterator[Right]:
        """To see the backups; the database itself is asked through its endpoint."""
        namespace = store.cloudnative_pg.namespace
        yield Right(namespace=namespace, group="postgresql.cnpg.io", resource="backups", verbs=("list",))

    def rights(self, store: CloudNativePgStore) -> Iterator[Right]:
        """To see that drills are allowed, and to ask for another primary."""
        namespace, names = store.cloudnative_pg.namespace, (store.cloudnative_pg.cluster,)
        group = "postgresql.cnpg.io"
        yield Right(namespace=namespace, group="", resource="namespaces", verbs=("get",))
        yield Right(namespace=namespace, group=group, resource="clusters", verbs=("get",), names=names)
        yield Right(namespace=namespace, group=group, resource="clusters/status", verbs=("patch",), names=names)
