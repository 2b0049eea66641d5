"""What is kept of intervals that are over, between the looks at one analysis: a look computes what is new.

Evidence at an interval is a function of the counts up to the next one: whether an outage was shared is seen then. So
where these counts are the same as before, which is looked at each time, the evidence is, too. Nothing else is trusted.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitors.canary import alignment
from monitors.canary.arms import Arms, Floats, Ints
from monitors.canary.counts import Counted
from monitors.canary.running import CARRIED, Running, Values, joined_paths

MAX_BYTES = 256 * 2**20
"""Of what is kept: of some 500 analyses over a day of two criteria and fifteen buckets."""


OVERHEAD = 250
"""Bytes of an array, and of its name, beside its values."""


class _Hash(Protocol):
    """What `hashlib` gives."""

    def update(self, data: Any, /) -> None: ...
    def copy(self) -> _Hash: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Of a criterion: paths of the finished intervals, running sums, the arms at the last of them, and what the counts
    up to the interval after it are."""

    paths: tuple[Floats, ...]
    sums: Mapping[Hashable, Values]
    last: Arms
    counts: _Hash

    @property
    def intervals(self) -> int:
        """How many are finished."""
        return int(self.paths[0].size)

    @cached_property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        arrays = (*self.paths, *self.sums.values())
        return sum(one.nbytes + OVERHEAD for one in arrays)


class Store:
    """What is kept of each criterion; those not used for longest are forgotten first. Several threads may use it."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max, self._size = max_bytes, 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are kept, about."""
        return self._size

    def take(self, key: Hashable) -> _Kept | None:
        """What is kept under a key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, kept: _Kept) -> None:
        """Keep it instead of what was kept."""
        with self._lock:
            self._size += kept.nbytes - (self._kept[key].nbytes if key in self._kept else 0)
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while self._size > self._max and self._kept:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.nbytes


@dataclass(frozen=True)
class Finished:
    """What is kept of one analysis, or of a part of it; nothing without a store."""

    store: Store | None = None
    key: tuple[Hashable, ...] = ()

    def of(self, *part: Hashable) -> Finished:
        """What is kept of a part."""
        return replace(self, key=(*self.key, *part))

    def begin(self, counted: Counted) -> Look:
        """A look at the counts of a criterion, which goes on from what is kept if these are the same."""
        rows, arms = _by_interval(counted), counted.arms()
        known = None if self.store is None else self.store.take(self.key)
        counts = None if known is None else _hashed(counted, rows[: known.intervals + 1])
        if known is None or counts is None or counts.digest() != known.counts.digest():
            known, counts = None, None
            window, offset = arms, 0
        else:
            offset = known.intervals - CARRIED
            window = _after(known.last, arms.at((..., slice(known.intervals, None))))
        mark = None if self.store is None else _last_finished(window)
        running = Running(None if known is None else known.sums, mark, offset)
        return Look(self, counted, rows, known, counts, window, running)


@dataclass(frozen=True)
class Look:
    """One look: the arms that it computes with, from `running.offset` on, and sums that go on from the one before."""

    _finished: Finished
    _counted: Counted
    _rows: Ints
    _known: _Kept | None
    _counts: _Hash | None
    arms: Arms
    running: Running

    def end(self, *paths: Floats) -> tuple[Floats, ...]:
        """The paths of the whole analysis, of which the given ones are those along the look's arms."""
        if self._known is not None:
            paths = tuple(joined_paths(old, new) for old, new in zip(self._known.paths, paths, strict=True))
        store, mark = self._finished.store, self.running.mark
        if store is not None and mark is not None:
            intervals = self.running.offset + mark + 1
            kept = _Kept(
                paths=tuple(path[:intervals].copy() for path in paths),
                sums=self.running.kept,
                last=_copied(alignment.joined(self.arms).at((..., slice(mark, mark + 1)))),
                counts=self._hashed_up_to(intervals + 1),
            )
            store.keep(self._finished.key, kept)
        return paths

    def _hashed_up_to(self, intervals: int) -> _Hash:
        """Hash of the counts of so many intervals, which goes on from that of the finished ones before."""
        if self._known is None or self._counts is None:
            return _hashed(self._counted, self._rows[:intervals])
        self._counts.update(self._rows[self._known.intervals + 1 : intervals].data)
        return self._counts


NOTHING = Finished()
"""Nothing is kept."""


def _last_finished(arms: Arms) -> int | None:
    """The last interval that has both arms, in each stratum, so that nothing waits there for the other arm's scrape.

    Later intervals change nothing up to there. The newest one is left out, as an outage may be seen to be shared later.
    """
    once = alignment.joined(arms)
    twice = alignment.joined(once)
    is_present = np.ones(arms.canary_requests.shape[-1], dtype=np.bool_)
    for first, second in zip((once, *once.strata), (twice, *twice.strata), strict=True):
        is_present &= _everywhere(first.both())
        if first is not second:
            same = [getattr(first, name) == getattr(second, name) for name in _COUNTS]
            is_present &= _everywhere(np.logical_and.reduce(same))
    places = np.flatnonzero(is_present[:-1])
    return int(places[-1]) if places.size and places[-1] >= CARRIED - 1 else None


_COUNTS = ("baseline_events", "canary_events", "baseline_requests", "canary_requests")


def _everywhere(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Intervals where it is so in each channel."""
    everywhere: NDArray[np.bool_] = np.logical_and.reduce(seen.reshape(-1, seen.shape[-1]), axis=0)
    return everywhere


def _after(last: Arms, arms: Arms) -> Arms:
    """The arms after the finished intervals, with the last of them before, and nothing for all that was earlier."""
    strata = tuple(_after(old, new) for old, new in zip(last.strata, arms.strata, strict=True))
    counts = {}
    for name in _COUNTS:
        old, new = getattr(last, name), getattr(arms, name)
        counts[name] = np.concatenate([np.zeros_like(old), old, new], axis=-1)
    return Arms(**counts, strata=strata)


def _copied(arms: Arms) -> Arms:
    return Arms(**{name: getattr(arms, name).copy() for name in _COUNTS}, strata=tuple(map(_copied, arms.strata)))


def _by_interval(counted: Counted) -> Ints:
    """All counts, a row for each interval."""
    parts = [counted, *counted.strata.values()]
    rows = [getattr(part, name) for part in parts for name in _COUNTS]
    return np.ascontiguousarray(np.vstack(rows).T)


def _hashed(counted: Counted, rows: Ints) -> _Hash:
    """Of the counts of some intervals, and of what they are counts of."""
    counts: _Hash = hashlib.blake2b(repr((counted.channels, [*counted.strata])).encode(), digest_size=16)
    counts.update(rows.data)
    return counts
