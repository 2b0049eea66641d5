"""Which predictions are explained: a share by the hash of their ids, and no more in a second than their budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b


class Sampled(StrEnum):
    """What is decided of a prediction, and what came of it."""

    EXPLAINED = "explained"
    NOT_SAMPLED = "not_sampled"
    OVER_BUDGET = "over_budget"
    FAILED = "failed"


class AttributionSample:
    """A share of the predictions, from 0 to 1, of which `per_second` are explained at most, in each process.

    Whether a prediction is among the share is told by its id alone: replicas, and a server that starts again, decide
    alike. The budget is a bucket of a second's size: what is over it is left out, and counted. ValueError for a share
    or a budget that is none. Threads may use one sample.
    """

    def __init__(
        self, share: float, *, per_second: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share:g} is not between 0 and 1")
        if per_second is not None and not per_second > 0:
            raise ValueError(f"{per_second:g} a second is no budget; leave it out for none")
        self._least = round(share * 2**64)
        self._rate, self._clock = per_second, clock
        self.begin_process()

    def begin_process(self) -> None:
        """Begin with a budget of its own: a process that was forked has one, and nobody in it holds a lock."""
        self._room = self._most = max(1.0, self._rate or 0.0)
        self._filled = self._clock()
        self._lock = threading.RLock()  # a signal handler may send while its thread sends

    def decide(self, identity: str) -> Sampled:
        """Whether the prediction of an id is explained; one that is takes its part of the budget."""
        if int.from_bytes(blake2b(identity.encode(errors="surrogatepass"), digest_size=8).digest()) >= self._least:
            return Sampled.NOT_SAMPLED
        return Sampled.EXPLAINED if self._rate is None or self._has_room(self._rate) else Sampled.OVER_BUDGET

    def _has_room(self, rate: float) -> bool:
        with self._lock:
            now = self._clock()
            self._room = min(self._most, self._room + (now - self._filled) * rate)
            self._filled = now
            if self._room < 1:
                return False
            self._room -= 1
            return True
