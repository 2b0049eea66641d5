"""Stores of kind `postgresql`: PostgreSQL that others run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from midwatch.spec.base import Strict
from midwatch.spec.stores.base import Command, Store


class Fault(StrEnum):
    """What a drill can do to it."""

    KILL_PRIMARY = "kill_primary"


class PostgresqlCommands(Strict):
    """What only the site can do to its servers."""

    inject: Command | None = None
    """Loses the primary; a drill needs it."""
    revert: Command | None = None
    """Undoes what `inject` left, after a drill."""
    fence: Command
    """Makes sure that the old primary cannot acknowledge; the recovery's term is added as its last argument."""
    reroute: Command
    """Sends clients to the new primary; the recovery's term is added as its last argument."""
    rebuild: Command | None = None
    """Makes the old primary a standby of the new one; without it the recoverer only says that none is left."""
    exchanges: bool = False
    """The commands go by the files that they are told, so that the servers change places with a `rebuild`."""

    @model_validator(mode="after")
    def _exchange_needs_rebuild(self) -> PostgresqlCommands:
        if self.exchanges and self.rebuild is None:
            raise ValueError("exchanges needs rebuild: without it there is no second server to change places with")
        return self


class Postgresql(Strict):
    """PostgreSQL that others run: the connection strings (in files) of the clients' endpoint and of both servers."""

    endpoint_file: Path = Field(strict=False)
    """File with the connection string that clients use."""
    primary_file: Path = Field(strict=False)
    """File with the connection string of the primary, past the endpoint."""
    standby_file: Path = Field(strict=False)
    """File with the connection string of the standby, past the endpoint."""
    commands: PostgresqlCommands
    """What only the site can do to its servers."""
    content: str | None = None
    """A query with one value that the observer runs with each read: while it fails, readers are not served."""


class PostgresqlStore(Store):
    """A store of kind `postgresql`."""

    kind: ClassVar[str] = "postgresql"
    faults: ClassVar[type[StrEnum]] = Fault
    has_cluster_lease: ClassVar[bool] = True

    postgresql: Postgresql

    @property
    def has_standby(self) -> bool:
        """Always."""
        return True

    @property
    def has_two_servers(self) -> bool:
        """Always."""
        return True
