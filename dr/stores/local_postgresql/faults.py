"""Faults of a local cluster. Each is verified by what it does, not by the signal that was sent, and can be reverted.

The recoverer is told of none of them.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from chaos.faults import Fault
from dr.drill.client import RequestError
from dr.postgres import session
from dr.stores.local_postgresql import archive, backup, cluster, recovery
from dr.stores.local_postgresql.cluster import Cluster
from dr.stores.local_postgresql.instance import DOWN, Instance
from midwatch import processes

PROBE_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class ClusterFault(Fault):
    """A fault of the cluster in a folder; `target` is the region."""

    folder: str

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return cluster.load(Path(self.folder))

    @property
    def server(self) -> Instance:
        """The server of the region that is hit."""
        return self.cluster.server(self.target)

    def acknowledges(self) -> bool:
        """Whether the server takes a write, past the endpoint."""
        try:
            session.ask(
                self.cluster.direct(self.target), "CREATE TEMPORARY TABLE midwatch_probe (n int)", timeout=PROBE_SECONDS
            )
        except RequestError:
            return False
        return True

    def revert(self) -> None:
        """Nothing of it stays: the recoverer has made the region a standby, or the drill stops it."""

    def is_reverted(self) -> bool:
        """Nothing of it stays."""
        return True


@dataclass(frozen=True, kw_only=True)
class KillPrimary(ClusterFault):
    """`kill -9` of all processes of the primary, as when its machine loses power."""

    def inject(self) -> None:
        """Kill it."""
        self.server.kill()

    def is_effective(self) -> bool:
        """Its processes are gone, and it takes no write."""
        return not self.server.is_alive() and not self.acknowledges()

    def describe(self) -> str:
        """In a line."""
        return "kill -9 of the primary and all its processes"


@dataclass(frozen=True, kw_only=True)
class LosePrimaryDisk(KillPrimary):
    """The primary and its disk are gone."""

    def inject(self) -> None:
        """Kill it, and take the data away."""
        self.server.kill()
        self.server.data.rename(self.server.folder / "data.lost")

    def is_effective(self) -> bool:
        """Nothing runs, nothing is there."""
        return not self.server.data.exists() and super().is_effective()

    def describe(self) -> str:
        """In a line."""
        return "the primary is killed and its disk is gone"


@dataclass(frozen=True, kw_only=True)
class LoseRegion(KillPrimary):
    """Everything of a region is killed and stays down: the store, and `victims`, its models and its exporter."""

    victims: tuple[processes.Identity, ...] = ()
    held: tuple[str, ...] = ()

    def inject(self) -> None:
        """Mark the region down, so that nothing starts again, and kill all of it."""
        self._down.touch()
        for path in self.held:
            Path(path).touch()
        for victim in self.victims:
            if victim.is_alive:
                processes.send(victim.pid, signal.SIGKILL)
        self.server.kill()

    def is_effective(self) -> bool:
        """All of it is gone."""
        return super().is_effective() and not any(victim.is_alive for victim in self.victims)

    def revert(self) -> None:
        """Let the region come back."""
        for path in map(Path, self.held):
            if path.exists():
                path.rename(path.with_name(path.name + ".released"))
        self._down.unlink(missing_ok=True)

    def is_reverted(self) -> bool:
        """Whether the region may start again."""
        return not self._down.exists() and not any(Path(path).exists() for path in self.held)

    @property
    def _down(self) -> Path:
        return self.server.folder / DOWN

    def describe(self) -> str:
        """In a line."""
        others = f" and {len(self.victims)} processes of models and exporters" if self.victims else ""
        return f"the whole region: kill -9 of the store{others}, nothing comes back"


@dataclass(frozen=True, kw_only=True)
class FreezePrimary(ClusterFault):
    """The primary stands still with its connections open (a stopped virtual machine, a stalled disk)."""

    def inject(self) -> None:
        """Stop all its processes."""
        self.server.freeze()

    def is_effective(self) -> bool:
        """It takes no write."""
        return self.server.is_alive() and not self.acknowledges()

    def revert(self) -> None:
        """Wake what is left of it: fenced, it is nothing."""
        self.server.thaw()

    def describe(self) -> str:
        """In a line."""
        return "the primary stands still, its connections stay open; it wakes up later"


@dataclass(frozen=True, kw_only=True)
class BadDelete(ClusterFault):
    """Somebody deletes every other feature: the store is up, and wrong."""

    def inject(self) -> None:
        """Delete them."""
        session.ask(self.cluster.direct(self.target), "DELETE FROM feature WHERE entity % 2 = 0", timeout=10.0)

    def is_effective(self) -> bool:
        """They are gone."""
        sql = "SELECT count(*) FROM feature WHERE entity % 2 = 0"
        return session.ask(self.cluster.direct(self.target), sql, timeout=2.0) == [("0",)]

    def describe(self) -> str:
        """In a line."""
        return "a bad DELETE of half of the features, committed and replicated"


@dataclass(frozen=True, kw_only=True)
class StopReplication(ClusterFault):
    """The standby's WAL receiver stands still: connected, silent, and further behind with every write."""

    def inject(self) -> None:
        """Stop the receiver."""
        for pid in self._receivers():
            os.kill(pid, signal.SIGSTOP)

    def is_effective(self) -> bool:
        """What the standby has does not change while the primary writes."""
        before = self._received()
        time.sleep(0.2)
        return bool(self._receivers()) and before is not None and before == self._received()

    def revert(self) -> None:
        """Let it go on."""
        for pid in self._receivers():
            os.kill(pid, signal.SIGCONT)

    def is_reverted(self) -> bool:
        """Whether no receiver stands still."""
        return not any(_state(pid) == "T" for pid in self._receivers())

    def _received(self) -> str | None:
        sql = "SELECT pg_last_wal_receive_lsn()"
        return session.ask(self.server.conninfo(), sql, timeout=2.0)[0][0]

    def _receivers(self) -> list[int]:
        return [pid for pid in self.server.processes() if b"walreceiver" in _command(pid)]

    def describe(self) -> str:
        """In a line."""
        return "replication stops silently: the standby is up and receives nothing"


