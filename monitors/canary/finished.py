"""Paths of intervals that are over, kept between the looks at one analysis: a look computes what is new.

Evidence at an interval is a function of the counts up to the next one: whether an outage was shared is seen then. So
where these counts are the same as before, which is looked at each time, the evidence is, too. Nothing else is trusted.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np

from monitors.canary.arms import Arms, Floats, Ints

MAX_BYTES = 64 * 2**20
"""Of paths that are kept: of a hundred analyses over a day of fifteen channels, or of two thousand over an hour."""


@dataclass(frozen=True)
class _Kept:
    """A path, and a digest of the counts up to the interval after it."""

    path: Floats
    digest: bytes


class Store:
    """Paths by what they are of; those not used for longest are forgotten first. Several threads may use it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max, self._size = max_bytes, 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> _Kept | None:
        """What is kept under a key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, kept: _Kept) -> None:
        """Keep it instead of what was kept."""
        with self._lock:
            self._size += kept.path.nbytes - (self._kept[key].path.nbytes if key in self._kept else 0)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while self._size > self._max and self._kept:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.path.nbytes


@dataclass(frozen=True)
class Finished:
    """What is kept of one analysis, or of a part of it; nothing without a store."""

    store: Store | None = None
    key: tuple[Hashable, ...] = ()

    def of(self, *part: Hashable) -> Finished:
        """What is kept of a part."""
        return replace(self, key=(*self.key, *part))

    def extended(self, arms: Arms, since: Callable[[int], Floats]) -> Floats:
        """The path `since(0)`, of which only what follows the kept intervals is computed.

        `since` gives the path from an interval on; at each it is a function of the arms up to the next one.
        """
        if self.store is None:
            return since(0)
        known = self.store.take(self.key)
        path: Floats
        if known is not None and known.digest == _digest(arms, known.path.shape[-1] + 1):
            path = np.concatenate([known.path, since(known.path.shape[-1])], axis=-1)
        else:
            path = since(0)
        over = _over(arms)
        self.store.keep(self.key, _Kept(path[..., :over].copy(), _digest(arms, over + 1)))
        return path


NOTHING = Finished()
"""Nothing is kept."""


def _over(arms: Arms) -> int:
    """Intervals of which later ones change nothing: up to the last that has both arms, in each stratum.

    The newest two may change as long as scrapes arrive, and are not worth keeping.
    """
    ends = [
        np.flatnonzero(part.both().reshape(-1, part.canary_requests.shape[-1]).all(axis=0)) for part in arms.parts()
    ]
    last = min(int(places[-1]) + 1 if places.size else 0 for places in ends)
    return max(0, min(last, int(arms.canary_requests.shape[-1]) - 2))


def _counts(arms: Arms) -> list[Ints]:
    own = [arms.baseline_events, arms.canary_events, arms.baseline_requests, arms.canary_requests]
    return [*own, *(counts for stratum in arms.strata for counts in _counts(stratum))]


def _digest(arms: Arms, intervals: int) -> bytes:
    """Of the counts of so many intervals, and of their shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for values in _counts(arms):
        part = np.ascontiguousarray(values[..., :intervals])
        digest.update(repr(part.shape).encode())
        digest.update(part.data)
    return digest.digest()
