"""PostgreSQL that others run: watched and promoted by SQL, fenced and re-routed by the site's own commands."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dr import ledger
from dr.commands import CommandError, CommandFault, run
from dr.guard import CannotRecoverError, Health
from dr.postgres import session
from dr.scene import Injury, NotReadyError
from dr.verdict import Check
from midwatch import modules
from midwatch.spec import dr as spec

WATCH = "SELECT pg_is_in_recovery(), pg_current_wal_flush_lsn() - '0/0'::pg_lsn"
RECEIVED = "SELECT pg_is_in_recovery(), greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn"
WHO = (
    "SELECT (SELECT system_identifier FROM pg_control_system()), "
    "(SELECT count(*) FROM midwatch_drill.allowed WHERE store = $1), current_setting('server_version')"
)
PROMOTE_SECONDS = 60.0
REMEMBERED = 36_000


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Connection strings, from their files: of the clients' endpoint and of both servers."""

    endpoint: str
    primary: str
    standby: str

    @classmethod
    def read(cls, settings: spec.Postgresql, base: Path) -> Servers:
        """Read them; NotReadyError when a file cannot be read."""
        names = {"endpoint": settings.endpoint_file, "primary": settings.primary_file, "standby": settings.standby_file}
        found = {}
        for name, path in names.items():
            try:
                found[name] = (base / path).read_text().strip()
            except OSError as error:
                raise NotReadyError(f"{base / path}: {error.strerror}; it holds the connection string") from error
        return cls(**found)


@dataclass(kw_only=True)
class RemoteRecovery:
    """Implements `guard.Recovery`. After a failover the servers have changed places, once: a person sets it up anew."""

    servers: Servers
    commands: spec.PostgresqlCommands
    rpo: float
    timeout: float
    _failed_over: bool = False
    _owes_route: bool = False
    _positions: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def check(self) -> Health:
        """Ask the primary whether it is one, and whether clients were sent to it."""
        if self._owes_route:
            return Health(good=False, why="clients were not sent to the new primary")
        target = self.servers.standby if self._failed_over else self.servers.primary
        try:
            ((standby, position),) = session.ask(target, WATCH, timeout=self.timeout)
        except session.SqlError as error:
            return Health(good=False, why=str(error))
        if standby != "f":
            return Health(good=False, why="the primary is read-only")
        self._positions.append((time.monotonic(), int(float(position or 0))))
        return Health(good=True)

    def plan(self) -> str:
        """Promote the standby, if it is one, answers, and lacks less than the RPO; else, once promoted, the route."""
        if self._owes_route:
            return "send clients to the standby, which is promoted"
        if self._failed_over:
            raise CannotRecoverError("it has failed over once; there is no second standby")
        try:
            ((standby, received),) = session.ask(self.servers.standby, RECEIVED, timeout=self.timeout)
        except session.SqlError as error:
            raise CannotRecoverError(f"the standby does not answer: {error}") from error
        if standby != "t":
            # Whoever promoted it may have done so long ago, and what primary_file names may be its standby by now.
            raise CannotRecoverError("the standby is a primary already: name the servers by what they are now")
        if received is None:
            raise CannotRecoverError("the standby is none: it has received nothing")
        has = [at for at, position in self._positions if position <= int(float(received))]
        behind = self._positions[-1][0] - (has[-1] if has else self._positions[0][0]) if self._positions else 0.0
        if behind > self.rpo:
            raise CannotRecoverError(f"the standby is {behind:.1f} s behind, more than the RPO of {self.rpo:g} s")
        return "promote the standby"

    def fence(self, term: int) -> str:
        """By the site's command; the term is its last argument."""
        return run([*self.commands.fence, str(term)]) or "done"

    def recover(self) -> str:
        """`pg_promote`, unless it is done."""
        if self._owes_route:
            return "standby, promoted before"
        sql = "SELECT pg_promote(wait => true, wait_seconds => $1)"
        try:
            done = session.ask(self.servers.standby, sql, [int(PROMOTE_SECONDS)], timeout=PROMOTE_SECONDS)
        except session.SqlError as error:
            raise CannotRecoverError(f"the standby cannot be promoted: {error}") from error
        if done != [("t",)]:
            raise CannotRecoverError(f"the standby was not promoted within {PROMOTE_SECONDS:g} s")
        self._failed_over = self._owes_route = True
        self._positions.clear()
        return "standby"

    def reroute(self, term: int) -> str:
        """By the site's command; the term is its last argument."""
        done = run([*self.commands.reroute, str(term)]) or "done"
        self._owes_route = False
        return done

    def rebuild(self) -> str | None:
        """By the site's command, where there is one."""
        return run(self.commands.rebuild) or "done" if self.commands.rebuild else None

    def requested(self) -> str | None:
        """Nothing can be asked for."""
        return None

    def switch(self, request: str, term: int) -> str:  # noqa: ARG002 - part of the protocol
        """Never asked for."""
        raise CommandError("no switchover is known")


