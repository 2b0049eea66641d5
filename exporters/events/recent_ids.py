"""Ids that were accepted lately, so that a retry is a duplicate: eight bytes an id once a generation is closed."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

GENERATION = 250_000
"""Ids of one generation: sorting that many takes about 3 ms, and ingestion waits for it."""

Hashes = NDArray[np.uint64]


class Generation(msgspec.Struct, array_like=True):
    """Ids as they are stored: when they were closed (0: not yet), packed hashes, and seconds they are remembered for.

    `horizon` 0 is the shortest there is: the only one that the previous release had.
    """

    closed: float
    packed: bytes
    horizon: float = 0.0


class RecentIds:
    """Set of 64-bit hashes, each forgotten after one of the `horizons` (seconds, and up to a quarter more)."""

    def __init__(self, horizons: Iterable[float]) -> None:
        self._sets = {horizon: _Ids(horizon) for horizon in sorted(horizons)}
        self._shortest = min(self._sets)

    def __len__(self) -> int:
        return sum(map(len, self._sets.values()))

    def extend(self, values: Sequence[int], horizon: float) -> None:
        """Remember hashes for one of the horizons."""
        self._sets[horizon].extend(values)

    def known(self, values: Sequence[int]) -> set[int]:
        """Those of the hashes that are remembered."""
        return set().union(*(ids.known(values) for ids in self._sets.values()))

    def forget(self, now: float) -> None:
        """Close generations that are full or old, and drop those beyond their horizon."""
        for ids in self._sets.values():
            ids.forget(now)

    def generations(self) -> list[Generation]:
        """Everything that is remembered."""
        return [
            Generation(closed, packed, horizon)
            for horizon, ids in self._sets.items()
            for closed, packed in ids.generations()
        ]

    def restore(self, generation: Generation, now: float) -> None:
        """Put a generation back; of a horizon that is no more, for the next longer one."""
        wanted = generation.horizon or self._shortest
        horizon = next((horizon for horizon in self._sets if horizon >= wanted), max(self._sets))
        self._sets[horizon].restore(generation.closed, generation.packed, now)


class _Ids:
    """Hashes with one horizon."""

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._opened = 0.0
        self._current: set[int] = set()
        self._order = array("Q")
        self._closed: deque[tuple[float, Hashes]] = deque()

    def __len__(self) -> int:
        return len(self._order) + sum(len(hashes) for _, hashes in self._closed)

    def extend(self, values: Sequence[int]) -> None:
        self._current.update(values)
        self._order.extend(values)

    def known(self, values: Sequence[int]) -> set[int]:
        known = self._current.intersection(values)
        if self._closed and values:
            wanted = np.array(values, dtype=np.uint64)
            for _, hashes in self._closed:
                places = np.searchsorted(hashes, wanted)
                places[places == len(hashes)] = 0
                known.update(wanted[hashes[places] == wanted].tolist())
        return known

    def forget(self, now: float) -> None:
        if not self._order:
            self._opened = now
        elif len(self._order) >= GENERATION or now - self._opened > self._horizon / 4:
            self._closed.append((now, np.sort(np.frombuffer(self._order, dtype=np.uint64))))
            self._current, self._order, self._opened = set(), array("Q"), now
        while self._closed and self._closed[0][0] < now - self._horizon:
            self._closed.popleft()

    def generations(self) -> list[tuple[float, bytes]]:
        return [(closed, hashes.tobytes()) for closed, hashes in self._closed] + [(0.0, self._order.tobytes())]

    def restore(self, closed: float, packed: bytes, now: float) -> None:
        if closed:
            self._closed.append((closed, np.frombuffer(packed, dtype=np.uint64)))
            return
        self._order.frombytes(packed)
        self._current.update(np.frombuffer(packed, dtype=np.uint64).tolist())
        self._opened = now
