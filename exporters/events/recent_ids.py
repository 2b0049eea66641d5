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

    `horizon` 0 is the shortest there is: the only one that the previous release had. `newest` is the latest time of
    their predictions, by the senders' clocks; 0 where an earlier release did not keep it.
    """

    closed: float
    packed: bytes
    horizon: float = 0.0
    newest: float = 0.0


class RecentIds:
    """Set of 64-bit hashes, each forgotten after one of the `horizons` (seconds, and up to a quarter more).

    It is remembered longer while the wall clock is set back so far that an event of its time would still be taken.
    """

    def __init__(self, horizons: Iterable[float]) -> None:
        self._sets = {horizon: _Ids(horizon) for horizon in sorted(horizons)}
        self._shortest = min(self._sets)

    def __len__(self) -> int:
        return sum(map(len, self._sets.values()))

    def extend(self, values: Sequence[int], horizon: float, newest: float = 0.0) -> None:
        """Remember hashes for one of the horizons; `newest` is the latest time of their predictions."""
        self._sets[horizon].extend(values, newest)

    def known(self, values: Sequence[int]) -> set[int]:
        """Those of the hashes that are remembered."""
        return set().union(*(ids.known(values) for ids in self._sets.values()))

    def forget(self, now: float, wall: float | None = None) -> None:
        """Close generations that are full or old, and drop those beyond their horizon, by both clocks."""
        for ids in self._sets.values():
            ids.forget(now, now if wall is None else wall)

    def generations(self) -> list[Generation]:
        """Everything that is remembered."""
        return [
            Generation(closed, packed, horizon, newest)
            for horizon, ids in self._sets.items()
            for closed, packed, newest in ids.generations()
        ]

    def restore(self, generation: Generation, now: float) -> None:
        """Put a generation back; of a horizon that is no more, for the next longer one."""
        wanted = generation.horizon or self._shortest
        horizon = next((horizon for horizon in self._sets if horizon >= wanted), max(self._sets))
        self._sets[horizon].restore(generation, now)


class _Ids:
    """Hashes with one horizon."""

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._opened = 0.0
        self._current: set[int] = set()
        self._order = array("Q")
        self._newest = 0.0
        self._closed: deque[tuple[float, Hashes, float]] = deque()

    def __len__(self) -> int:
        return len(self._order) + sum(len(hashes) for _, hashes, _ in self._closed)

    def extend(self, values: Sequence[int], newest: float) -> None:
        self._current.update(values)
        self._order.extend(values)
        self._newest = max(self._newest, newest)

    def known(self, values: Sequence[int]) -> set[int]:
        known = self._current.intersection(values)
        if self._closed and values:
            wanted = np.array(values, dtype=np.uint64)
            for _, hashes, _ in self._closed:
                places = np.searchsorted(hashes, wanted)
                places[places == len(hashes)] = 0
                known.update(wanted[hashes[places] == wanted].tolist())
        return known

    def forget(self, now: float, wall: float) -> None:
        if not self._order:
            self._opened = now
        elif len(self._order) >= GENERATION or now - self._opened > self._horizon / 4:
            self._closed.append((now, np.sort(np.frombuffer(self._order, dtype=np.uint64)), self._newest))
            self._current, self._order, self._opened, self._newest = set(), array("Q"), now, 0.0
        if self._closed and self._closed[0][0] < now - self._horizon:
            oldest = wall - self._horizon
            kept = [part for part in self._closed if part[0] >= now - self._horizon or part[2] > oldest]
            if len(kept) < len(self._closed):
                self._closed = deque(kept)

    def generations(self) -> list[tuple[float, bytes, float]]:
        closed = [(closed, hashes.tobytes(), newest) for closed, hashes, newest in self._closed]
        return [*closed, (0.0, self._order.tobytes(), self._newest)]

    def restore(self, generation: Generation, now: float) -> None:
        hashes = np.frombuffer(generation.packed, dtype=np.uint64)
        if generation.closed:
            self._closed.append((generation.closed, hashes, generation.newest))
            return
        self._order.frombytes(generation.packed)
        self._current.update(hashes.tolist())
        self._opened = now
        self._newest = max(self._newest, generation.newest)
