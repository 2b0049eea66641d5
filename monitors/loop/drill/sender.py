"""Sends copies of requests at an even rate, with or without the drift, and counts what became of them.

Requests come from this process alone: whatever ends it, even `kill -9`, ends the drift.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import urllib3

from monitors.loop.drill.copies import Copies

HEADER = "X-Midwatch-Drill"
"""Marks every request with the run of the drill."""
THREADS = 8
"""Requests that are under way at once: a server that answers slowly does not slow the others."""
TIMEOUT = 5.0


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Requests so far."""

    sent: int = 0
    answered: int = 0
    drifted: int = 0


class Sender:
    """Sends until it is stopped."""

    def __init__(self, url: str, copies: Copies, rate: float, run: str) -> None:
        self._url, self._copies, self._interval, self._run = url, copies, THREADS / rate, run
        self._pool = urllib3.PoolManager(maxsize=THREADS, timeout=TIMEOUT, retries=False)
        self._lock = threading.Condition()
        self._under_way: Counter[bool] = Counter()
        self._stop = threading.Event()
        self._totals = Totals()
        self._drifts = False
        self._numbers = itertools.count()
        self._threads = [
            threading.Thread(target=self._send, args=(number * self._interval / THREADS,), daemon=True)
            for number in range(THREADS)
        ]

    def start(self) -> None:
        """Begin, without drift."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; no request is under way when this returns."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._pool.clear()

    def drift(self, *, begins: bool) -> None:
        """When this returns every request that is not answered yet carries the drift, or none does."""
        with self._lock:
            self._drifts = begins
            self._lock.wait_for(lambda: not self._under_way[not begins])

    def totals(self) -> Totals:
        """What was sent so far."""
        with self._lock:
            return self._totals

    def _send(self, delay: float) -> None:
        due = time.monotonic() + delay
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval, time.monotonic())  # what a slow answer cost is not made up for in a burst
            with self._lock:
                drifts, place = self._drifts, next(self._numbers)
                self._under_way[drifts] += 1
            bodies: Sequence[bytes] = self._copies.drifted if drifts else self._copies.plain
            is_answered = self._is_answered(bodies[place % len(bodies)])
            with self._lock:
                was = self._totals
                self._totals = Totals(
                    sent=was.sent + 1, answered=was.answered + is_answered, drifted=was.drifted + drifts
                )
                self._under_way[drifts] -= 1
                self._lock.notify_all()

    def _is_answered(self, body: bytes) -> bool:
        headers = {"Content-Type": "application/json", HEADER: self._run}
        try:
            answer = self._pool.request("POST", self._url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError:
            return False
        return 200 <= answer.status < 300
