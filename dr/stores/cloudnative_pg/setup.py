"""Drills of a cluster of CloudNativePG."""

from __future__ import annotations

from dr.drill.client import ClientConfig, RequestError
from dr.drill.verdict import Check
from dr.postgres import client, session
from dr.stores import namespaces
from dr.stores.cloudnative_pg import cluster
from dr.stores.kind import DrillSite
from dr.stores.namespaces import OperatorError
from dr.stores.setup import DrillSetup, NotReadyError, PlannedFault
from midwatch.errors import MidwatchError
from midwatch.spec.stores.cloudnative_pg import CloudNativePgStore

OBSERVABLE = "SELECT current_setting('server_version'), to_regclass('midwatch_drill.writes'), inet_server_port()"
TABLE = (
    "create it: CREATE SCHEMA midwatch_drill; CREATE TABLE midwatch_drill.writes (run text NOT NULL, "
    "seq bigint NOT NULL, checksum text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
)


class CloudNativePgSetup(DrillSetup):
    """The setup of a cluster as it is, if it may be hurt."""

    def __init__(self, site: DrillSite[CloudNativePgStore]) -> None:
        self._kind, self._settings, self._base = site.store.kind, site.store.cloudnative_pg, site.base
        self._path = site.base / self._settings.endpoint_file
        self._primary = self._to = self._endpoint = self._version = ""

    def start(self) -> None:
        """Look whether drills are allowed and a standby is ready; NotReadyError otherwise."""
        namespaces.ensure_allowed(self._settings.namespace)
        self._primary, standbys = cluster.instances(self._settings)
        if not standbys:
            raise NotReadyError(f"{self._settings.cluster} has no standby that is ready")
        self._to = standbys[0]
        self._endpoint = cluster.endpoint_of(self._settings, self._base)
        self._version = self._ensure_observable()

    def _ensure_observable(self) -> str:
        """The version of a database that the observer can write to; NotReadyError when it cannot."""
        try:
            ((version, table, port),) = session.ask(self._endpoint, OBSERVABLE, timeout=5.0)
        except RequestError as error:
            raise NotReadyError(f"{self._settings.cluster} does not answer: {error}") from error
        if table is None:
            raise NotReadyError(f"{self._path}: the table for the observer's writes is missing there; {TABLE}")
        if port is None:
            raise NotReadyError(f"{self._path} leads to a socket file: nobody can tell which server answers there")
        return str(version)

    def client(self) -> ClientConfig:
        """The database, through the cluster's service."""
        return client.config(self._kind, self._endpoint, content=None)

    def fault(self) -> PlannedFault:
        """A switchover to the first standby that is ready.

        The old primary goes on taking writes until it is told; the recovery is the first write that another one takes.
        """
        name = f"{self._settings.namespace}/{self._settings.cluster}"
        fault = cluster.CloudNativePgSwitchover(
            target=name, was=self._primary, to=self._to, endpoint_file=str(self._path)
        )
        old = client.server_of(self._endpoint, timeout=5.0)
        return PlannedFault(fault=fault, silences=False, old=old)

    def is_redundant(self) -> bool | None:
        """Whether a standby is ready again."""
        try:
            return bool(cluster.instances(self._settings)[1])
        except OperatorError:
            return False

    def checks(self) -> list[Check]:
        """The new primary is the one that was asked for."""
        name = "the operator has settled on the new primary"
        try:
            now, _ = cluster.instances(self._settings)
        except MidwatchError as error:
            return [Check(name=name, holds=None, detail=str(error))]
        return [Check(name=name, holds=now == self._to, detail=now)]

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self._version}

    def stop(self) -> None:
        """Nothing was started."""
