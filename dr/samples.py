"""Samples of a store's posture: what a collector is, and how the lag of a copy is measured.

Lag is measured, not asked for: a standby that stopped silently goes on reporting that it is fine. Every look notes the
primary's position; the lag is the time since the last position that the copy has by now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from midwatch.metrics import Metric

Sample = tuple[Metric, dict[str, str], float]

ARCHIVE = "archive"
"""The region that stands for a store's backups and its archive."""

REMEMBERED = 100_000


class Collector(Protocol):
    """Looks at one store."""

    def collect(self, now: float) -> Iterator[Sample]:
        """Samples of one look at monotonic seconds; MidwatchError when the store cannot be looked at."""


@dataclass
class Lag:
    """Seconds of writes that a copy lacks, from positions seen over time."""

    _seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def measure(self, now: float, primary: int, copy: int) -> float:
        """Note where both are (bytes of WAL); returns the lag in seconds, 0 when the copy has everything.

        >>> lag = Lag()
        >>> [lag.measure(0.0, 10, 10), lag.measure(1.0, 20, 10), lag.measure(3.0, 30, 10), lag.measure(4.0, 30, 30)]
        [0.0, 1.0, 3.0, 0.0]
        """
        if copy >= primary:
            self._seen.clear()
            self._seen.append((now, primary))
            return 0.0
        while len(self._seen) > 1 and self._seen[1][1] <= copy:
            self._seen.popleft()
        self._seen.append((now, primary))
        return now - self._seen[0][0]
