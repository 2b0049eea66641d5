"""What the observer writes to and reads from: one class per kind of store, and what a row of a drill is.

A row says which run wrote it, its number, and a checksum of both, so that a row nobody wrote, a changed row and a row
that is there twice are told apart from one that is right (Jepsen's `set` checker is the model). Nothing in a store
forbids a number twice, on purpose: a store that applies a write twice must be able to show it.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dr.postgres import session
from dr.postgres.session import NotSentError, RefusedError, UnknownError

CONTENT = "SELECT count(*) || '/' || coalesce(sum(hashtext(entity || ':' || value))::text, '') FROM feature"
"""Digest of what a local store holds for the models; a platform may name another query."""


@dataclass(frozen=True)
class Row:
    """Rows of one number and checksum as they were read, and how many."""

    seq: int
    checksum: str
    count: int


def checksum(run: str, seq: int) -> str:
    """What the row of a number has to carry.

    >>> checksum("r", 1)
    'cced20031397ace3'
    """
    return hashlib.blake2b(f"{run}:{seq}".encode(), digest_size=8).hexdigest()


class Target(Protocol):
    """A store as a client sees it. Methods raise NotSentError, RefusedError or UnknownError; times are seconds."""

    def write(self, seq: int) -> str:
        """Write a row durably; returns which server acknowledged it."""

    def newest(self) -> tuple[int, str]:
        """The newest number of this run, read anew, and a digest of what else the store holds."""

    def rows(self) -> list[Row]:
        """Every row of this run, read anew."""

    def close(self) -> None:
        """Let go of it."""


def build(description: dict[str, Any], run: str) -> Target:
    """The target that a description stands for; `kind` is `postgresql`, `files` or `commands`."""
    given = {name: value for name, value in description.items() if name != "kind"}
    kinds: dict[str, Any] = {"postgresql": PostgresTarget, "files": FilesTarget, "commands": CommandsTarget}
    target: Target = kinds[description["kind"]](run=run, **given)
    return target


# PostgreSQL ----------------------------------------------------------------------------------------------------------


SERVER = "coalesce(inet_server_port(), 0), coalesce(host(inet_server_addr()), '')"


def server_of(conninfo: str, *, timeout: float) -> str:
    """Which server a connection string leads to now, as the observer names it: its port, or HOST:PORT off loopback."""
    ((port, host),) = session.ask(conninfo, f"SELECT {SERVER}", timeout=timeout)
    return _named(port, host)


def _named(port: object, host: object) -> str:
    return str(port) if host in ("127.0.0.1", "::1") else f"{host}:{port}"


class PostgresTarget:
    """Rows in the table `midwatch_drill.writes`, through one connection that is made again when it breaks."""

    INSERT = f"INSERT INTO midwatch_drill.writes (run, seq, checksum) VALUES ($1, $2, $3) RETURNING {SERVER}"  # noqa: S608
    ALL = "SELECT seq, checksum, count(*) FROM midwatch_drill.writes WHERE run = $1 GROUP BY seq, checksum ORDER BY seq"

    def __init__(self, *, run: str, conninfo: str, timeout: float, content: str | None = CONTENT) -> None:
        self._run, self._conninfo, self._timeout = run, conninfo, timeout
        newest = "SELECT max(seq) FROM midwatch_drill.writes WHERE run = $1"
        self._newest = f"SELECT ({newest}), ({content or 'SELECT 0'})"
        self._connection: session.Session | None = None

    def write(self, seq: int) -> str:
        """Insert a row; the server is its port on loopback, HOST:PORT elsewhere."""
        try:
            self._connection = self._connection or session.Session.connect(self._conninfo, timeout=self._timeout)
            values = [self._run, seq, checksum(self._run, seq)]
            ((port, host),) = self._connection.execute(self.INSERT, values, timeout=self._timeout)
        except session.SqlError as error:
            if not isinstance(error, RefusedError) or error.sqlstate in ("25006", "57P01", "57P03"):
                self.close()  # broken, read-only or shutting down: another server may take the next one
            raise
        return _named(port, host)

    def newest(self) -> tuple[int, str]:
        """On a connection of its own: what was written must be seen by others."""
        ((seq, content),) = session.ask(self._conninfo, self._newest, [self._run], timeout=self._timeout)
        return int(seq or 0), str(content)

    def rows(self) -> list[Row]:
        """On a connection of its own."""
        found = session.ask(self._conninfo, self.ALL, [self._run], timeout=max(30.0, self._timeout))
        return [Row(int(seq or 0), text or "", int(count or 0)) for seq, text, count in found]

    def close(self) -> None:
        """Drop the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None


