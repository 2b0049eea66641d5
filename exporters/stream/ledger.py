"""The sink: which batches of which query are taken, what they found, and the counters that came of them; SQLite.

A batch is one transaction under its query and number, so one that is run again changes nothing; its offsets say that it
is the same one. What it found is kept until the counters that include it are kept. A query has one checkpoint and a
ledger has one query: with another checkpoint everything would be counted again, or what waits would be lost, so it is
refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from exporters.events import private_files
from exporters.events.identity import Identity
from midwatch.errors import MidwatchError

FORM = 2
"""Form of the file: `PRAGMA user_version`."""

Pieces = Mapping[bytes, bytes | None]
"""What others keep beside the counters, by name; None is taken away."""

NOTHING: Pieces = {}

Rows = list[tuple[int, str, bytes]]
"""What the buckets found: bucket, kind, and bytes."""

REMEMBERED = 10_000
"""Batches of which it is known when they were taken: Spark runs none but the last one again."""

_TABLES = """
CREATE TABLE identity (instance TEXT NOT NULL, since REAL NOT NULL, query TEXT);
CREATE TABLE batches (
  query TEXT NOT NULL, batch INTEGER NOT NULL, at REAL NOT NULL, offsets TEXT, PRIMARY KEY (query, batch)
);
CREATE TABLE found (batch INTEGER, place INTEGER, bucket INTEGER, kind TEXT, body BLOB, PRIMARY KEY (batch, place));
CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE pieces (name BLOB PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE topics (name TEXT PRIMARY KEY, id TEXT NOT NULL);
"""

_FROM_1 = """
ALTER TABLE batches ADD COLUMN offsets TEXT;
CREATE TABLE topics (name TEXT PRIMARY KEY, id TEXT NOT NULL);
"""
"""What makes a file of form 1 one of this form; of its batches it does not say which records they took."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(int).decode


class LedgerError(MidwatchError):
    """The ledger cannot be used, or it is not that of the checkpoint."""


def lock(path: Path) -> int:
    """Take the folder of a ledger for this process, until the descriptor is closed; LedgerError when another has it.

    A second driver would keep counters that lack the first one's batches, and both write what else lies there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerError(f"{path}: the counts cannot be kept there: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if not isinstance(error, BlockingIOError):
            raise LedgerError(f"{path.parent}: it cannot be locked: {error.strerror or error}") from error
        raise LedgerError(
            f"{path.parent} is in use by another driver: stop it first, or give each stream a --sink in a folder of "
            f"its own"
        ) from error
    return handle


class Ledger:
    """An open ledger; its methods may be called from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                with private_files.creating(path):
                    pass
            private_files.close_to_others(path)
            with self._connected() as connection:
                self._prepare(connection)
        except OSError as error:
            raise LedgerError(f"{path}: the counts cannot be kept there: {error}") from error

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are durable together, or not at all; LedgerError when they cannot be."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60.0)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: the counts cannot be kept there: {error}") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if form == 0:
            connection.executescript(_TABLES)
            connection.execute("INSERT INTO identity VALUES (?, ?, NULL)", (str(uuid.uuid4()), time.time()))
            connection.execute(f"PRAGMA user_version = {FORM}")
        elif form == 1:
            connection.executescript(f"BEGIN; {_FROM_1} PRAGMA user_version = {FORM}; COMMIT;")
        elif form != FORM:
            raise LedgerError(f"{self.path}: its form is {form}, of a later release, and this one reads {FORM}")

    @property
    def identity(self) -> Identity:
        """Whose counters these are, and since when they count."""
        with self._connected() as connection:
            instance, since = connection.execute("SELECT instance, since FROM identity").fetchone()
        return Identity(instance=instance, since=since)

    # Batches -----------------------------------------------------------------------------------------------------

    def ensure_query(self, query: str) -> None:
        """LedgerError unless a query may add to these counts."""
        with self._connected() as connection:
            (known,) = connection.execute("SELECT query FROM identity").fetchone()
            if known not in (None, query):
                raise LedgerError(
                    f"{self.path} has counts of another checkpoint: with this one they would be counted twice, or what "
                    f"waits for a label would be lost; give that checkpoint, or a new ledger, whose counters begin at 0"
                )
            connection.execute("UPDATE identity SET query = ?", (query,))

    def ensure_topics(self, ids: Mapping[str, str]) -> None:
        """LedgerError when a topic that is read is not the one that was read before under its name; keep new ones."""
        with self._connected() as connection:
            known = dict(connection.execute("SELECT name, id FROM topics").fetchall())
            for name, identifier in ids.items():
                if known.get(name, identifier) != identifier:
                    raise LedgerError(
                        f"the topic {name} was deleted and created again: its offsets begin anew, so what is in it "
                        f"cannot be told from what {self.path} has counted, and what was not read of the one before is "
                        f"lost; begin with a new --checkpoint and a new --sink, which read it from its beginning"
                    )
            connection.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?)", list(ids.items()))

    def has(self, query: str, batch: int) -> bool:
        """Whether a batch is kept already."""
        with self._connected() as connection:
            found = connection.execute("SELECT 1 FROM batches WHERE query = ? AND batch = ?", (query, batch))
            return found.fetchone() is not None

    def add(self, query: str, batch: int, rows: Rows, pieces: Pieces = NOTHING, *, offsets: str = "") -> bool:
        """Keep what a batch found, and pieces that change with it; False when it is kept already.

        `offsets` say which records it took. LedgerError for a batch that does not come next, and for one with the
        number of the last one and other records: Spark plans it anew where the checkpoint is older than this ledger.
        """
        with self._connected() as connection:
            newest, taken = connection.execute("SELECT coalesce(max(batch), -1), offsets FROM batches").fetchone()
            if batch == newest:
                if taken not in (None, offsets):
                    raise LedgerError(
                        f"{self.path} has batch {batch} with other records than the checkpoint gives it: the "
                        f"checkpoint is older, as after a restore or a loss of power, and records would be lost; "
                        f"restore both of one time, or begin both anew"
                    )
                return False
            if batch != newest + 1:
                raise self._of_another_time(newest, batch)
            connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", (query, batch, time.time(), offsets))
            found = ((batch, place, *row) for place, row in enumerate(rows))
            connection.executemany("INSERT INTO found VALUES (?, ?, ?, ?, ?)", found)
            _write(connection, pieces)
        return True

    def ensure_has(self, batch: int) -> None:
        """LedgerError unless it has a batch that Spark knows to be done: a ledger always has it before Spark does.

        Without this an empty one would say nothing, and count nothing, until there is something new to read.
        """
        with self._connected() as connection:
            (newest,) = connection.execute("SELECT coalesce(max(batch), -1) FROM batches").fetchone()
        if batch > newest:
            raise self._of_another_time(newest, batch + 1)

    def _of_another_time(self, newest: int, batch: int) -> LedgerError:
        return LedgerError(
            f"{self.path} has {newest + 1} batches, and the checkpoint goes on with number {batch}: they are "
            f"not of one time, as after a restore of one of them; restore both together, or begin both anew"
        )

    def batches(self) -> list[tuple[int, float]]:
        """Batches that are taken, and when (seconds since the epoch)."""
        with self._connected() as connection:
            return connection.execute("SELECT batch, at FROM batches ORDER BY batch").fetchall()

    def found(self, after: int) -> list[tuple[int, Rows]]:
        """What later batches found that no kept counters include, in order."""
        with self._connected() as connection:
            asked = "SELECT batch, bucket, kind, body FROM found WHERE batch > ? ORDER BY batch, place"
            rows = connection.execute(asked, (after,)).fetchall()
            batches = connection.execute(
                "SELECT batch FROM batches WHERE batch > ? ORDER BY batch", (after,)
            ).fetchall()
        by_batch: dict[int, Rows] = {batch: [] for (batch,) in batches}
        for batch, *row in rows:
            by_batch[batch].append((row[0], row[1], row[2]))
        return list(by_batch.items())

    # Counters ----------------------------------------------------------------------------------------------------

    def keep(self, upto: int, values: Mapping[str, bytes]) -> None:
        """Keep counters that include every batch up to one; what those found is not needed any more.

        LedgerError when later ones are kept: their batches are not to be had any more.
        """
        with self._connected() as connection:
            known = connection.execute("SELECT value FROM kept WHERE name = 'upto'").fetchone()
            if known is not None and _unpack(known[0]) > upto:
                raise LedgerError(
                    f"{self.path} has counters of later batches: another driver uses it; stop one of them"
                )
            connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(values.items()))
            connection.execute("INSERT OR REPLACE INTO kept VALUES ('upto', ?)", (_pack(upto),))
            connection.execute("DELETE FROM found WHERE batch <= ?", (upto,))
            connection.execute("DELETE FROM batches WHERE batch <= ?", (upto - REMEMBERED,))

    def kept(self, names: Sequence[str]) -> tuple[int, dict[str, bytes]]:
        """The last batch that the kept counters include (-1 without any), and those counters by name."""
        with self._connected() as connection:
            values = dict(connection.execute("SELECT name, value FROM kept").fetchall())
        upto = _unpack(values["upto"]) if "upto" in values else -1
        return upto, {name: values[name] for name in names if name in values}

    # What others keep --------------------------------------------------------------------------------------------

    def read(self) -> dict[bytes, bytes]:
        """All pieces, by name."""
        with self._connected() as connection:
            return dict(connection.execute("SELECT name, value FROM pieces").fetchall())

    def write(self, pieces: Pieces) -> None:
        """Change pieces in a transaction of their own; LedgerError when that cannot be done."""
        with self._connected() as connection:
            _write(connection, pieces)


def _write(connection: sqlite3.Connection, pieces: Pieces) -> None:
    for name, value in pieces.items():
        if value is None:
            connection.execute("DELETE FROM pieces WHERE name = ?", (name,))
        else:
            connection.execute("INSERT OR REPLACE INTO pieces VALUES (?, ?)", (name, value))
