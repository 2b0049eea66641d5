"""Following a restored server while it replays the archive: bounded, with progress, to its goal or the server's words.

A replay stops by itself where the WAL asks for larger settings than the server has, such as `max_connections` raised
behind the base backup ("Hot Standby, Administrator's Overview" in PostgreSQL's manual): it pauses, or the server ends.
The log names the setting and the value, and the replay is started again with it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dr.drill.client import RequestError
from dr.postgres import session
from dr.stores.local_postgresql import instance
from dr.stores.local_postgresql.instance import Instance
from dr.stores.local_postgresql.programs import PostgresError

Say = Callable[[str], None]

STALLED_SECONDS = 300.0
"""Without a new segment or position a replay stands still. A restore command on a slow network may take minutes."""
LIMIT_SECONDS = 6 * 3600.0
"""No replay is waited for longer, whatever it says."""
POLL_SECONDS = 0.02
LOOK_SECONDS = 0.25
SAY_SECONDS = 2.0
MAX_RAISES = 20
"""There are five such settings, and each may have been raised more than once."""

TOO_LOW = re.compile(r"(?P<name>\w+) = \d+ is a lower setting than on the (?:primary|master) server\D*(?P<wanted>\d+)")
"""How a server says that it cannot go on: `max_connections = 60 is a lower setting than on the primary server, where
its value was 100.`"""


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds: without any progress, and in all."""

    stalled: float = STALLED_SECONDS
    whole: float = LIMIT_SECONDS


DEFAULT_LIMITS = Limits()


def follow(server: Instance, done: Callable[[], bool], say: Say = silent, limits: Limits = DEFAULT_LIMITS) -> None:
    """Start a restored server and wait until `done`, which is asked once it answers; it takes connections then.

    PostgresError with the server's last words when it ends, stands still, or asks for what cannot be given.
    """
    deadline = time.monotonic() + limits.whole
    for _ in range(MAX_RAISES):
        said = server.log.stat().st_size
        if _reaches(server, done, _Watch(server.launch(), said, deadline, say), limits):
            server.sync_from_now_on()
            return
        wanted = too_low(server.log_since(said))
        server.kill()
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.writelines(f"{name} = '{value}'\n" for name, value in sorted(wanted.items()))
        say("replay: started again with " + ", ".join(f"{name} = {value}" for name, value in sorted(wanted.items())))
    raise PostgresError(f"{server.name} asks for more after {MAX_RAISES} raises: {server.last_words()}")


def wait(server: Instance, done: Callable[[], bool], say: Say = silent, limits: Limits = DEFAULT_LIMITS) -> None:
    """Wait for what a server that replays and was started before comes to; PostgresError as for `follow`."""
    watch = _Watch(None, server.log.stat().st_size, time.monotonic() + limits.whole, say)
    if not _reaches(server, done, watch, limits):
        raise PostgresError(f"{server.name} paused its replay: {server.last_words()}")


@dataclass
class _Watch:
    """One start of a server that replays: its process, where its log began, and what was seen of its progress."""

    process: subprocess.Popen[bytes] | None
    said: int
    deadline: float
    say: Say
    progress: str = ""
    moved: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    told: str = ""
    spoke: float = 0.0

    def has_ended(self, server: Instance) -> bool:
        """Whether the server is gone; one that was only just started has no lock file yet."""
        return self.process.poll() is not None if self.process else not server.is_alive()

    def look(self, server: Instance) -> None:
        """Note its progress, and say it now and then."""
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        if (seen := _progress(server)) != self.progress:
            self.progress, self.moved = seen, now
        if self.progress != self.told and now - self.spoke >= SAY_SECONDS:
            self.told, self.spoke = self.progress, now
            self.say(f"replay: {self.progress}")


def _reaches(server: Instance, done: Callable[[], bool], watch: _Watch, limits: Limits) -> bool:
    """Whether it gets there; False when its settings are too low for the WAL."""
    while True:
        has_ended = watch.has_ended(server)
        state = None if has_ended else _state(server)
        if (has_ended or state == PAUSED) and too_low(server.log_since(watch.said)):
            return False
        if has_ended:
            raise PostgresError(f"{server.name} ended in its replay: {server.last_words()}")
        if state and _holds(done):
            return True
        watch.look(server)
        now = time.monotonic()
        if now - watch.moved > limits.stalled or now > watch.deadline:
            words = server.last_words()
            server.kill()
            how = f"does not move for {limits.stalled:g} s" if now <= watch.deadline else "takes too long"
            raise PostgresError(f"the replay of {server.name} {how} (at {watch.progress or 'its start'}): {words}")
        time.sleep(POLL_SECONDS)


def _holds(done: Callable[[], bool]) -> bool:
    try:
        return done()
    except RequestError:
        return False


PAUSED, REPLAYING, OPEN = "paused", "replaying", "open"


def _state(server: Instance) -> str | None:
    """What it does, None while it takes no connection."""
    sql = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'open' WHEN pg_is_wal_replay_paused() THEN 'paused' END"
    try:
        ((state,),) = session.ask(server.conninfo(), sql, timeout=2.0)
    except RequestError:
        return None
    return state or REPLAYING


def _progress(server: Instance) -> str:
    """The segment that its startup process is at, which stands in its title, and the position if it answers."""
    titles = [title for title in map(instance.title, server.processes()) if "startup" in title]
    segment = titles[0].rpartition("startup")[2].strip() if titles else ""
    try:
        ((at,),) = session.ask(server.conninfo(), "SELECT pg_last_wal_replay_lsn()", timeout=1.0)
    except RequestError:
        return segment
    return f"{segment} at {at}".strip()


def too_low(words: str) -> dict[str, int]:
    """Settings that the WAL asks to be larger, with the values.

    >>> too_low("max_connections = 60 is a lower setting than on the primary server, where its value was 100.")
    {'max_connections': 100}
    """
    wanted: dict[str, int] = {}
    for match in TOO_LOW.finditer(words):
        wanted[match["name"]] = max(int(match["wanted"]), wanted.get(match["name"], 0))
    return wanted
