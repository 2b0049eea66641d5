"""A small HTTP/1.1 server on uvloop and httptools: bounded bodies, deadlines, answers in the order of the requests.

Written here because the usual ASGI servers give no deadline for a request that comes byte by byte, and cost half the
throughput at a connection per event (see `benchmarks/exporter`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import httptools

from midwatch import content_encoding

MAX_HEADERS = 32 * 1024
MAX_PIPELINED = 64
REQUEST_SECONDS = 10.0
"""A request has to be here whole, and an answer taken, within this time."""
IDLE_SECONDS = 75.0

Headers = Mapping[bytes, bytes]
Respond = Callable[[int, bytes, str], None]
"""Status, body and content type of an answer; called once, now or later, on the loop's thread."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One request; header names are lower case, `query` is what follows the path's `?`."""

    method: bytes
    path: bytes
    query: bytes = b""
    headers: Headers
    body: bytes


Handler = Callable[[Request, Respond], None]


@dataclass(slots=True)
class _Slot:
    """Place of a request's answer among those of its connection."""

    keep_alive: bool
    answer: bytes | None = None


@dataclass(kw_only=True)
class Limits:
    """What a client may use."""

    max_body: int
    max_connections: int = 10_000


@dataclass
class Connections:
    """Open connections, and the clock that ends those that take too long."""

    handler: Handler
    limits: Limits
    open: set[Connection] = field(default_factory=set)

    def protocol(self) -> Connection:
        """Protocol of a new connection."""
        return Connection(self)

    async def expire(self) -> None:
        """End, once a second and for ever, the connections past a deadline."""
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            for connection in list(self.open):
                connection.expire(now)

    def close(self) -> None:
        """End all of them once their answers are written."""
        for connection in list(self.open):
            connection.close()


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = ("_body", "_connections", "_headers", "_parser", "_since", "_size", "_slots", "_transport", "_url")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._slots: deque[_Slot] = deque()
        self._since = time.monotonic()

    # asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._connections.open.add(self)
        self._url = b""
        if len(self._connections.open) > self._connections.limits.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it."""
        self._connections.open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "no upgrades here")
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback raised
            if isinstance(cause, _RefusedError):
                self._refuse(cause.status, cause.text, cause.headers)
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "not HTTP/1.1")

    # httptools ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._url, self._size = b"", 0
        self._since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """Part of the target."""
        self._url += url
        self._bound_headers(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        earlier = self._headers.get(name)
        self._headers[name] = value if earlier is None else earlier + b", " + value  # RFC 9110, 5.3
        self._bound_headers(len(name) + len(value))

    def _bound_headers(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADERS:
            raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers over {MAX_HEADERS} bytes")

    def on_headers_complete(self) -> None:
        """The body comes next; refuse it now if it says it is too large."""
        self._size = 0
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._connections.limits.max_body:
            raise self._too_large()
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._size += len(body)
        if self._size > self._connections.limits.max_body:
            raise self._too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole: hand it over."""
        slot = _Slot(self._parser.should_keep_alive())
        self._slots.append(slot)
        if len(self._slots) >= MAX_PIPELINED:
            self._transport.pause_reading()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if coding := self._headers.get(b"content-encoding"):
            body = self._decoded(body, coding)
        path, _, query = self._url.partition(b"?")
        self._url = b""
        request = Request(method=self._parser.get_method(), path=path, query=query, headers=self._headers, body=body)

        def respond(status: int, content: bytes, content_type: str) -> None:
            slot.answer = _head(status, len(content), content_type, slot.keep_alive) + content
            self._flush()

        self._connections.handler(request, respond)

    def _decoded(self, body: bytes, coding: bytes) -> bytes:
        try:
            return content_encoding.decoded(body, coding, self._connections.limits.max_body)
        except content_encoding.UnknownEncodingError as error:
            accepted = f"accept-encoding: {content_encoding.ACCEPTED}\r\n"
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error), accepted) from error
        except content_encoding.InflatedSizeError as error:
            raise self._too_large() from error
        except content_encoding.EncodingError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _too_large(self) -> _RefusedError:
        limit = self._connections.limits.max_body
        return _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body over {limit} bytes; send smaller batches")

    # Answers -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write the answers that are next."""
        if self._transport.is_closing():
            return
        was_full = len(self._slots) >= MAX_PIPELINED
        while self._slots and self._slots[0].answer is not None:
            slot = self._slots.popleft()
            self._transport.write(slot.answer or b"")
            self._since = time.monotonic()
            if not slot.keep_alive:
                self._transport.close()
                return
        if was_full and len(self._slots) < MAX_PIPELINED:
            self._transport.resume_reading()

    def _refuse(self, status: HTTPStatus, text: str, headers: str = "") -> None:
        content = json.dumps({"error": text}).encode()
        self._transport.write(_head(status, len(content), "application/json", False, headers) + content)
        self._transport.close()

    def expire(self, now: float) -> None:
        """End the connection if its client is too slow or away."""
        waited = now - self._since
        if self._transport.get_write_buffer_size() and waited > REQUEST_SECONDS:
            self._transport.abort()
        elif self._slots:
            return  # the answer is ours to give
        elif self._url and waited > REQUEST_SECONDS:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {REQUEST_SECONDS:g} s")
        elif waited > (IDLE_SECONDS if not self._url else REQUEST_SECONDS):
            self._transport.close()

    def close(self) -> None:
        """End after the answers that are due."""
        if self._slots:
            self._slots[-1].keep_alive = False
        else:
            self._transport.close()


class _RefusedError(Exception):
    """Ends a connection with an answer."""

    def __init__(self, status: HTTPStatus, text: str, headers: str = "") -> None:
        self.status, self.text, self.headers = status, text, headers
        super().__init__(text)


_HEADS: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def _head(status: int, length: int, content_type: str, keep_alive: bool, headers: str = "") -> bytes:
    connection = "" if keep_alive else "connection: close\r\n"
    retry = "retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    return (
        _HEADS[status]
        + (f"content-type: {content_type}\r\ncontent-length: {length}\r\n{connection}{retry}{headers}\r\n").encode()
    )
