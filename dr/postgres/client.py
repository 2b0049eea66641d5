"""PostgreSQL as the observer uses it: rows in the table `midwatch_drill.writes`."""

from __future__ import annotations

from dr.drill.client import ClientConfig, RefusedError, RequestError, Row, checksum
from dr.postgres import session

SERVER = "coalesce(inet_server_port(), 0), coalesce(host(inet_server_addr()), '')"

TRY_ANOTHER = ("25006", "57P01", "57P03")
"""SQLSTATEs of a server that is read-only, shutting down or starting: another one may take the next write."""


def config(kind: str, conninfo: str, *, content: str | None, timeout: float = 1.0) -> ClientConfig:
    """The client of a store of that kind; `content` is a query whose value stands for all that the store holds."""
    return ClientConfig(kind=kind, arguments={"conninfo": conninfo, "timeout": timeout, "content": content})


def server_of(conninfo: str, *, timeout: float) -> str:
    """Which server a connection string leads to now, as the observer names it: its port, or HOST:PORT off loopback."""
    ((port, host),) = session.ask(conninfo, f"SELECT {SERVER}", timeout=timeout)
    return _named(port, host)


def _named(port: object, host: object) -> str:
    return str(port) if host in ("127.0.0.1", "::1") else f"{host}:{port}"


class PostgresqlClient:
    """Implements `client.Client`, through one connection that is made again when it breaks."""

    INSERT = f"INSERT INTO midwatch_drill.writes (run, seq, checksum) VALUES ($1, $2, $3) RETURNING {SERVER}"  # noqa: S608 - ours
    ALL = "SELECT seq, checksum, count(*) FROM midwatch_drill.writes WHERE run = $1 GROUP BY seq, checksum ORDER BY seq"

    def __init__(self, *, run: str, conninfo: str, timeout: float, content: str | None) -> None:
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
        except RequestError as error:
            if not isinstance(error, RefusedError) or error.code in TRY_ANOTHER:
                self.close()
            raise
        return _named(port, host)

    def newest(self) -> tuple[int, str]:
        """On a connection of its own: what was written must be seen by others."""
        ((seq, content),) = session.ask(self._conninfo, self._newest, [self._run], timeout=self._timeout)
        return int(seq or 0), str(content)

    def rows(self) -> list[Row]:
        """On a connection of its own."""
        counted = session.ask(self._conninfo, self.ALL, [self._run], timeout=max(30.0, self._timeout))
        return [Row(int(seq or 0), text or "", int(count or 0)) for seq, text, count in counted]

    def close(self) -> None:
        """Drop the connection."""
        if self._connection:
            self._connection.close()
            self._connection = None
