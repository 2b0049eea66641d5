"""A small HTTP/1.1 server on uvloop and httptools: bounded memory, deadlines, answers in the order of the requests.

Written here because the usual ASGI servers give no deadline for a request that comes byte by byte, and cost half the
throughput at a connection per event (see `benchmarks/exporter`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

import httptools

from midwatch import content_encoding

MAX_HEADERS = 32 * 1024
"""Bytes of a request's target and headers, with the overhead of each."""
FIELD_OVERHEAD = 32
"""Bytes that a header costs beside its name and value, as HTTP/2 counts them (RFC 9113, 6.5.2)."""
MAX_PIPELINED = 64
REQUEST_SECONDS = 10.0
"""A request has to be here whole, and an answer taken, within this time."""
IDLE_SECONDS = 75.0
LINGER_SECONDS = 2.0
"""A client that still sends when it is refused is read for so long, or a reset would overtake the answer."""
PIECE = 16 * 1024
"""Bytes that are parsed before answers that are not taken can stop it."""
HIGH_WATER = 16 * 1024
"""Bytes of answers that wait for a client to take them; with more, nothing more of it is read."""
SMALL = 16 * 1024
"""A request of this size is read even when requests have used up their memory: single events are never refused."""

Headers = Mapping[bytes, bytes]


class Respond(Protocol):
    """Takes the answer to a request; called once, now or later, on the loop's thread."""

    def __call__(self, status: int, content: bytes, content_type: str, /, *, headers: str = "") -> None:
        """Status, body and content type; `headers` are further lines, each with its end."""


_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Head:
    """What stands before a body; header names are lower case, `query` is what follows the path's `?`."""

    method: bytes
    path: bytes
    query: bytes = b""
    headers: Headers


@dataclass(slots=True, kw_only=True)
class Request(Head):
    """One whole request."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken; `headers` are lines of the answer, each with its end."""

    status: HTTPStatus
    text: str
    headers: str = ""


Handler = Callable[[Request, Respond], None]
Admit = Callable[[Head], Refusal | None]
"""Whether a request may send its body; asked before the body is read."""


def _admit_all(_head: Head) -> Refusal | None:
    return None


@dataclass(slots=True)
class _Slot:
    """Place of a request's answer among those of its connection; `held` is the request's size in bytes."""

    keep_alive: bool
    is_head: bool = False
    held: int = 0
    answer: tuple[bytes, bytes] | None = None

    @property
    def size(self) -> int:
        """Bytes of the answer."""
        return sum(map(len, self.answer or ()))


@dataclass(kw_only=True)
class Limits:
    """What clients may use: bytes of a body; connections; bytes of all requests, and of all answers, together."""

    max_body: int
    max_connections: int = 10_000
    max_held: int = 64 << 20
    max_untaken: int = 128 << 20

    def __post_init__(self) -> None:
        self.max_held = max(self.max_held, 4 * self.max_body)


