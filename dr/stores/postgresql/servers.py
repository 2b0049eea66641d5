"""The servers of a PostgreSQL that others run, by their connection strings.

Run as `python -m dr.stores.postgresql.servers FILE`, it exits with 1 while the server of that connection string takes
a write, and with 0 when it does not: that is how the site's fault is verified.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dr.drill.client import RequestError
from dr.postgres import session
from dr.stores.setup import NotReadyError
from midwatch.spec.stores.postgresql import Postgresql


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Connection strings, from their files: of the clients' endpoint and of both servers."""

    endpoint: str
    primary: str
    standby: str
    primary_file: Path = Path()
    standby_file: Path = Path()

    def exchanged(self) -> Servers:
        """With primary and standby in each other's place."""
        return Servers(
            endpoint=self.endpoint,
            primary=self.standby,
            standby=self.primary,
            primary_file=self.standby_file,
            standby_file=self.primary_file,
        )

    def in_place(self, *, timeout: float) -> Servers:
        """As they are now: exchanged where the standby is the primary and the primary its standby."""
        places = [is_standby(one, timeout=timeout) for one in (self.primary, self.standby)]
        return self.exchanged() if places == [True, False] else self

    def told(self) -> dict[str, str]:
        """What the site's commands are told: files of the server that failed, and of the one that follows it."""
        return {
            "MIDWATCH_OLD_PRIMARY_FILE": str(self.primary_file),
            "MIDWATCH_NEW_PRIMARY_FILE": str(self.standby_file),
        }

    @classmethod
    def read(cls, settings: Postgresql, base: Path) -> Servers:
        """Read them; NotReadyError when a file cannot be read."""
        names = {"endpoint": settings.endpoint_file, "primary": settings.primary_file, "standby": settings.standby_file}
        strings = {}
        for name, path in names.items():
            try:
                strings[name] = (base / path).read_text().strip()
            except OSError as error:
                raise NotReadyError(f"{base / path}: {error.strerror}; it holds the connection string") from error
        return cls(
            **strings,
            primary_file=(base / settings.primary_file).resolve(),
            standby_file=(base / settings.standby_file).resolve(),
        )


def is_standby(target: str, *, timeout: float) -> bool | None:
    """Whether the server of a connection string is in recovery; None when it does not answer."""
    try:
        return session.ask(target, "SELECT pg_is_in_recovery()", timeout=timeout) == [("t",)]
    except RequestError:
        return None


def takes_writes(file: Path) -> bool:
    """Whether the server of a connection string in a file takes a write."""
    try:
        session.ask(file.read_text().strip(), "CREATE TEMPORARY TABLE midwatch_probe (n int)", timeout=2.0)
    except RequestError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(takes_writes(Path(sys.argv[1])))
