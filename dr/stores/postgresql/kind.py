"""Stores of kind `postgresql`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dr.drill.client import Client
from dr.postgres.client import PostgresqlClient
from dr.recoverer.recovery import Recovery
from dr.samples import Collector
from dr.stores.kind import DrillSite, Kind, Site
from dr.stores.postgresql.collector import ServersCollector
from dr.stores.postgresql.recovery import RemoteRecovery
from dr.stores.postgresql.servers import Servers
from dr.stores.postgresql.setup import RemoteSetup
from dr.stores.setup import DrillSetup
from midwatch.spec.stores.postgresql import PostgresqlStore


class PostgresqlKind(Kind[PostgresqlStore]):
    """PostgreSQL that others run."""

    name = "postgresql"
    lag_advice = "its servers have to answer the connection strings of primary_file and standby_file, with pg_monitor"

    def setup(self, site: DrillSite[PostgresqlStore]) -> DrillSetup:
        """The servers as they are, if they may be hurt."""
        return RemoteSetup(site)

    def client(self, arguments: dict[str, Any], run: str) -> Client:
        """The database."""
        return PostgresqlClient(run=run, **arguments)

    def recovery(self, site: Site[PostgresqlStore]) -> tuple[Recovery, Path]:
        """By SQL and the site's commands."""
        settings = site.store.postgresql
        recovery = RemoteRecovery(
            servers=Servers.read(settings, site.base),
            commands=settings.commands,
            rpo=site.promised.rpo_of(site.store),
            timeout=site.promised.guard.timeout,
            folder=site.state_folder,
        )
        return recovery, site.state_folder

    def collector(self, site: Site[PostgresqlStore]) -> Collector | None:
        """At both servers."""
        servers = Servers.read(site.store.postgresql, site.base)
        return ServersCollector(site.store.name, servers, site.state_folder)
