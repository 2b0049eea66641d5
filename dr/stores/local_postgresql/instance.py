"""One PostgreSQL server on this machine: made, started, stopped, killed, fenced; found again by its data directory.

Everything outside the data directory (ports, access, archiving) is in a configuration file beside it, so that a copy of
the data can become another instance. It listens on loopback TCP only, without a socket directory that a restored copy
would share.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from dr.drill.client import RequestError
from dr.postgres import session
from dr.stores.local_postgresql import programs
from dr.stores.local_postgresql.programs import PostgresError, Programs

DOWN = "down"
"""A file in a server's folder that says its region is lost: nothing is started there until it is gone."""

SUPERUSER = "midwatch"
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.01
LAST_LINES = 5
"""Why a server did not start, such as a port that is taken, stands that far before the last line of its log."""

REFUSED = "FATAL:  the database system is "
"""What a server that starts, stops or recovers says to everybody who connects."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "hot_standby": "on",
    "wal_log_hints": "on",
    "wal_keep_size": "64MB",
    "max_slot_wal_keep_size": "1GB",
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_status_interval": "1s",
    "log_line_prefix": "%m ",
    "lc_messages": "C",
    "archive_mode": "on",
}
"""What every instance runs with. A standby that lost its connection tries again at once, not after the usual 5 s. What
a server says is read, so that it has to be in English."""


PASSFILE = "passfile"
"""Beside the data directory: the password, as libpq reads it. A standby finds its primary's there."""

