"""Recovering a PostgreSQL that others run."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from dr import split_brain
from dr.drill.client import RequestError
from dr.postgres import session
from dr.recoverer.recovery import CannotRecoverError, Health, Recovery
from dr.stores.postgresql.servers import Servers, is_standby
from dr.stores.site_commands import run
from midwatch.spec.stores.postgresql import PostgresqlCommands

WATCH = "SELECT pg_is_in_recovery(), pg_current_wal_flush_lsn() - '0/0'::pg_lsn"
RECEIVED = "SELECT pg_is_in_recovery(), greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn"
PROMOTE_SECONDS = 60.0
POLL_SECONDS = 0.1
REMEMBERED = 36_000


@dataclass(kw_only=True)
class RemoteRecovery(Recovery):
    """By SQL and the site's commands; `folder` is the recoverer's.

    After a failover there is one server, and people set it up anew, unless the commands `exchange` the servers' places.
    """

    servers: Servers
    commands: PostgresqlCommands
    rpo: float
    timeout: float
    folder: Path
    _knows_places: bool = False
    _failed_over: bool = False
    _owes_route: bool = False
    _positions: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def check(self) -> Health:
        """Ask the primary whether it is one, and whether clients were sent to it."""
        if self._owes_route:
            return Health(good=False, why="clients were not sent to the new primary")
        if self.commands.exchanges and not self._knows_places:
            self.servers, self._knows_places = self.servers.in_place(timeout=self.timeout), True
        target = self.servers.standby if self._failed_over else self.servers.primary
        try:
            ((standby, position),) = session.ask(target, WATCH, timeout=self.timeout)
        except RequestError as error:
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
        except RequestError as error:
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
        return run([*self.commands.fence, str(term)], environment=self.servers.told()) or "done"

    def recover(self) -> str:
        """`pg_promote`, unless it is done."""
        if self._owes_route:
            return "standby, promoted before"
        sql = "SELECT pg_promote(wait => true, wait_seconds => $1)"
        try:
            done = session.ask(self.servers.standby, sql, [int(PROMOTE_SECONDS)], timeout=PROMOTE_SECONDS)
        except RequestError as error:
            raise CannotRecoverError(f"the standby cannot be promoted: {error}") from error
        if done != [("t",)]:
            raise CannotRecoverError(f"the standby was not promoted within {PROMOTE_SECONDS:g} s")
        self._failed_over = self._owes_route = True
        self._positions.clear()
        return "standby"

    def reroute(self, term: int) -> str:
        """By the site's command; the term is its last argument."""
        done = run([*self.commands.reroute, str(term)], environment=self.servers.told()) or "done"
        self._owes_route = False
        return done

    # Afterwards ------------------------------------------------------------------------------------------------------

    @property
    def can_rebuild(self) -> bool:
        """Only the site can."""
        return self.commands.rebuild is not None

    def offer(self) -> str:
        """By hand, or by the site's command."""
        return (
            "no standby is left: make the old primary a standby of the new one and name the servers by what they are "
            "now, or set commands.rebuild (and guard.rebuild: true)"
        )

    def rebuild(self) -> str | None:
        """By the site's command, where there is one."""
        if self.commands.rebuild is None:
            return None
        done = run(self.commands.rebuild, environment=self.servers.told()) or "done"
        if not (self.commands.exchanges and self._failed_over):
            return done
        deadline = time.monotonic() + PROMOTE_SECONDS
        while not is_standby(self.servers.primary, timeout=self.timeout):
            if time.monotonic() > deadline:
                raise CannotRecoverError(f"the old primary is no standby {PROMOTE_SECONDS:g} s after commands.rebuild")
            time.sleep(POLL_SECONDS)
        self.servers, self._failed_over = self.servers.exchanged(), False
        self._positions.clear()
        return f"{done}; the servers have changed places"

    def rival(self) -> str | None:
        """The other server, when it takes writes: the old primary was brought back, or the standby promoted."""
        other, who = (
            (self.servers.primary, "the old primary") if self._failed_over else (self.servers.standby, "the standby")
        )
        if is_standby(other, timeout=self.timeout) is not False:
            return None
        what = f"{who} takes writes beside the primary"
        split_brain.note(self.folder, what)
        return what

    def fence_rival(self, term: int) -> str:
        """By the site's command, when it is the primary of before."""
        if not self._failed_over:
            raise CannotRecoverError(
                "somebody promoted the standby: which of the two is right is a decision for a person"
            )
        return self.fence(term)
