"""Drills of a PostgreSQL that others run."""

from __future__ import annotations

from dr.drill.client import ClientConfig, RefusedError, RequestError
from dr.drill.verdict import Check
from dr.postgres import client, session
from dr.stores.kind import DrillSite
from dr.stores.postgresql import servers
from dr.stores.postgresql.servers import Servers
from dr.stores.setup import NotReadyError, PlannedFault, RecoveredSetup
from dr.stores.site_commands import CommandFault
from midwatch import modules
from midwatch.spec.stores.postgresql import PostgresqlStore

WHO = (
    "SELECT (SELECT system_identifier FROM pg_control_system()), "
    "(SELECT count(*) FROM midwatch_drill.allowed WHERE store = $1), current_setting('server_version')"
)

PLACE_SECONDS = 5.0


class RemoteSetup(RecoveredSetup):
    """The store must hold the marker, and a table for the observer's writes."""

    take_over = True

    def __init__(self, site: DrillSite[PostgresqlStore]) -> None:
        super().__init__(site.file, site.store.name)
        self._store, self._settings = site.store, site.store.postgresql
        self._servers = Servers.read(self._settings, site.base)
        self._before: tuple[str, str] = ("", "")

    def start(self) -> None:
        """Look whether drills are allowed; NotReadyError otherwise."""
        if self._settings.commands.inject is None:
            raise NotReadyError(f"{self._store.name}: commands.inject is missing: only the site can kill its primary")
        self._before = self._who()
        if self._settings.commands.exchanges:
            self._servers = self._servers.in_place(timeout=PLACE_SECONDS)

    def _who(self) -> tuple[str, str]:
        try:
            ((system, marker, version),) = session.ask(self._servers.endpoint, WHO, [self._store.name], timeout=5.0)
        except RefusedError as error:
            raise NotReadyError(self._forbidden(str(error))) from error
        except RequestError as error:
            raise NotReadyError(f"{self._store.name} does not answer: {error}") from error
        if marker == "0":
            raise NotReadyError(self._forbidden("its marker is missing"))
        return str(system), str(version)

    def _forbidden(self, why: str) -> str:
        return (
            f"{self._store.name} does not allow drills ({why}): is it production? If it may be hurt, create the schema "
            "midwatch_drill in it, with the tables allowed (store text) and writes (run text, seq bigint, checksum "
            f"text), and put {self._store.name!r} into allowed"
        )

    def client(self) -> ClientConfig:
        """The database, through the clients' own endpoint."""
        return client.config(self._store.kind, self._servers.endpoint, content=self._settings.content)

    def fault(self) -> PlannedFault:
        """The site's own fault; effective is what the primary does, not what the command says."""
        given = self._settings.commands
        fault = CommandFault(
            target=self._store.name,
            injects=tuple(given.inject or ()),
            effective=tuple(modules.command(servers.__name__, str(self._servers.primary_file))),
            reverts=tuple(given.revert or ()),
        )
        return PlannedFault(fault=fault, clients_follow="target_session_attrs" in self._servers.endpoint)

    def is_redundant(self) -> bool | None:
        """Whether the site's rebuild is done; None without one."""
        if self._settings.commands.rebuild is None:
            return None
        return super().is_redundant()

    def checks(self) -> list[Check]:
        """The same database, and the old primary is fenced."""
        try:
            same = self._who()[0] == self._before[0]
            identity = Check(name="the same database", holds=same)
        except NotReadyError as error:
            identity = Check(name="the same database", holds=None, detail=str(error))
        fenced = not servers.takes_writes(self._servers.primary_file)
        return [identity, Check(name="the old primary cannot acknowledge", holds=fenced)]

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self._before[1]}

    def stop(self) -> None:
        """Nothing was started."""