_CHILDREN: list[subprocess.Popen[bytes]] = []
"""Servers that this process has started. Whoever is still there ends with it."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A server: its folder (with `data`, `postgresql.conf`, `server.log`), port, and the superuser's password."""

    programs: Programs
    name: str
    folder: Path
    port: int
    password: str

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "server.log"

    def conninfo(self, database: str = "postgres") -> str:
        """Connection string of the superuser, straight to this server."""
        return conninfo(self.port, self.password, database)

    def run(self, name: str, *arguments: str | Path, database: str = "postgres", passfile: Path | None = None) -> str:
        """Standard output of a client program that connects to this server; PostgresError when it fails.

        It finds the password in a file, here or at `passfile`: everybody sees the arguments of a process.
        """
        path = passfile or self.folder / PASSFILE
        write_passfile(path, self.password, self.programs)
        environment = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGDATABASE": database,
            "PGPASSFILE": str(path),
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
        }
        return self.programs.run(name, *arguments, environment=environment)

    # Made ------------------------------------------------------------------------------------------------------------

    def prepare(self, settings: dict[str, str]) -> None:
        """Write what belongs beside the data directory."""
        self.folder.mkdir(parents=True, exist_ok=True)
        os.chmod(self.folder, 0o700)  # noqa: PTH101 - the mode counts before the owner changes
        lines = {**SETTINGS, "port": str(self.port), **settings}
        access = self.folder / "pg_hba.conf"
        access.write_text("host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n")
        lines["hba_file"] = str(access)
        lines["include_if_exists"] = str(self._unsynced)
        text = "".join(f"{name} = '{value}'\n" for name, value in lines.items())
        configuration = self.folder / "postgresql.conf"
        configuration.write_text(text)
        self.log.touch()
        for path in (self.folder, access, configuration, self.log):
            self.programs.give(path)

    def initialise(self) -> None:
        """Make an empty database cluster with data checksums."""
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        self.programs.give(secret)
        try:
            self.programs.run(
                "initdb",
                "--pgdata",
                self.data,
                "--username",
                SUPERUSER,
                "--pwfile",
                secret,
                "--auth",
                "scram-sha-256",
                "--data-checksums",
                "--encoding",
                "UTF8",
                "--no-locale",
                "--no-sync",
            )
        finally:
            secret.unlink()

    # Life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait until it takes connections (a standby: read-only ones); it ends with this process.

        PostgresError with its last words when it does not come up.
        """
        self._wait_until_ready(self.launch())
        self.sync_from_now_on()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting for it. PostgresError when it must not be started."""
        reap()
        if (self.folder / DOWN).exists():
            raise PostgresError(f"region {self.name} is lost: nothing starts there")
        if (running := self.postmaster()) is not None:
            raise PostgresError(f"{self.data} is in use by process {running}")
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a server that is dead: its number may be another's
        words = [self.programs.path("postgres"), "-D", str(self.data)]
        words += ["-c", f"config_file={self.folder / 'postgresql.conf'}"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                words, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.programs.options()
            )
        _CHILDREN.append(process)
        return process

    def skip_first_sync(self) -> None:
        """Have the next start not fsync a data directory that was just laid down and can be laid down again.

        Commits are durable all the same: fsync is on again as soon as the server is up.
        """
        self._unsynced.write_text("fsync = 'off'\n")
        self.programs.give(self._unsynced)

    def sync_from_now_on(self) -> None:
        """End what `skip_first_sync` began; the server is up."""
        if self._unsynced.exists():
            self._unsynced.unlink()
            if (number := self.postmaster()) is not None:
                _send(number, signal.SIGHUP)

    @property
    def _unsynced(self) -> Path:
        return self.folder / "unsynced.conf"

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it takes connections; PostgresError when it ends instead, or takes too long."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise PostgresError(f"{self.name} ended with code {process.returncode}: {self.last_words()}")
            with contextlib.suppress(RequestError):
                session.ask(self.conninfo(), "SELECT 1", timeout=1.0)
                return
            time.sleep(POLL_SECONDS)
        raise PostgresError(f"{self.name} took no connection within {READY_SECONDS:g} s: {self.last_words()}")

    def last_words(self) -> str:
        """The last lines of its log, and the last error where that stands further up; refused connections are none."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        lines = [line for line in text.splitlines() if REFUSED not in line]
        last = lines[-LAST_LINES:]
        errors = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return " / ".join([*(line for line in errors[-1:] if line not in last), *last]) or "it said nothing"

    def log_since(self, offset: int) -> str:
        """What it has said behind an offset of its log, in bytes."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def postmaster(self) -> int | None:
        """Process number of the running server, by its lock file and the kernel's word that it is this server."""
        number = _locked_by(self.data)
        return number if number is not None and _serves(number, self.data) else None

    def processes(self) -> list[int]:
        """Every process of the server, the postmaster first. The others may outlive it for a moment."""
        number = self.postmaster()
        return [] if number is None else [number, *_children(number)]

    def stop(self) -> None:
        """Fast shutdown; nothing happens when it does not run."""
        number = self.postmaster()
        if number is None:
            return
        _send(number, signal.SIGCONT)
        _send(number, signal.SIGINT)
        if not _gone([number], STOP_SECONDS):
            self.kill()
        reap()

    def kill(self) -> list[int]:
        """`kill -9` of the server with all its processes, as when the machine loses power; returns their numbers."""
        return kill_in(self.data)

    def freeze(self) -> list[int]:
        """SIGSTOP of all its processes: the machine hangs, its connections stay open."""
        victims = self.processes()
        for number in victims:
            _send(number, signal.SIGSTOP)
        return victims

    def thaw(self) -> None:
        """SIGCONT of all its processes."""
        for number in self.processes():
            _send(number, signal.SIGCONT)

    def is_alive(self) -> bool:
        """Whether its postmaster runs."""
        return self.postmaster() is not None

    # Fenced ----------------------------------------------------------------------------------------------------------

    def fence(self, term: int, *, running_in: Path | None = None) -> Path | None:
        """Make sure that the server cannot acknowledge anything any more; returns where its data was moved.

        It is killed, and its data directory is moved aside, so that no supervisor can start it again. What it had
        acknowledged and nobody else has is still in there: nothing that a second primary wrote is removed. `running_in`
        is the data directory of one that somebody started elsewhere. PostgresError when that could not be done.
        """
        data = running_in or self.data
        kill_in(data)
        aside = self.folder / f"data.fenced-{term}"
        if data.exists():
            if running_in is None:
                for old in self.folder.glob("data.fenced-*"):
                    _remove(old)
            data.rename(aside)
        if self.answers():
            raise PostgresError(f"something still takes connections on port {self.port} of {self.name}")
        return aside if aside.exists() else None

    def answers(self) -> bool:
        """Whether anything takes connections on its port."""
        import socket

        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def is_standby(self, *, timeout: float = 2.0) -> bool:
        """Whether it is in recovery; SqlError when it does not say."""
        return session.ask(self.conninfo(), "SELECT pg_is_in_recovery()", timeout=timeout) == [("t",)]

    def promote(self, *, timeout: float = 60.0) -> None:
        """Make a standby the primary; returns when it takes writes. PostgresError when it does not."""
        try:
            (done,) = session.ask(
                self.conninfo(), "SELECT pg_promote(wait => true, wait_seconds => $1)", [int(timeout)], timeout=timeout
            )
        except RequestError as error:
            raise PostgresError(f"{self.name} cannot be promoted: {error}") from error
        if done != ("t",):
            raise PostgresError(f"{self.name} was not promoted within {timeout:g} s")


