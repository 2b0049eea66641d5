"""What a Python model server sends its events with: never in the way of a prediction, nothing sent twice.

Events are queued, sent in batches by a thread, and sent again until the exporter has kept them; it knows them by id.
"""

from __future__ import annotations

import http.client
import logging
import queue
import random
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from midwatch.client.events import Event
from midwatch.errors import MidwatchError

BATCH = 500
LINGER_SECONDS = 0.05
"""How long a batch waits for more events."""
RETRY_SECONDS = 0.1, 5.0
TIMEOUT_SECONDS = 10.0

_log = logging.getLogger(__name__)
_unwritable = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
"""What encoding raises for a value that JSON, or this machine, has no form of."""
_retryable = frozenset({408, 429, 500, 502, 503, 504})


def _plain(value: object) -> object:
    """The Python value of a NumPy scalar, which is what models answer."""
    item = getattr(value, "item", None)
    if not callable(item):
        raise TypeError(f"an event cannot hold {type(value).__name__}")
    return item()


_encode = msgspec.json.Encoder(enc_hook=_plain).encode_lines


@dataclass
class Stats:
    """What became of the events so far.

    `dropped` never left: the queue was full, the time to close was up, or a value has no form in JSON.
    """

    queued: int = 0
    acknowledged: int = 0
    rejected: int = 0
    dropped: int = 0


class _Reply(msgspec.Struct):
    accepted: int = 0
    duplicates: int = 0
    dropped: int = 0
    refused: list[dict[str, int | str]] = []


class EventLog:
    """Sends events to an exporter at `url`; `capacity` events wait at most, more are dropped and counted."""

    def __init__(self, url: str, *, token: str | None = None, capacity: int = 100_000) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise MidwatchError(f"{url!r} is not an http URL with a host")
        self._host, self._port = parts.hostname, parts.port or 80
        self._headers = {"content-type": "application/x-ndjson"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._queue: queue.Queue[Event] = queue.Queue(capacity)
        self._connection: http.client.HTTPConnection | None = None
        self._deadline: float | None = None
        self.stats = Stats()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def send(self, event: Event) -> bool:
        """Queue an event; False when there was no room. Never waits."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.stats.dropped += 1
            return False
        self.stats.queued += 1
        return True

    def close(self, timeout: float = 10.0) -> Stats:
        """Send what is queued, for at most `timeout` seconds, and end; what is left then counts as dropped."""
        self._deadline = time.monotonic() + timeout
        self._thread.join(timeout + TIMEOUT_SECONDS)
        self._disconnect()
        self.stats.dropped += self._queue.qsize()
        return self.stats

    def _run(self) -> None:
        while True:
            batch = self._collect()
            if batch:
                self._deliver(batch)
            elif self._deadline is not None:
                return
            if self._deadline is not None and time.monotonic() > self._deadline:
                return

    def _collect(self) -> list[Event]:
        batch: list[Event] = []
        until = time.monotonic() + LINGER_SECONDS
        while len(batch) < BATCH:
            try:
                batch.append(self._queue.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _deliver(self, batch: list[Event]) -> None:
        body, batch = self._encoded(batch)
        if not batch:
            return
        pause = RETRY_SECONDS[0]
        while True:
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException):
                self._disconnect()
                status, answer = 503, b""
            if status not in _retryable:
                self._count(status, answer, batch)
                return
            if self._deadline is not None and time.monotonic() > self._deadline:
                self.stats.dropped += len(batch)
                return
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, hides nothing
            pause = min(2 * pause, RETRY_SECONDS[1])

    def _encoded(self, batch: list[Event]) -> tuple[bytes, list[Event]]:
        """A batch as lines of JSON, without the events that cannot be written: one of them stops no other."""
        try:
            return _encode(batch), batch
        except _unwritable:
            pass
        lines: list[bytes] = []
        written: list[Event] = []
        for event in batch:
            try:
                lines.append(_encode([event]))
            except _unwritable as error:
                self.stats.dropped += 1
                _log.error("event %r dropped: %s", event.id, error)
            else:
                written.append(event)
        return b"".join(lines), written

    def _post(self, body: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        self._connection.request("POST", "/events", body, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count(self, status: int, answer: bytes, batch: list[Event]) -> None:
        try:
            reply = msgspec.json.decode(answer, type=_Reply)
        except msgspec.MsgspecError:
            reply = _Reply()
        kept = reply.accepted + reply.duplicates + reply.dropped
        self.stats.acknowledged += kept
        self.stats.rejected += len(batch) - kept
        if kept < len(batch):
            _log.error(
                "%d of %d events refused, status %d: %s",
                len(batch) - kept,
                len(batch),
                status,
                reply.refused[:3] or answer[:200].decode(errors="replace"),
            )
