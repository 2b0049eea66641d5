"""Ids that were accepted lately, so that a retry is a duplicate: eight bytes an id once a generation is closed."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GENERATION = 500_000
"""Ids of one generation: sorting that many takes about 5 ms, and ingestion waits for it."""

Hashes = NDArray[np.uint64]


class RecentIds:
    """Set of 64-bit hashes that forgets what is older than `horizon` seconds (and up to a quarter more)."""

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._opened = 0.0
        self._current: set[int] = set()
        self._order = array("Q")
        self._closed: deque[tuple[float, Hashes]] = deque()

    def __len__(self) -> int:
        return len(self._order) + sum(len(hashes) for _, hashes in self._closed)

    def add(self, value: int) -> None:
        """Remember a hash."""
        self._current.add(value)
        self._order.append(value)

    def known(self, values: Sequence[int]) -> set[int]:
        """Those of the hashes that are remembered."""
        known = self._current.intersection(values)
        if self._closed and values:
            wanted = np.array(values, dtype=np.uint64)
            for _, hashes in self._closed:
                places = np.searchsorted(hashes, wanted)
                places[places == len(hashes)] = 0
                known.update(wanted[hashes[places] == wanted].tolist())
        return known

    def forget(self, now: float) -> None:
        """Close the current generation when it is full or old, and drop those beyond the horizon."""
        if not self._order:
            self._opened = now
        elif len(self._order) >= GENERATION or now - self._opened > self._horizon / 4:
            self._closed.append((now, np.sort(np.frombuffer(self._order, dtype=np.uint64))))
            self._current, self._order, self._opened = set(), array("Q"), now
        while self._closed and self._closed[0][0] < now - self._horizon:
            self._closed.popleft()

    def generations(self) -> list[tuple[float, bytes]]:
        """Everything remembered, as pairs of closing time and packed hashes; the current generation has time 0."""
        return [(closed, hashes.tobytes()) for closed, hashes in self._closed] + [(0.0, self._order.tobytes())]

    def restore(self, closed: float, packed: bytes, now: float) -> None:
        """Put a generation back."""
        hashes = np.frombuffer(packed, dtype=np.uint64)
        if closed:
            self._closed.append((closed, hashes))
        else:
            self._order, self._opened = array("Q", packed), now
            self._current = set(hashes.tolist())