def title(number: int) -> str:
    """What a process calls itself, such as `postgres: startup recovering 000000010000000000000005`."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def reap() -> None:
    """Collect servers of ours that have ended, at once: the kernel says they are gone a moment before `wait` does."""
    _CHILDREN[:] = [process for process in _CHILDREN if process.poll() is None]


def conninfo(port: int, password: str, database: str) -> str:
    """Connection string of the superuser to a loopback port."""
    where = f"host=127.0.0.1 port={port} dbname={database} sslmode=disable gssencmode=disable"
    return f"{where} user={SUPERUSER} password={password}"


def write_passfile(path: Path, password: str, programs: Programs) -> None:
    """Write a file that libpq takes the superuser's password from: for the servers' user alone (PGPASSFILE)."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path.write_text(f"127.0.0.1:*:*:{SUPERUSER}:{escaped}\n")
    programs.give(path)


def version_of(data: Path) -> int:
    """Major version that a data directory was made by; PostgresError when it is none."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError) as error:
        raise PostgresError(f"{data} is no data directory of PostgreSQL") from error


def ensure_version(data: Path, installed: programs.Programs) -> None:
    """PostgresError when the installed server cannot read a data directory."""
    if (made_by := version_of(data)) != installed.major:
        raise PostgresError(
            f"{data} was made by PostgreSQL {made_by}, and {installed.major} is used; install postgresql-{made_by}"
        )


def _remove(data: Path) -> None:
    """Remove a data directory with the tablespaces of its own."""
    for link in (data / "pg_tblspc").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(data.parent):
            shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(data)


def kill_in(data: Path) -> list[int]:
    """`kill -9` of whatever server runs in a data directory, started by us or by hand; returns its processes' numbers.

    PostgresError when it is still there afterwards.
    """
    number = _locked_by(data)
    victims = [] if number is None or not _runs_in(number, data) else [number, *_children(number)]
    for victim in victims:
        _send(victim, signal.SIGKILL)
    # A backend that was being forked at that moment is nobody's child now, and ends by itself.
    if not _gone(victims, STOP_SECONDS):
        raise PostgresError(f"the server in {data} is still there after kill -9")
    reap()
    return victims


def _locked_by(data: Path) -> int | None:
    """Process number in a data directory's lock file, which may be that of a server that is dead."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _runs_in(number: int, data: Path) -> bool:
    """Whether a process is alive and works in a data directory, as every server does in its own."""
    try:
        return Path(f"/proc/{number}/cwd").resolve() == data.resolve() and not _is_zombie(number)
    except OSError:
        return False


def _serves(number: int, data: Path) -> bool:
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(data).encode() in words and not _is_zombie(number)


def _is_zombie(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _children(parent: int) -> list[int]:
    children = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                children.append(int(entry.name))
    return children


def _send(number: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)


def _gone(numbers: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not all(_is_zombie(number) for number in numbers):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
