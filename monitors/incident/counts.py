"""Events of an SLI by scope and time: bad ones and all, in bins of equal length. Values; who asks is the app's job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """`bad` and `total` have a row for each of `cells` (its labels) and a column for each bin.

    Bin 0 begins at `start` (seconds since the epoch), each is `step` seconds long. Where `is_fewer`, harm is that there
    are fewer events than there should be, and `total` is how many are usual.
    """

    start: float
    step: float
    cells: tuple[Mapping[str, str], ...]
    bad: Numbers
    total: Numbers
    is_fewer: bool = False

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return int(self.bad.shape[1])

    @property
    def end(self) -> float:
        """When the last bin ends."""
        return self.start + self.bins * self.step

    @cached_property
    def times(self) -> Numbers:
        """When each bin begins."""
        return np.asarray(self.start + self.step * np.arange(self.bins), dtype=np.float64)

    @cached_property
    def names(self) -> frozenset[str]:
        """Labels that any cell has."""
        return frozenset(name for cell in self.cells for name in cell)

    def index(self, at: float) -> int:
        """The bin of a moment, the first or the last for one outside."""
        return int(np.clip((at - self.start) // self.step, 0, self.bins - 1))

    def touched(self, scope: Mapping[str, str]) -> Mask:
        """Cells that a scope reaches; a label that a cell does not have does not tell it apart."""
        return np.array([matches(scope, cell) for cell in self.cells], dtype=bool)

    def tells_apart(self, scope: Mapping[str, str]) -> bool:
        """Whether the cells have a label by which the scope can be found; the whole platform needs none."""
        return not scope or not self.names.isdisjoint(scope)

    def rates(self, cells: Mask, first: int, last: int) -> tuple[float, float]:
        """Bad and all events of cells in bins from `first` up to before `last`."""
        return float(self.bad[cells, first:last].sum()), float(self.total[cells, first:last].sum())


def matches(scope: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels can be of a scope: none that both have differs."""
    return all(labels.get(name, value) == value for name, value in scope.items())
