"""A sample of a stream's rows that adds up over parts: the rows whose ids have the smallest hashes.

Cohen, E. & Kaplan, H. (2007): Summarizing data using bottom-k sketches. PODC, 225-234. Which rows are in it depends on
the ids alone, not on their order or on which part took them, and an id that comes twice is in it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from monitors.drift.embedding import Embedding, Rows

SIZE = 2000
"""Rows that are kept: enough to see a shift of 0.1 deviations in 5 of 20 features, and a tenth of a second to judge."""

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Sample:
    """Hashes, ascending and distinct, and the vectors of their rows; shapes (k,) and (k, d), k at most SIZE."""

    keys: Keys
    rows: Rows

    @classmethod
    def empty(cls, width: int) -> Sample:
        """No row yet, of vectors of this length."""
        return cls(np.zeros(0, np.uint64), np.zeros((0, width), np.float32))

    def __add__(self, other: Sample) -> Sample:
        keys, first = np.unique(np.concatenate([self.keys, other.keys]), return_index=True)
        rows = np.concatenate([self.rows, other.rows])
        return Sample(keys[:SIZE], rows[first[:SIZE]])

    def taking(self, ids: Keys, embedding: Embedding, columns: Callable[[Sequence[int]], Mapping[str, Any]]) -> Sample:
        """With the rows of these hashed ids; `columns` gives the values of those at few places."""
        keys, places = np.unique(ids, return_index=True)
        enough = SIZE if len(self.keys) < SIZE else min(SIZE, int(np.searchsorted(keys, self.keys[-1])))
        if not len(keys[:enough]):
            return self
        return self + Sample(keys[:enough], embedding.rows(columns(places[:enough].tolist())))


def hashes(ids: Iterable[str]) -> Iterator[int]:
    """Hash of each id."""
    return (xxhash.xxh3_64_intdigest(name.encode()) for name in ids)