@dataclass
class Connections:
    """Open connections, the memory they take, and the clock that ends those that take too long.

    `held` is bytes of requests that are not answered yet, `untaken` bytes of answers that no client has taken yet.
    """

    handler: Handler
    limits: Limits
    admit: Admit = _admit_all
    open: set[Connection] = field(default_factory=set)
    held: int = 0
    untaken: int = 0

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

    __slots__ = (
        "_body",
        "_connections",
        "_continue",
        "_counted",
        "_drained",
        "_has_ended",
        "_head",
        "_headers",
        "_is_drained",
        "_is_head_read",
        "_is_paused",
        "_is_refused",
        "_parser",
        "_quiet",
        "_since",
        "_size",
        "_slots",
        "_taking",
        "_transport",
        "_unfed",
        "_upgrades",
        "_url",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._slots: deque[_Slot] = deque()
        self._since = time.monotonic()
        self._url, self._unfed = b"", memoryview(b"")
        self._quiet = self._size = self._counted = self._taking = self._drained = 0
        self._is_paused = self._is_refused = self._is_drained = self._has_ended = False
        self._continue = self._upgrades = self._is_head_read = False

    # asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._parser = httptools.HttpRequestParser(self)
        if len(self._connections.open) >= self._connections.limits.max_connections:
            head, content = _refused(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"))
            self._transport.write(head + content)
            self._transport.close()
        else:
            self._connections.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it; what a handler still works on is counted until it answers."""
        self._connections.open.discard(self)
        self._unfed = memoryview(b"")
        self._quiet = self._size = 0
        self._body = bytearray()
        self._count()
        self._connections.untaken -= self._taking + sum(slot.size for slot in self._slots)
        self._taking = 0
        self._slots.clear()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._is_refused:
            self._drain(len(data))
            return
        if self._transport.is_closing():
            return
        self._unfed = memoryview(bytes(self._unfed) + data if self._unfed else data)
        self._parse()

    def eof_received(self) -> bool:
        """A client that has said all still gets its answers."""
        self._has_ended = True
        return bool(self._slots or self._unfed) and not self._is_drained

    def pause_writing(self) -> None:
        """The client does not take its answers: read nothing more of it."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Go on where answers that were not taken had stopped it."""
        self._is_paused = False
        self._connections.untaken -= self._taking
        self._taking = 0
        self._flush()
        self._parse()

    def _is_full(self) -> bool:
        return self._is_paused or len(self._slots) >= MAX_PIPELINED

    def _parse(self) -> None:
        """Parse what there is, as far as answers are taken, and read on only then."""
        while self._unfed and not self._is_refused and not self._is_full() and not self._transport.is_closing():
            piece, self._unfed = self._unfed[:PIECE], self._unfed[PIECE:]
            self._feed(piece)
        if self._is_refused:
            self._unfed = memoryview(b"")
        self._count()
        if self._transport.is_closing():
            return
        if self._is_full() and not self._is_refused:
            self._transport.pause_reading()
        elif not self._has_ended:
            self._read_on()
        elif not self._slots and not self._is_drained:
            self._transport.close()

    def _read_on(self) -> None:
        if not self._transport.is_reading():
            self._transport.resume_reading()

    def _feed(self, piece: memoryview) -> None:
        self._quiet += len(piece)
        try:
            self._parser.feed_data(piece)
            self._bound_memory()
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(piece[upgrade.args[0] :])
        except _RefusedError as error:
            self._refuse(error.refusal)
        except httptools.HttpParserError as error:
            cause = error.__context__  # what a callback raised
            known = isinstance(cause, _RefusedError)
            self._refuse(cause.refusal if known else Refusal(HTTPStatus.BAD_REQUEST, "not HTTP/1.1"))  # type: ignore[union-attr]

    def _go_on_without_upgrade(self, rest: memoryview) -> None:
        """Take the request as one of HTTP/1.1, as a server may (RFC 9110, 7.8): llhttp leaves its body unread."""
        self._upgrades = False
        left_out = (b"connection", b"upgrade", b"http2-settings")
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%s: %s" % (name, value) for name, value in self._headers.items() if name not in left_out]
        self._parser = httptools.HttpRequestParser(self)
        self._unfed = memoryview(b"\r\n".join([*lines, b"", b""]) + bytes(rest) + bytes(self._unfed))

    def _bound_memory(self) -> None:
        """Refuse a request that is more than its limit or, when it is not small, than all together may hold."""
        if self._quiet > MAX_HEADERS + PIECE:  # no end of a header, a trailer or a chunk's extension
            raise _headers_too_large()
        self._count()
        if self._counted > SMALL and self._connections.held > self._connections.limits.max_held:
            raise _busy()

    def _count(self) -> None:
        """Count what this connection holds among what all hold."""
        holds = self._quiet + self._size + len(self._unfed)
        self._connections.held += holds - self._counted
        self._counted = holds

    # httptools ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._url, self._size, self._quiet = b"", 0, 0
        self._is_head_read = False
        self._since = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """Part of the target."""
        self._url += url
        self._bound_headers(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one field of a trailer, which nobody here asks for."""
        if self._is_head_read:
            return
        name = name.lower()
        earlier = self._headers.get(name)
        self._headers[name] = value if earlier is None else earlier + b", " + value  # RFC 9110, 5.3
        self._bound_headers(len(name) + len(value) + FIELD_OVERHEAD)

    def _bound_headers(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADERS:
            raise _headers_too_large()

    def on_headers_complete(self) -> None:
        """The body comes next; refuse it now if the request is not admitted, or says that its body is too large."""
        self._is_head_read = True
        self._quiet = 0
        if self._parser.get_method() == b"CONNECT":
            raise _RefusedError(Refusal(HTTPStatus.NOT_IMPLEMENTED, "this is no proxy"))
        if self._parser.should_upgrade():
            self._upgrades = True
            return
        path, _, query = self._url.partition(b"?")
        self._head = Head(method=self._parser.get_method(), path=path, query=query, headers=self._headers)
        if refusal := self._connections.admit(self._head):
            raise _RefusedError(refusal)
        limits = self._connections.limits
        text = self._headers.get(b"content-length", b"0")
        length = int(text) if text.isdigit() else 0
        if length > limits.max_body:
            raise self._too_large()
        if length > SMALL and self._connections.held + length > limits.max_held:
            raise _busy()
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._continue = True
            self._flush()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._quiet = 0
        self._size += len(body)
        self._body += body
        if len(self._body) > self._connections.limits.max_body:
            raise self._too_large()

    def on_message_complete(self) -> None:
        """The request is whole: hand it over."""
        if self._upgrades:
            return
        body = bytes(self._body)
        self._body, self._continue = bytearray(), False
        if coding := self._headers.get(b"content-encoding"):
            body = self._decoded(body, coding)
            self._size += len(body)
        head = self._head
        slot = _Slot(self._parser.should_keep_alive(), is_head=head.method == b"HEAD", held=self._size)
        self._slots.append(slot)
        self._connections.held += slot.held
        self._url, self._size, self._quiet = b"", 0, 0
        request = Request(method=head.method, path=head.path, query=head.query, headers=head.headers, body=body)

        def respond(status: int, content: bytes, content_type: str, /, *, headers: str = "") -> None:
            self._answer(slot, status, content, content_type, headers)

        try:
            self._connections.handler(request, respond)
        except Exception:
            _log.exception("a request failed")
            if slot.answer is None:
                respond(HTTPStatus.INTERNAL_SERVER_ERROR, _error("the request failed; the log says why"), _JSON)

    def _decoded(self, body: bytes, coding: bytes) -> bytes:
        try:
            return content_encoding.decoded(body, coding, self._connections.limits.max_body)
        except content_encoding.UnknownEncodingError as error:
            accepted = f"accept-encoding: {content_encoding.ACCEPTED}\r\n"
            raise _RefusedError(Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error), accepted)) from error
        except content_encoding.InflatedSizeError as error:
            raise self._too_large() from error
        except content_encoding.EncodingError as error:
            raise _RefusedError(Refusal(HTTPStatus.BAD_REQUEST, str(error))) from error

    def _too_large(self) -> _RefusedError:
        limit = self._connections.limits.max_body
        return _RefusedError(
            Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body over {limit} bytes; send smaller batches")
        )

    # Answers -----------------------------------------------------------------------------------------------------

    def _answer(self, slot: _Slot, status: int, content: bytes, content_type: str, headers: str) -> None:
        """Put an answer into its place; the request it answers is no longer held."""
        self._connections.held -= slot.held
        slot.held = 0
        if self._transport.is_closing():
            return
        if self._connections.untaken > self._connections.limits.max_untaken:
            status, content_type, headers = HTTPStatus.SERVICE_UNAVAILABLE, _JSON, ""
            content = _error("too many answers are not taken by those who asked; ask again")
        head = _head(status, len(content), content_type, slot.keep_alive, headers)
        slot.answer = head, b"" if slot.is_head else content
        self._connections.untaken += slot.size
        was_full = self._is_full()
        self._flush()
        if was_full and not self._is_full():
            self._parse()

    def _flush(self) -> None:
        """Write the answers that are next, as long as they are taken."""
        if self._transport.is_closing():
            return
        while self._slots and self._slots[0].answer is not None and not self._is_paused:
            slot = self._slots.popleft()
            self._write(slot)
            if not slot.keep_alive:
                self._end()
                return
        if self._slots:
            return
        if self._continue:
            self._continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._has_ended and not self._unfed:
            self._transport.close()

    def _write(self, slot: _Slot) -> None:
        head, content = slot.answer or (b"", b"")
        if len(content) > HIGH_WATER:  # joined they would be copied
            self._transport.write(head)
            self._transport.write(content)
        else:
            self._transport.write(head + content)
        self._since = time.monotonic()
        if self._is_paused:
            self._taking += slot.size
        else:
            self._connections.untaken -= slot.size

    def _refuse(self, refusal: Refusal) -> None:
        """Answer after those before it, then read no more requests."""
        self._is_refused = True
        self._body = bytearray()
        self._quiet = self._size = 0
        slot = _Slot(keep_alive=False)
        slot.answer = _refused(refusal, is_head=self._parser.get_method() == b"HEAD" and self._is_head_read)
        self._slots.append(slot)
        self._connections.untaken += slot.size
        self._flush()

    def _drain(self, size: int) -> None:
        """Forget what a refused client still sends, up to the size of a body."""
        self._drained += size
        if self._drained > self._connections.limits.max_body:
            self._transport.abort()

    def _end(self) -> None:
        """Close after the last answer; a client that was refused may still send, and is read for a while."""
        if self._is_refused and not self._has_ended and self._transport.can_write_eof():
            self._is_drained = True
            self._transport.write_eof()
            self._read_on()
        else:
            self._transport.close()

    def expire(self, now: float) -> None:
        """End the connection if its client is too slow or away."""
        waited = now - self._since
        if self._is_drained:
            if waited > LINGER_SECONDS:
                self._transport.abort()
        elif self._transport.get_write_buffer_size() and waited > REQUEST_SECONDS:
            self._transport.abort()
        elif self._slots:
            return  # the answer is ours to give
        elif self._url and waited > REQUEST_SECONDS:
            self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {REQUEST_SECONDS:g} s"))
        elif waited > (REQUEST_SECONDS if self._url or self._quiet else IDLE_SECONDS):
            self._transport.close()

    def close(self) -> None:
        """End after the answers that are due."""
        if self._slots:
            self._slots[-1].keep_alive = False
        else:
            self._transport.close()


class _RefusedError(Exception):
    """Ends a connection with an answer."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.text)


def _headers_too_large() -> _RefusedError:
    return _RefusedError(Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers over {MAX_HEADERS} bytes"))


def _busy() -> _RefusedError:
    why = "other requests have taken the memory for requests; send it again"
    return _RefusedError(Refusal(HTTPStatus.SERVICE_UNAVAILABLE, why))


_JSON = "application/json"


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def _refused(refusal: Refusal, *, is_head: bool = False) -> tuple[bytes, bytes]:
    content = _error(refusal.text)
    head = _head(refusal.status, len(content), _JSON, False, refusal.headers)
    return head, b"" if is_head else content


_HEADS: dict[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def _head(status: int, length: int, content_type: str, keep_alive: bool, headers: str = "") -> bytes:
    connection = "" if keep_alive else "connection: close\r\n"
    is_told = status != HTTPStatus.SERVICE_UNAVAILABLE or "retry-after:" in headers
    retry = "" if is_told else "retry-after: 1\r\n"
    return (
        _HEADS[status]
        + (f"content-type: {content_type}\r\ncontent-length: {length}\r\n{connection}{retry}{headers}\r\n").encode()
    )
