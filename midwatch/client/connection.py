"""One connection to an exporter: a request, its whole answer, and never longer or larger than was agreed.

`http.client` bounds each read; a server that drips a byte now and then would hold the sender for good. Here a deadline
holds for the answer as a whole.
"""

from __future__ import annotations

import codecs
import contextlib
import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from midwatch.errors import MidwatchError

MAX_ANSWER_BYTES = 4 << 20
"""The exporter names each event that it refuses, in some 200 bytes."""
IDLE_SECONDS = 4.0
"""A connection unused for longer is made anew: servers close theirs after 5 s and more, at the wrong moment for us."""
_RECEIVE_BYTES = 64 << 10
_SLICE_SECONDS = 0.25
"""A read looks at the deadline so often, as it comes nearer when the log is closed."""

codecs.lookup("idna")  # else the first connection imports it, and a child forked meanwhile waits for good

TimeLeft = Callable[[], float]
"""Seconds that a request may still take."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server has answered; `retry_after` is in seconds, 0 without a header of that name."""

    status: int
    body: bytes
    retry_after: float = 0.0


class Connection:
    """Sends bodies to a path below a URL, one at a time: events, as NDJSON, unless another is given.

    Raises OSError and HTTPException; the next request connects anew.
    """

    def __init__(
        self,
        url: str,
        *,
        path: str = "/events",
        content_type: str = "application/x-ndjson",
        token: str | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._secure, self._host, self._port, before = _parts(url)
        self._path, self._content_type = before + path, content_type
        self._token_file = token_file
        self._token = _checked(token) if token else None
        if token_file is not None:
            _read_token(token_file)
        self._context = _context(ca_file) if self._secure else None
        self._open: http.client.HTTPConnection | None = None
        self._used = 0.0

    def post(self, body: bytes, time_left: TimeLeft) -> Answer:
        """Send a body; its answer."""
        try:
            answer = self._post(body, time_left)
        except BaseException:
            self.close()
            raise
        self._used = time.monotonic()
        return answer

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def leave(self) -> None:
        """Let go of what is the parent process's, in a child that was forked: nothing is said to the server."""
        if self._open is not None and self._open.sock is not None:
            os.close(self._open.sock.detach())
        self._open = None

    def _post(self, body: bytes, time_left: TimeLeft) -> Answer:
        connection = self._connected(time_left)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # A server may answer before it has read the whole: that the body is too large, for one.
            connection.request("POST", self._path, body, self._headers())
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        return Answer(
            status=response.status, body=content, retry_after=_seconds(response.getheader("retry-after") or "")
        )

    def _connected(self, time_left: TimeLeft) -> http.client.HTTPConnection:
        if self._open is not None and time.monotonic() - self._used > IDLE_SECONDS:
            self.close()
        if self._open is None:
            if self._context is not None:
                self._open = http.client.HTTPSConnection(self._host, self._port, context=self._context)
            else:
                self._open = http.client.HTTPConnection(self._host, self._port)
            self._open.timeout = _at_least_some(time_left)
            self._open.connect()
        self._open.response_class = _within(time_left)
        self._open.sock.settimeout(_at_least_some(time_left))
        return self._open

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": self._content_type}
        token = _read_token(self._token_file) if self._token_file is not None else self._token
        return {**headers, "authorization": f"Bearer {token}"} if token else headers


def _parts(url: str) -> tuple[bool, str, int | None, str]:
    """Whether it is secure, host, port, path that others are below. No error repeats the URL: it may hold a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise MidwatchError("the exporter's address is not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MidwatchError("the exporter's address is not an http or https URL with a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise MidwatchError("the exporter's address has a user, a query or a fragment; a token has its own parameter")
    path = parts.path.rstrip("/")
    if not path.isascii() or any(letter <= " " for letter in path):
        raise MidwatchError("the path of the exporter's address is not percent-encoded")
    return parts.scheme == "https", parts.hostname, port, path


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise MidwatchError(f"{ca_file}: no certificates of an authority: {error}") from error


def _checked(token: str) -> str:
    if not token.isascii() or not token.isprintable():
        raise MidwatchError("the token for the exporter has characters that no header may have")
    return token


def _read_token(file: Path) -> str:
    """Token of a file, read each time because tokens are rotated in place."""
    try:
        return _checked(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise MidwatchError(f"{file}: the token cannot be read: {error}") from error


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _at_least_some(time_left: TimeLeft) -> float:
    """Seconds for a socket: 0 would mean that it does not wait at all."""
    return max(0.05, time_left())


def _within(time_left: TimeLeft) -> type[http.client.HTTPResponse]:
    """Class of a response that is read while there is time."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            self.fp = _Reader(sock, self.fp.detach(), time_left)  # type: ignore[assignment]  # what is used of one

    return Response


class _Reader:
    """Bytes of a socket until there is no time left; closing it closes what the response has opened.

    It has no lock, as the readers of `io` have: a child that is forked while a thread reads would wait for theirs.
    """

    def __init__(self, sock: socket.socket, opened: io.RawIOBase, time_left: TimeLeft) -> None:
        self._sock, self._opened, self._time_left = sock, opened, time_left
        self._buffer = bytearray()

    def readline(self, limit: int) -> bytes:
        """A line with its end; shorter at the end of the answer or at the limit."""
        while (end := self._buffer.find(b"\n", 0, limit) + 1) == 0 and len(self._buffer) < limit and self._fill():
            pass
        return self._take(end or limit)

    def read(self, size: int = MAX_ANSWER_BYTES + 1) -> bytes:
        """So many bytes; fewer at the end of the answer."""
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(size)

    def flush(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Give the socket back to its connection."""
        self._opened.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> bool:
        """Wait for more; False at the end of the answer."""
        while (left := self._time_left()) > 0:
            self._sock.settimeout(min(left, _SLICE_SECONDS))
            try:
                received = self._sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue
            self._buffer += received
            return bool(received)
        raise TimeoutError("the answer took too long")
