"""Explanations that were given, by key, bounded in bytes: the one that was asked for longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict

from monitors.explainer.explanation import Explanation

OVERHEAD = 700
"""Bytes of an entry beside its numbers: key, objects, headers of arrays (measured by tracemalloc, Python 3.11)."""


class Cache:
    """A cache of at most `limit` bytes. One thread uses it."""

    def __init__(self, limit: int) -> None:
        self._limit, self.size = limit, 0
        self._entries: OrderedDict[bytes, Explanation] = OrderedDict()

    def get(self, key: bytes) -> Explanation | None:
        """The explanation of a key, which is now the youngest."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, explanation: Explanation) -> None:
        """Keep an explanation; others go while there is no room for it."""
        size = explanation.size + OVERHEAD
        if size > self._limit or key in self._entries:
            return
        self._entries[key] = explanation
        self.size += size
        while self.size > self._limit:
            _, gone = self._entries.popitem(last=False)
            self.size -= gone.size + OVERHEAD
