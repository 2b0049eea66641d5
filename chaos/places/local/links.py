"""The fault-injecting proxy of `midwatch up`: connections between two parts go through a link, which can be bad.

`python -m chaos.places.local.links CONTROL NAME=HOST:PORT:TARGETHOST:TARGETPORT...` listens for each link and passes
bytes on. A file CONTROL/NAME.json makes a link bad until the file is gone; CONTROL/NAME.seen says that it was taken up,
and how many requests it has hit. The keys of the file (all but `id` optional):

- `id`: repeated in `.seen`;
- `delay`: seconds that a request waits, told to the server in `X-Request-Start` (seconds since 1970, as Heroku's router
  and nginx have it), so that a server can count the time that its users waited;
- `errors`: share of requests that are answered with `status` instead of being passed on;
- `scale`: numbers of these names in the request's JSON are multiplied by the factor;
- `shift`: seconds added to `ts` in the request's JSON lines, as by a clock that is wrong;
- `cut`: connections are closed and none is taken;
- `target`: HOST:PORT that requests go to instead.

A request is HTTP/1.1 with a Content-Length, one at a time on a connection; while a link is good anything passes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from midwatch import files
from midwatch.errors import MidwatchError

POLL_SECONDS = 0.03


class Link:
    """One link: where it leads, and what is bad about it now."""

    def __init__(self, name: str, target: tuple[str, int], control: Path) -> None:
        self.name, self._target, self._control = name, target, control
        self.fault: dict[str, Any] = {}
        self.hit = 0
        self._requests = 0
        self._told: tuple[Any, ...] = ()
        self.open: set[Inbound] = set()

    @property
    def target(self) -> tuple[str, int]:
        """Where a new request goes."""
        return parse_address(self.fault["target"]) if "target" in self.fault else self._target

    def look(self) -> None:
        """Take up the control file, or that it is gone, and say so."""
        try:
            wanted = json.loads((self._control / f"{self.name}.json").read_text())
        except FileNotFoundError:
            wanted = {}
        except ValueError:
            return  # cannot be: it is written whole
        if wanted != self.fault:
            self.fault, self.hit = wanted, 0
            if self.fault.get("cut"):
                self.hit = len(self.open)
                for connection in list(self.open):
                    connection.abort()
        self._tell()

    def _tell(self) -> None:
        seen = self._control / f"{self.name}.seen"
        state = (self.fault.get("id"), self.hit)
        if state == self._told:
            return
        with contextlib.suppress(MidwatchError, OSError):
            if self.fault:
                files.replace(seen, json.dumps({"id": self.fault["id"], "hit": self.hit}).encode())
            else:
                seen.unlink(missing_ok=True)
            self._told = state

    def is_chosen(self) -> bool:
        """Whether the next request is one of the share that fails: every so many, without chance."""
        share = float(self.fault["errors"])
        self._requests += 1
        return int(self._requests * share) > int((self._requests - 1) * share)


class Outbound(asyncio.Protocol):
    """The connection to the target."""

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound

    def data_received(self, data: bytes) -> None:
        """Pass the answer on."""
        self._inbound.answer(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """Close the other side too."""
        self._inbound.target_gone(self)


class Inbound(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._client: asyncio.Transport | None = None
        self._server: asyncio.WriteTransport | None = None
        self._outbound: Outbound | None = None
        self._address: tuple[str, int] | None = None
        self._between = True  # no request is under way
        self._held: bytes | None = None  # a request that is being read whole
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or not."""
        self._client = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        if self._link.fault.get("cut"):
            self._link.hit += 1
            self._client.abort()
            return
        self._link.open.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Close the other side too."""
        self._link.open.discard(self)
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            self._server.close()

    def abort(self) -> None:
        """Cut it."""
        if self._client is not None:
            self._client.abort()

    def data_received(self, data: bytes) -> None:
        """Pass the request on, or do to it what the fault says."""
        if self._held is not None:
            self._hold(data)
        elif self._between and self._link.fault and not self._link.fault.get("cut"):
            self._between = False
            self._held = b""
            self._hold(data)
        else:
            is_first = self._between
            self._between = False
            self._pass_on(data, is_first=is_first)

    def answer(self, data: bytes) -> None:
        """Pass the answer on; what the client says next is a request."""
        if self._client is not None and not self._client.is_closing():
            self._between = True
            self._client.write(data)

    def target_gone(self, outbound: Outbound) -> None:
        """The server closed its connection."""
        if outbound is self._outbound and self._client is not None:
            self._client.close()

    def _hold(self, data: bytes) -> None:
        self._held = (self._held or b"") + data
        if (request := whole_request(self._held)) is None:
            return
        self._held = None
        fault = dict(self._link.fault)
        self._run(self._treated(fault, *request))

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _treated(self, fault: dict[str, Any], head: bytes, body: bytes) -> None:
        arrived = time.time()
        hit = False
        if "errors" in fault and self._link.is_chosen():
            self._link.hit += 1
            self._refuse(int(fault.get("status", 503)))
            return
        if "delay" in fault:
            hit = True
            await asyncio.sleep(float(fault["delay"]))
            head = with_header(head, b"X-Request-Start", f"t={arrived:.6f}".encode())
        if "scale" in fault or "shift" in fault:
            changed = changed_body(body, fault)
            hit = hit or changed != body
            head, body = with_length(head, len(changed)), changed
        hit = hit or "target" in fault
        self._link.hit += hit
        self._pass_on(head + body, is_first=True)

    def _refuse(self, status: int) -> None:
        if self._client is not None:
            self._between = True
            text = f"HTTP/1.1 {status} Injected\r\ncontent-length: 0\r\nx-chaos: {self._link.name}\r\n\r\n"
            self._client.write(text.encode())

    def _pass_on(self, data: bytes, *, is_first: bool) -> None:
        if is_first and self._address != self._link.target:
            self._connect()
        if self._server is None:
            self._waiting.append(data)
        else:
            self._server.write(data)

    def _connect(self) -> None:
        if self._server is not None:
            self._outbound, server, self._server = None, self._server, None
            server.close()
        self._address = self._link.target
        self._run(self._connected(self._address))

    async def _connected(self, address: tuple[str, int]) -> None:
        outbound = Outbound(self)
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: outbound, *address)
        except OSError:
            self.abort()
            return
        self._outbound, self._server = outbound, transport
        for data in self._waiting:
            transport.write(data)
        self._waiting.clear()


def whole_request(data: bytes) -> tuple[bytes, bytes] | None:
    """Head (with its empty line) and body of a request, None while some of it is missing."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return (head + end, body) if len(body) >= length else None