# Files ---------------------------------------------------------------------------------------------------------------


class FilesTarget:
    """One file per write in a folder `.midwatch-drill/RUN` of the store, durable before it counts."""

    def __init__(self, *, run: str, folder: str) -> None:
        self._run, self._source = run, Path(folder)
        self._folder = self._source / ".midwatch-drill" / run

    def write(self, seq: int) -> str:
        """Write and fsync a file and its folder."""
        if not self._source.is_dir():
            raise NotSentError(f"{self._source} is not there")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{seq}.row").open("x") as file:
                file.write(checksum(self._run, seq))
                file.flush()
                os.fsync(file.fileno())
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnknownError(f"{self._folder}: {error.strerror}") from error
        return "files"

    def newest(self) -> tuple[int, str]:
        """By the names of the files; the content is that of every other file."""
        from dr.objects.recovery import content_of

        if not self._source.is_dir():
            raise NotSentError(f"{self._source} is not there")
        newest = max((int(path.stem) for path in self._folder.glob("*.row")), default=0)
        return newest, content_of(self._source)

    def rows(self) -> list[Row]:
        """Every file."""
        return [Row(int(path.stem), path.read_text(), 1) for path in sorted(self._folder.glob("*.row"))]

    def close(self) -> None:
        """Nothing is open."""


# Commands ------------------------------------------------------------------------------------------------------------


class CommandsTarget:
    """Rows as JSON lines, through the user's commands.

    `observe` runs on: it gets a row a line on standard input, and answers each with a line once it is durable. `read`
    writes every row to standard output.
    """

    def __init__(self, *, run: str, observe: list[str], read: list[str], timeout: float) -> None:
        self._run, self._observe, self._read, self._timeout = run, observe, read, timeout
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, seq: int) -> str:
        """A line is an acknowledgement; none in time, or the end of the command, is unknown."""
        row = {"run": self._run, "seq": seq, "checksum": checksum(self._run, seq)}
        process = self._process = self._process or self._started()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        try:
            process.stdin.write(json.dumps(row).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            self.close()
            raise NotSentError(f"{self._observe[0]} has ended") from error
        ready, _, _ = select.select([process.stdout], [], [], self._timeout)
        if not ready or not process.stdout.readline():
            self.close()
            raise UnknownError(f"{self._observe[0]} did not acknowledge within {self._timeout:g} s, or ended")
        return "commands"

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._observe, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise NotSentError(f"{self._observe[0]}: {error.strerror}") from error

    def newest(self) -> tuple[int, str]:
        """The largest number that is read."""
        return max((row.seq for row in self.rows()), default=0), ""

    def rows(self) -> list[Row]:
        """Every line that is a row of this run."""
        try:
            done = subprocess.run(self._read, text=True, capture_output=True, timeout=30.0, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotSentError(f"{self._read[0]}: {error}") from error
        if done.returncode:
            raise NotSentError(f"{self._read[0]} ended with code {done.returncode}: {done.stderr.strip()[:100]}")
        counted: Counter[tuple[int, str]] = Counter()
        for line in done.stdout.splitlines():
            row = json.loads(line) if line.startswith("{") else {}
            if row.get("run") == self._run:
                counted[int(row["seq"]), str(row["checksum"])] += 1
        return [Row(seq, text, count) for (seq, text), count in sorted(counted.items())]

    def close(self) -> None:
        """End `observe`."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
