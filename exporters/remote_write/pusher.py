"""A thread that pushes families now and then, and goes on where their receiver is away.

Each push carries the counters as they are: one that is lost costs resolution and no count. A series that its receiver
has not had gets a zero first, at the time of the push before it; a gauge that is no more gets an end.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from exporters.otlp import Source
from exporters.remote_write import message
from exporters.remote_write.begun import Begun
from exporters.remote_write.outbox import Answer, Outbox, Result, Waiting
from midwatch import prometheus_access, telemetry
from midwatch.exposition import Sample
from midwatch.spec.prometheus_auth import Auth

TIMEOUT = 30.0
"""Seconds that a receiver has for an answer, as Prometheus' own `remote_timeout` is."""

LAST_SECONDS = 10.0
"""Seconds that the last push has when a driver ends."""

FILE = "remote-write-begun.bin"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to push, and how to say who asks."""

    url: str
    auth: Auth | None = None

    @classmethod
    def of(cls, url: str, auth: Auth | None = None) -> Target:
        """Read a URL; TelemetryError when it cannot be one. One without a path gets that of Prometheus.

        >>> [Target.of(url).url for url in ("http://p:9090", "https://mimir/api/v1/push")]
        ['http://p:9090/api/v1/write', 'https://mimir/api/v1/push']
        """
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - a port that is no number is an error
        except ValueError as error:
            raise telemetry.TelemetryError(f"--remote-write {url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise telemetry.TelemetryError(
                f"--remote-write {url}: no URL; write http:// or https://, a host, and a path"
            )
        completed = parts if parts.path.rstrip("/") else parts._replace(path="/api/v1/write")
        return cls(url=completed.geturl(), auth=auth)


def poster(target: Target) -> Callable[[bytes], Answer]:
    """What sends a body, and reads the answer as the specification has it: 5xx and 429 come again, 4xx do not."""
    session = prometheus_access.session(target.url, target.auth, retries=0)

    def post(body: bytes) -> Answer:
        import requests

        try:
            answer = session.post(target.url, data=body, headers=message.CONTENT, timeout=TIMEOUT)
        except requests.RequestException as error:
            _log.warning("samples could not be pushed: %s", type(error).__name__, extra={"endpoint": target.url})
            return Answer(Result.LATER)
        if answer.ok:
            return Answer(Result.TAKEN)
        said = answer.text.strip().splitlines()[:1]
        _log.warning("samples were not taken: %s %s", answer.status_code, *said, extra={"endpoint": target.url})
        if answer.status_code == 429 or answer.status_code >= 500:
            return Answer(Result.LATER, _seconds(answer.headers.get("Retry-After")))
        return Answer(Result.REFUSED)

    return post


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; one that is a date counts as none."""
    return float(text) if text is not None and text.isdecimal() else None


class Pusher:
    """Pushes the families of sources to one receiver; `labels` say who pushes, `state` is the driver's folder."""

    def __init__(
        self,
        sources: Sequence[Source],
        labels: Mapping[str, str],
        post: Callable[[bytes], Answer],
        state: Path,
        interval_seconds: float,
    ) -> None:
        self._sources, self._interval = sources, interval_seconds
        self._labels = [message.Labels(labels) for _ in sources]
        self._begun = Begun(state / FILE)
        self._outbox = Outbox(post)
        self._pushed: dict[message.Key, bytes] = {}
        self._before: float | None = None

    def samples(self) -> list[Sample]:
        """What became of what was pushed."""
        return self._outbox.samples()

    def collect(self, now: float) -> None:
        """Take every series as it is at a time of the wall clock, and have it sent."""
        seen: dict[message.Key, bytes] = {}
        before = now - self._interval if self._before is None else self._before
        for source, labels in zip(self._sources, self._labels, strict=True):
            series = labels.series(source.collector.collect())
            self._outbox.put(self._beginnings(list(series.values()), max(before, source.since), now))
            self._outbox.put(map(Waiting, message.requests(series.values(), now)))
            seen.update({key: one.labels for key, one in series.items()})
        gone = [labels for key, labels in self._pushed.items() if key not in seen]
        self._outbox.put(map(Waiting, message.ends(gone, now)))
        self._pushed, self._before = seen, now

    def _beginnings(self, series: Sequence[message.Series], moment: float, now: float) -> Iterator[Waiting]:
        """Zeros of series that the receiver has not had: what is counted since then is not lost to `increase`."""
        new = [one for one in series if one.is_cumulative and one.digest not in self._begun]
        if moment >= now:  # the counters began this moment
            moment = now - 0.001
        for start in range(0, len(new), message.BATCH):
            part = new[start : start + message.BATCH]
            digests = [one.digest for one in part]
            self._begun.expect(digests)
            for request in message.zeros(part, moment):
                yield Waiting(request, begins=True, answered=partial(self._begun.keep, digests))

    def send(self, until: float = float("inf")) -> float:
        """Send what waits; seconds until it should be tried again, 0 when nothing waits."""
        return self._outbox.send(time.monotonic, until)

    def give_up(self) -> None:
        """Drop what could not be sent, and say so."""
        if lost := self._outbox.give_up():
            _log.warning("%d samples were not pushed before the end", lost, extra={"samples": lost})


def start(pusher: Pusher, interval_seconds: float) -> Callable[[], None]:
    """Push from a thread of its own; returns what stops it after a last push."""
    ended = threading.Event()

    def safely(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception:  # a push must never end the driver
            _log.exception("metrics could not be pushed")
            return None

    def run() -> None:
        due = ready = time.monotonic()
        while True:
            now = time.monotonic()
            if ended.wait(max(0.0, (due if ready <= now else min(due, ready)) - now)):
                return
            if time.monotonic() >= due:
                due = time.monotonic() + interval_seconds
                safely(lambda: pusher.collect(time.time()))
            if time.monotonic() >= ready:
                ready = time.monotonic() + (safely(pusher.send) or 0.0)

    thread = threading.Thread(target=run, name="remote-write", daemon=True)
    thread.start()

    def stop() -> None:
        ended.set()
        thread.join()
        safely(lambda: pusher.collect(time.time()))
        safely(lambda: pusher.send(time.monotonic() + LAST_SECONDS))
        pusher.give_up()

    return stop