def with_header(head: bytes, name: bytes, value: bytes) -> bytes:
    """Head with one header more."""
    return head[:-2] + name + b": " + value + b"\r\n\r\n"


def with_length(head: bytes, length: int) -> bytes:
    """Head that tells another length of the body."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"content-length: %d" % length]) + b"\r\n\r\n"


def changed_body(body: bytes, fault: dict[str, Any]) -> bytes:
    """JSON, or lines of it, with numbers scaled and times shifted; what is not JSON stays as it is."""
    lines = []
    for line in body.split(b"\n"):
        try:
            document = json.loads(line)
        except ValueError:
            lines.append(line)
        else:
            lines.append(json.dumps(_changed(document, fault)).encode())
    return b"\n".join(lines)


def _changed(value: Any, fault: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_changed(item, fault) for item in value]
    if not isinstance(value, dict):
        return value
    scale: dict[str, float] = fault.get("scale", {})
    changed = {}
    for name, item in value.items():
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if is_number and name in scale:
            changed[name] = item * scale[name]
        elif is_number and name == "ts" and "shift" in fault:
            changed[name] = item + fault["shift"]
        else:
            changed[name] = _changed(item, fault)
    return changed


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def _parse_link(text: str) -> tuple[str, tuple[str, int], tuple[str, int]]:
    name, _, addresses = text.partition("=")
    host, port, target_host, target_port = addresses.split(":")
    return name, (host, int(port)), (target_host, int(target_port))


async def serve(links: list[tuple[Link, tuple[str, int]]], stopped: Callable[[], bool] = lambda: False) -> None:
    """Listen for each link, and look at the control files, until stopped."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda link=link: Inbound(link), *address)  # type: ignore[misc]
        for link, address in links
    ]
    while not stopped():
        for link, _ in links:
            link.look()
        await asyncio.sleep(POLL_SECONDS)
    for server in servers:
        server.close()


def _links(control: Path, texts: list[str]) -> Iterator[tuple[Link, tuple[str, int]]]:
    for text in texts:
        name, address, target = _parse_link(text)
        yield Link(name, target, control), address


def main() -> None:
    """Run until killed."""
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("control", type=Path)
    parser.add_argument("links", nargs="+", help="NAME=HOST:PORT:TARGETHOST:TARGETPORT")
    given = parser.parse_args()
    given.control.mkdir(parents=True, exist_ok=True)
    uvloop.run(serve(list(_links(given.control, given.links))))


if __name__ == "__main__":
    main()
