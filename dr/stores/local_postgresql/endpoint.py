"""The clients' own endpoint: a TCP proxy that stands outside the regions and follows one route.

Why not a connection string with several hosts: libpq picks a host when it connects, so a client that is connected to an
old primary stays there, and one that can reach it goes on writing to it. Here a new route cuts every connection, and
what is cut can only come back to the region of the newest term. The fence of the recoverer stands behind it all the
same: who connects past the endpoint must find nothing that acknowledges.

The file `endpoint.json` names the listeners and each one's port by region; `route.json` holds the route
(`{"term", "region"}`) and survives a restart; the control socket takes a new one as a JSON line and answers when it is
in force. A term that is not newer is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dr import children
from midwatch import files
from midwatch.errors import MidwatchError

CHUNK = 2**16
CONNECT_SECONDS = 1.0


class EndpointError(MidwatchError):
    """The endpoint does not answer, or refuses a route."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A loopback port that clients connect to, and the port behind it in each region."""

    port: int
    targets: dict[str, int]


def describe(folder: Path, listeners: list[Listener]) -> None:
    """Write what an endpoint in a folder listens on."""
    document = [{"port": one.port, "targets": one.targets} for one in listeners]
    files.replace(folder / "endpoint.json", json.dumps(document).encode())


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start the endpoint that a folder describes, as a child of this process."""
    return children.start_module("dr.stores.local_postgresql.endpoint", [str(folder)], folder / "endpoint.log")


def reroute(control: Path, *, term: int, region: str, timeout: float = 5.0) -> int:
    """Give an endpoint a new route; returns how many connections it cut. EndpointError unless it is in force."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(control))
            connection.sendall(json.dumps({"term": term, "region": region}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise EndpointError(f"the endpoint at {control} does not answer: {error}") from error
    if not answer["ok"]:
        raise EndpointError(f"the endpoint refuses term {term}: {answer['message']}")
    return int(answer["cut"])


def route_of(folder: Path) -> dict[str, Any]:
    """The route in force: `term` and `region`. EndpointError when there is none."""
    try:
        route: dict[str, Any] = json.loads((folder / "route.json").read_text())
    except (OSError, ValueError) as error:
        raise EndpointError(f"{folder} has no route") from error
    return route


class Endpoint:
    """The running proxy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._route = route_of(folder)
        self._listeners = [Listener(**entry) for entry in json.loads((folder / "endpoint.json").read_text())]
        self._open: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        """Serve until SIGTERM."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        for listener in self._listeners:
            await asyncio.start_server(self._taker(listener), "127.0.0.1", listener.port)
        control = self._folder / "endpoint.sock"
        control.unlink(missing_ok=True)
        await asyncio.start_unix_server(self._control, control)
        await stop.wait()

    def _taker(self, listener: Listener) -> Any:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open.add(writer)
            try:
                await self._carry(listener, reader, writer)
            finally:
                self._open.discard(writer)
                writer.transport.abort()

        return take

    async def _carry(self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        route = self._route
        port = listener.targets.get(route["region"])
        if port is None:
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError):
            return
        self._open.add(back_writer)
        try:
            if route is self._route:  # it may have changed meanwhile
                ways = [
                    asyncio.create_task(_copy(reader, back_writer)),
                    asyncio.create_task(_copy(back_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            self._open.discard(back_writer)
            back_writer.transport.abort()

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            wanted = json.loads(await reader.readline())
            writer.write(
                json.dumps(self._change({"term": wanted["term"], "region": wanted["region"]})).encode() + b"\n"
            )
            await writer.drain()
        writer.close()

    def _change(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["term"] <= self._route["term"]:
            return {"ok": False, "cut": 0, "message": f"term {self._route['term']} is in force"}
        files.replace(self._folder / "route.json", json.dumps(wanted).encode())
        self._route = wanted
        cut = list(self._open)
        for writer in cut:
            writer.transport.abort()
        return {"ok": True, "cut": len(cut), "message": ""}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(Endpoint(Path(sys.argv[1])).run())