@dataclass(frozen=True, kw_only=True)
class CorruptBackup(LosePrimaryDisk):
    """The newest backup is damaged, which nobody has noticed; then the primary and its disk are lost."""

    def inject(self) -> None:
        """Flip bytes in the largest file of the newest backup, then lose the primary."""
        newest = backup.newest_first(self.cluster.backups)[0]
        files = [path for path in newest.folder.rglob("*") if path.is_file() and path.name != archive.MANIFEST]
        largest = max(files, key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.seek(largest.stat().st_size // 2)
            damaged = bytes(byte ^ 0xFF for byte in file.read(64))
            file.seek(-len(damaged), os.SEEK_CUR)
            file.write(damaged)
        super().inject()

    def is_effective(self) -> bool:
        """The newest backup does not verify, and the primary is gone."""
        newest = backup.newest_first(self.cluster.backups)[0]
        return backup.flaw(newest, self.cluster.programs) is not None and super().is_effective()

    def describe(self) -> str:
        """In a line."""
        return "the newest backup is damaged, and the primary with its disk is lost"


@dataclass(frozen=True, kw_only=True)
class Switchover(ClusterFault):
    """Not a fault: a planned switchover to `to`, asked of the recoverer; it silences the primary all the same."""

    to: str

    def inject(self) -> None:
        """Ask for it."""
        recovery.request_switchover(Path(self.folder), self.to)

    def is_effective(self) -> bool:
        """The primary takes no write any more."""
        return not self.acknowledges()

    def describe(self) -> str:
        """In a line."""
        return f"planned switchover to region {self.to}"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
