"""One connection to PostgreSQL whose every step ends by a deadline, and that says what became of a statement.

Drivers wait for as long as the server pleases, and a stopped server pleases for ever. Here a connection attempt and a
statement end when their time is up, and an error says whether the server can have applied the statement: that is the
difference between a write that failed and one that nobody knows about.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from types import TracebackType

import psycopg
from psycopg import conninfo, pq
from psycopg.pq.abc import PGconn, PGresult

from dr.drill.client import NotSentError, RefusedError, RequestError, UnknownError

Row = tuple[str | None, ...]

_COMMIT_ABANDONED = b"01"
"""SQLSTATE class of warnings: an INSERT that answers "ok" with one may not be on the standby (a cancelled wait)."""


class Session:
    """A connection; times are seconds. Statements commit by themselves unless they say BEGIN."""

    def __init__(self, connection: PGconn) -> None:
        self._connection = connection
        self._warned = False
        connection.notice_handler = self._notice

    @classmethod
    def connect(cls, target: str, *, timeout: float) -> Session:
        """Connect by a libpq connection string; NotSentError when there is no session in time."""
        deadline = time.monotonic() + timeout
        connection = pq.PGconn.connect_start(conninfo.make_conninfo(target, application_name="midwatch").encode())
        try:
            status = pq.PollingStatus.WRITING
            while connection.status != pq.ConnStatus.BAD and status is not pq.PollingStatus.OK:
                _wait(connection.socket, writing=status is pq.PollingStatus.WRITING, deadline=deadline)
                status = pq.PollingStatus(connection.connect_poll())
                if status is pq.PollingStatus.FAILED:
                    break
            if status is not pq.PollingStatus.OK:
                raise NotSentError(_said(connection))
        except TimeoutError as error:
            connection.finish()
            raise NotSentError(f"no connection within {timeout:g} s") from error
        except BaseException:
            connection.finish()
            raise
        connection.nonblocking = 1
        return cls(connection)

    def execute(self, sql: str, parameters: Sequence[object] = (), *, timeout: float) -> list[Row]:
        """Rows of a statement as text; RefusedError or UnknownError, and the session is closed after the latter."""
        deadline = time.monotonic() + timeout
        self._warned = False
        values = [None if value is None else str(value).encode() for value in parameters]
        try:
            if values:
                self._connection.send_query_params(sql.encode(), values)
            else:
                self._connection.send_query(sql.encode())
            while self._connection.flush():
                _wait(self._connection.socket, writing=True, deadline=deadline)
            rows = self._results(deadline)
        except TimeoutError as error:
            self.close()
            raise UnknownError(f"no answer within {timeout:g} s") from error
        except (psycopg.Error, OSError) as error:
            self.close()
            raise UnknownError(f"the connection broke: {error}") from error
        if self._warned:
            raise UnknownError("answered with a warning: what was promised may not have been kept")
        return rows

    def _results(self, deadline: float) -> list[Row]:
        rows: list[Row] = []
        refused: RequestError | None = None
        while (result := self._next(deadline)) is not None:
            if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                rows = _rows(result)
            elif refused is None:
                refused = _refusal(result)
        if refused:
            if isinstance(refused, UnknownError):
                self.close()
            raise refused
        return rows

    def _next(self, deadline: float) -> PGresult | None:
        while self._connection.is_busy():
            _wait(self._connection.socket, writing=False, deadline=deadline)
            self._connection.consume_input()
        return self._connection.get_result()

    def _notice(self, notice: PGresult) -> None:
        code = notice.error_field(pq.DiagnosticField.SQLSTATE) or b""
        self._warned = self._warned or (code.startswith(_COMMIT_ABANDONED) or _severity(notice) == b"WARNING")

    def close(self) -> None:
        """Drop the connection."""
        with contextlib.suppress(psycopg.Error):
            self._connection.finish()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def ask(target: str, sql: str, parameters: Sequence[object] = (), *, timeout: float = 5.0) -> list[Row]:
    """Rows of one statement on a connection of its own; `timeout` is for both. Raises RequestError."""
    with Session.connect(target, timeout=timeout) as session:
        return session.execute(sql, parameters, timeout=timeout)


def _wait(descriptor: int, *, writing: bool, deadline: float) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError


def _rows(result: PGresult) -> list[Row]:
    return [
        tuple(_text(result.get_value(row, column)) for column in range(result.nfields)) for row in range(result.ntuples)
    ]


def _text(value: bytes | None) -> str | None:
    return None if value is None else os.fsdecode(value)


def _severity(result: PGresult) -> bytes:
    return result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b""


def _refusal(result: PGresult) -> RequestError:
    """An ERROR was rolled back. A FATAL or PANIC may come in the middle of a commit: nobody knows then."""
    message = result.get_error_message().strip().partition("\n")[0]
    if _severity(result) in (b"FATAL", b"PANIC", b""):
        return UnknownError(message or "the connection broke")
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    return RefusedError(message, code)


def _said(connection: PGconn) -> str:
    return connection.get_error_message().strip().replace("\n", " ") or "no connection"