class RemoteScene:
    """Implements `scene.Scene`. The store must hold the marker, and a table for the observer's writes."""

    def __init__(self, store: spec.Store, platform_file: Path, folder: Path) -> None:
        if store.postgresql is None:
            raise AssertionError("the caller looked at the store's kind")
        self._store, self._settings, self._file, self._folder = store, store.postgresql, platform_file, folder
        self._servers = Servers.read(store.postgresql, platform_file.parent)
        self._events = Path()
        self._before: tuple[str, str] = ("", "")

    def start(self) -> None:
        """Look whether drills are allowed; NotReadyError otherwise."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._settings.commands.inject is None:
            raise NotReadyError(f"{self._store.name}: commands.inject is missing: only the site can kill its primary")
        self._before = self._who()

    def _who(self) -> tuple[str, str]:
        try:
            ((system, marker, version),) = session.ask(self._servers.endpoint, WHO, [self._store.name], timeout=5.0)
        except session.RefusedError as error:
            raise NotReadyError(self._forbidden(str(error))) from error
        except session.SqlError as error:
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

    def target(self) -> dict[str, Any]:
        """The database, through the clients' own endpoint."""
        return {
            "kind": "postgresql",
            "conninfo": self._servers.endpoint,
            "timeout": 1.0,
            "content": self._settings.content,
        }

    def guard(self, events: Path) -> Sequence[str] | None:
        """`midwatch dr guard` of this store."""
        self._events = events
        return [
            *modules.command("midwatch"),
            "dr",
            "guard",
            "-f",
            str(self._file),
            "--store",
            self._store.name,
            "--events",
            str(events),
            "--take-over",
        ]

    def watched(self, events: Path) -> Path | None:
        """Where they were asked for."""
        return events

    def prepare(self, warmup: float) -> float:
        """As asked."""
        return warmup

    def injury(self) -> Injury:
        """The site's own fault; effective is what the primary does, not what the command says."""
        given = self._settings.commands
        script = "import sys; from dr.postgres import remote; sys.exit(remote.still_writes(sys.argv[1]))"
        path = (self._file.parent / self._settings.primary_file).resolve()
        fault = CommandFault(
            target=self._store.name,
            injects=tuple(given.inject or ()),
            effective=(sys.executable, "-c", script, str(path)),
            reverts=tuple(given.revert or ()),
        )
        return Injury(fault=fault)

    def is_redundant(self) -> bool | None:
        """Whether the site's rebuild is done; None without one."""
        if self._settings.commands.rebuild is None:
            return None
        return any(event["k"] == "redundant" for event in ledger.read(self._events))

    def checks(self) -> list[Check]:
        """The same database, and the old primary is fenced."""
        try:
            same = self._who()[0] == self._before[0]
            identity = Check(name="the same database", holds=same)
        except NotReadyError as error:
            identity = Check(name="the same database", holds=None, detail=str(error))
        path = self._file.parent / self._settings.primary_file
        fenced = still_writes(str(path)) == 0
        return [identity, Check(name="the old primary cannot acknowledge", holds=fenced)]

    def versions(self) -> dict[str, str]:
        """PostgreSQL's."""
        return {"postgresql": self._before[1]}

    def stop(self) -> None:
        """Nothing was started."""


def still_writes(path: str) -> int:
    """1 when the server of a connection file takes a write, 0 when not: an exit code."""
    try:
        session.ask(Path(path).read_text().strip(), "CREATE TEMPORARY TABLE midwatch_probe (n int)", timeout=2.0)
    except session.SqlError:
        return 0
    return 1
