"""Requests that wait to be delivered, the oldest first: bounded, repeated after a pause, dropped only with a reason."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice

from exporters.remote_write.message import Request
from midwatch import metrics
from midwatch.exposition import Sample

MOST_BYTES = 32 * 2**20
"""Bytes that wait: some 250 pushes of 10,000 series, which is an hour of four a minute."""

PAUSES = 1.0, 30.0
"""Seconds until a request is repeated: first, and at the most; Prometheus itself waits from 0.03 to 5."""

LONGEST_PAUSE = 300.0
"""Seconds of a Retry-After that are waited at the most."""


class Result(StrEnum):
    """What a receiver said to a request."""

    TAKEN = "taken"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True)
class Answer:
    """A result, and after how many seconds a request may come again where the receiver said so."""

    result: Result
    retry_after: float | None = None


@dataclass(frozen=True)
class Waiting:
    """A request, whether it says where series began, and what is called once its receiver has answered it."""

    request: Request
    begins: bool = False
    answered: Callable[[], None] = lambda: None


class Outbox:
    """What waits for one receiver; `post` sends a body and gives the answer."""

    def __init__(self, post: Callable[[bytes], Answer], most_bytes: int = MOST_BYTES) -> None:
        self._post, self._most = post, most_bytes
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._pause = 0.0
        self._retries = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self.last_delivery: float | None = None
        """When something was taken last, by the clock that `send` is given."""

    def put(self, waiting: Iterable[Waiting]) -> None:
        """Have requests sent after all that wait; what has no room any more is dropped, the oldest values first."""
        for one in waiting:
            self._waiting.append(one)
            self._bytes += len(one.request.body)
        while self._bytes > self._most and len(self._waiting) > 1:
            older = islice(self._waiting, len(self._waiting) - 1)
            self._drop(next((one for one in older if not one.begins), self._waiting[0]), "queue_full")

    def send(self, now: Callable[[], float], until: float = float("inf")) -> float:
        """Send what waits, in order, until the receiver has a request wait; seconds until it should be asked again.

        No other request is begun after `until`, by the clock `now`.
        """
        while self._waiting and now() < until:
            first = self._waiting[0]
            answer = self._post(first.request.body)
            if answer.result is Result.LATER:
                self._retries += 1
                self._pause = min(max(2 * self._pause, PAUSES[0]), PAUSES[1])
                return max(self._pause, min(answer.retry_after or 0.0, LONGEST_PAUSE))
            self._pause = 0.0
            first.answered()
            if answer.result is Result.REFUSED:
                self._drop(first, "refused")
                continue
            self._take(first)
            self._delivered += first.request.samples
            self.last_delivery = now()
        return 0.0

    def give_up(self) -> int:
        """Drop everything that waits, since the driver ends; how many samples that were."""
        before = self._dropped["stopped"]
        while self._waiting:
            self._drop(self._waiting[0], "stopped")
        return self._dropped["stopped"] - before

    def _drop(self, one: Waiting, reason: str) -> None:
        self._take(one)
        self._dropped[reason] += one.request.samples

    def _take(self, one: Waiting) -> None:
        self._waiting.remove(one)
        self._bytes -= len(one.request.body)

    def samples(self) -> list[Sample]:
        """What became of samples, and what waits."""
        counted = chain(
            [({"result": "delivered", "reason": ""}, self._delivered)],
            (({"result": "dropped", "reason": reason}, count) for reason, count in self._dropped.items()),
        )
        return [
            *((metrics.REMOTE_WRITE_SAMPLES, labels, float(count)) for labels, count in counted),
            (metrics.REMOTE_WRITE_RETRIES, {}, float(self._retries)),
            (metrics.REMOTE_WRITE_WAITING, {}, float(sum(one.request.samples for one in self._waiting))),
        ]
