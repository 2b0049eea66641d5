"""Recovering a local cluster: promote the standby, restore the newest good backup, or go back before a bad change."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dr import split_brain
from dr.drill.client import RefusedError, RequestError
from dr.postgres import session
from dr.recoverer.recovery import CannotRecoverError, Health, Recovery
from dr.stores.local_postgresql import archive, backup, cluster, endpoint, instance, replay
from dr.stores.local_postgresql.archive import Archive
from dr.stores.local_postgresql.cluster import REGIONS, Cluster
from dr.stores.local_postgresql.instance import DOWN, Instance
from dr.stores.local_postgresql.programs import PostgresError
from midwatch import files

CHECK = (
    "SELECT pg_is_in_recovery(), pg_current_wal_flush_lsn() - '0/0'::pg_lsn, pg_current_wal_flush_lsn(), "
    f"({cluster.CONTENT})"
)
WHERE = "SELECT pg_is_in_recovery(), current_setting('data_directory')"
ARCHIVE_SECONDS = 30.0
CHECKS_A_CONNECTION = 10
"""A new connection costs more than a check: authentication is slow on purpose."""
REMEMBERED = 36_000
"""Positions of good checks that are kept: an hour at ten a second."""


@dataclass(kw_only=True)
class ClusterRecovery(Recovery):
    """The recovery of a local cluster. `rpo` is seconds: a standby further behind is not promoted.

    `timeout` is seconds that a check may take before it has failed.
    """

    cluster: Cluster
    rpo: float
    timeout: float = 0.5
    _content: str | None = None
    _is_spoiled: bool = False
    _positions: deque[tuple[float, int, str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _session: tuple[str, int, session.Session] | None = None
    _target: str = ""
    _how: str = ""

    # Looking ---------------------------------------------------------------------------------------------------------

    def check(self) -> Health:
        """Ask the primary, past the endpoint, whether it is one and holds what it held."""
        instance.reap()
        now = time.monotonic()
        try:
            ((standby, position, lsn, content),) = self._asked()
        except RefusedError as error:
            return Health(good=False, why="read-only" if error.code == "55000" else str(error))
        except RequestError as error:
            return Health(good=False, why=str(error))
        if standby != "f":
            return Health(good=False, why="the primary is read-only")
        self._content = self._content or content
        self._is_spoiled = content != self._content
        if self._is_spoiled:
            return Health(good=False, why=f"content: {content}, was {self._content}")
        self._positions.append((now, int(float(position or 0)), lsn or ""))
        return Health(good=True)

    def _asked(self) -> list[session.Row]:
        """Answer of the primary, on a connection that is made anew now and then: it must take new ones, too."""
        region = self.primary
        if self._session is None or self._session[0] != region or self._session[1] >= CHECKS_A_CONNECTION:
            self._hang_up()
            self._session = (region, 0, session.Session.connect(self.cluster.direct(region), timeout=self.timeout))
        _, count, connection = self._session
        try:
            rows = connection.execute(CHECK, timeout=self.timeout)
        except RequestError:
            self._hang_up()
            raise
        self._session = (region, count + 1, connection)
        return rows

    def _hang_up(self) -> None:
        if self._session:
            self._session[2].close()
        self._session = None

    @property
    def primary(self) -> str:
        """Region that clients are sent to."""
        return str(endpoint.route_of(self.cluster.folder)["region"])

    @property
    def other(self) -> str:
        """The other region."""
        return next(region for region in REGIONS if region != self.primary)

    def _candidate(self) -> Instance | None:
        """The standby, when it is one and answers."""
        standby = self.cluster.server(self.other)
        try:
            return standby if standby.is_standby(timeout=self.timeout) else None
        except RequestError:
            return None

    def loss(self, standby: Instance) -> float:
        """Seconds of commits, up to the last good check, that a standby has not received."""
        ((received,),) = session.ask(
            standby.conninfo(),
            "SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn",
            timeout=2.0,
        )
        if not self._positions:
            return 0.0
        has = [at for at, position, _ in self._positions if position <= int(float(received or 0))]
        return self._positions[-1][0] - (has[-1] if has else self._positions[0][0])

    # Recovering ------------------------------------------------------------------------------------------------------

    def plan(self) -> str:
        """Promote, restore to the end of the archive, or restore to just before the content changed."""
        self._how, self._target = self._chosen()
        return f"{self._how} in region {self._target}"

    def _chosen(self) -> tuple[str, str]:
        if self._is_spoiled or self._content_is_bad():  # the standby has the bad change, too, whatever failed since
            if not self._positions:
                raise CannotRecoverError("the content is bad, and no good position was ever seen")
            return "restore to the last good position", self.primary
        standby = self._candidate()
        if standby is None:
            if self.cluster.settings.standby:
                raise CannotRecoverError(f"the standby in region {self.other} does not answer as one")
            return "restore", self.other
        if (behind := self.loss(standby)) > self.rpo:
            raise CannotRecoverError(
                f"the standby is {behind:.1f} s behind, more than the RPO of {self.rpo:g} s: promoting it is "
                "a decision for a person"
            )
        return "promote", self.other

    def _content_is_bad(self) -> bool:
        try:
            ((*_, content),) = session.ask(self.cluster.direct(self.primary), CHECK, timeout=self.timeout)
        except RequestError:
            return False
        return self._content is not None and content != self._content

    def fence(self, term: int) -> str:
        """Kill the primary and take its data directory away."""
        old = self.cluster.server(self.primary)
        if self._how.startswith("restore to") and self._content_is_bad():  # else it was done before, or is too late
            self._archive_now(old)
        aside = old.fence(term)
        return f"killed, data moved to {aside.name}" if aside else "there was nothing left"

    def _archive_now(self, primary: Instance) -> None:
        """Get the WAL up to now into the archive; the server still runs."""
        try:
            ((segment,),) = session.ask(primary.conninfo(), "SELECT pg_walfile_name(pg_switch_wal())", timeout=5.0)
        except RequestError as error:
            raise PostgresError(f"the last WAL cannot be archived: {error}") from error
        backup.wait_until_archived(self.cluster.archive, str(segment), seconds=ARCHIVE_SECONDS)

    def recover(self) -> str:
        """Promote or restore; returns from what."""
        server = self.cluster.server(self._target)
        if self._how == "promote":
            server.promote()
            if self.cluster.settings.synchronous:
                # Nobody could acknowledge with it: there is no second server until the rebuild.
                cluster.set_synchronous(server, on=False)
            return "standby"
        if self._how.startswith("restore to"):
            return self._restored_before_the_change(server)
        good, flaws = backup.newest_good(self.cluster.backups, self.cluster.programs)
        self._lay_down(good, server, until=None)
        replay.follow(server, lambda: not server.is_standby(), self.say)
        hole = Archive(self.cluster.archive).unseen(*archive.replayed(server))
        return f"backup {good.name} and WAL{_unused(flaws)}{f'; {hole}' if hole else ''}"

    def _restored_before_the_change(self, server: Instance) -> str:
        """Go back to the newest good check, or further: to where the store holds what it held.

        A commit is in the WAL before anybody sees it, a synchronous one for as long as the standby takes. A check may
        thus be good and its position be behind the bad change; only the restored content tells.
        """
        for position, until in _further_and_further(self._positions):
            good, flaws = backup.newest_good(self.cluster.backups, self.cluster.programs, until=position)
            self._lay_down(good, server, until=until)
            if self._holds_what_it_held(server):
                backup.go_on(server)
                replay.wait(server, lambda: not server.is_standby(), self.say)
                backup.forget_target(server)
                return f"backup {good.name} and WAL up to {until}{_unused(flaws)}"
            server.kill()
            shutil.rmtree(server.data)
        raise PostgresError("the content is bad at every position that was tried")

    def _lay_down(self, good: backup.Backup, server: Instance, *, until: str | None) -> None:
        self.cluster.configure(server)
        backup.restore(good, server, self.cluster.archive, until_lsn=until)
        server.skip_first_sync()

    def _holds_what_it_held(self, server: Instance) -> bool:
        """Once the replay has come to the position."""
        replay.follow(server, lambda: backup.is_paused(server), self.say)
        return session.ask(server.conninfo(cluster.DATABASE), cluster.CONTENT) == [(self._content,)]

    def reroute(self, term: int) -> str:
        """Give the endpoint the new route, which cuts every connection."""
        cut = endpoint.reroute(self.cluster.control, term=term, region=self._target)
        self._positions.clear()
        return f"region {self._target}, {cut} connections cut"

    # Afterwards ------------------------------------------------------------------------------------------------------

    def rebuild(self) -> str | None:
        """Make the other region a standby of the primary, once that region is there."""
        if not self.cluster.settings.standby:
            return f"{backup.take(self.cluster.server(self.primary), self.cluster.backups).name} taken"
        folder = self.cluster.folder / self.other
        if (folder / DOWN).exists():
            return None
        lost = self.cluster.server(self.other)
        if lost.data.exists():  # a standby of the history that was given up
            lost.fence(0)
        cluster.seed_standby(self.cluster, source=self.primary, target=self.other)
        return f"standby in region {self.other}"

    def offer(self) -> str:
        """By the recoverer itself."""
        return f"set guard.rebuild: true, and region {self.other} is made a standby of region {self.primary} again"

    def rival(self) -> str | None:
        """The other region's server, when it takes writes: somebody brought back what was fenced, or promoted it."""
        try:
            ((standby, data),) = session.ask(self._rival.conninfo(), WHERE, timeout=self.timeout)
        except RequestError:
            return None
        if standby != "f":
            return None
        what = f"region {self.other} takes writes beside region {self.primary}, from {data}"
        split_brain.note(self.cluster.folder, what)
        return what

    @property
    def _rival(self) -> Instance:
        return self.cluster.server(self.other)

    def fence_rival(self, term: int) -> str:
        """Kill it and take its data away, if that is in the store's own folder: only then it is surely ours."""
        ((_, data),) = session.ask(self._rival.conninfo(), WHERE, timeout=self.timeout)
        folder = Path(str(data)).resolve()
        if not folder.is_relative_to(self.cluster.folder.resolve()):
            raise CannotRecoverError(f"the second primary runs in {folder}, which is not of this store: end it by hand")
        aside = self._rival.fence(term, running_in=folder)
        return f"the second primary was killed, data moved to {aside.name if aside else 'nothing'}"

    @property
    def _request(self) -> Path:
        return self.cluster.folder / "switchover.json"

    def requested(self) -> str | None:
        """The region that a planned switchover is asked for."""
        try:
            region = str(json.loads(self._request.read_text())["region"])
        except (OSError, ValueError, KeyError):
            return None
        self._request.unlink()
        return region if region != self.primary else None

    def switch(self, request: str, term: int) -> str:
        """Shut the primary down cleanly, so that the standby has everything, and promote it."""
        standby = self._candidate()
        if standby is None:
            raise CannotRecoverError(f"region {request} has no standby to switch to")
        old = self.cluster.server(self.primary)
        old.stop()  # a fast shutdown waits until the standby has received the last record
        old.fence(term)
        standby.promote()
        if self.cluster.settings.synchronous:
            cluster.set_synchronous(standby, on=False)
        self._target = request
        return "standby, after a clean shutdown"


def _further_and_further(positions: deque[tuple[float, int, str]]) -> Iterator[tuple[int, str]]:
    """The newest position, the one before it, the second before that, the fourth, and so on to the oldest.

    >>> tried = _further_and_further(deque((float(n), n, f"0/{n}") for n in (1, 2, 3, 4, 4, 4)))
    >>> [until for _, until in tried]
    ['0/4', '0/3', '0/1']
    """
    known = list(dict.fromkeys((position, until) for _, position, until in reversed(positions)))
    back = 1
    while back <= len(known):
        yield known[back - 1]
        back *= 2
    if known and back // 2 < len(known):
        yield known[-1]


def _unused(flaws: list[str]) -> str:
    return f"; not used: {'; '.join(flaws)}" if flaws else ""


def request_switchover(folder: Path, region: str) -> None:
    """Ask the recoverer of a local cluster for a planned switchover."""
    files.replace(folder / "switchover.json", json.dumps({"region": region}).encode())
