"""Sums along the intervals of an analysis, which go on from where an earlier look at it stopped.

A look that goes on has the arms from one interval before the last finished one on. What a sum was at these two is
carried over from the look before; whatever the arms seem to say of them is not used. Sums are added up in the same
order as without an earlier look, so they are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.canary.arms import Floats

CARRIED = 2
"""Intervals at the front of the arms of which the sums are known: the last finished one, and the one before it."""
Values = NDArray[Any]


@dataclass(frozen=True)
class Running:
    """Sums by name. `known` are those that are carried over; `kept` takes those that the next look goes on from.

    The arms begin at the interval `offset` of the analysis. `mark` is the interval, counted from there, that is
    finished after this look; None keeps nothing.
    """

    known: Mapping[Hashable, Values] | None = None
    mark: int | None = None
    offset: int = 0
    kept: dict[Hashable, Values] = field(default_factory=dict)
    name: tuple[Hashable, ...] = ()

    def of(self, *part: Hashable) -> Running:
        """The sums of a part."""
        return replace(self, name=(*self.name, *part))

    def sum(self, name: Hashable, values: Values) -> Values:
        """Sum of the values up to each interval."""
        return self._accumulated(np.add, name, values)

    def largest(self, name: Hashable, values: Values) -> Values:
        """Largest of the values up to each interval."""
        return self._accumulated(np.maximum, name, values)

    def as_it_was(self, name: Hashable, values: Values) -> Values:
        """The values, of which those at the carried intervals are as the look before saw them."""
        known = self.value(name)
        if known is not None:
            values = np.concatenate([known, values[..., CARRIED:]], axis=-1)
        self._keep_columns(name, values)
        return values

    def value(self, name: Hashable) -> Values | None:
        """What is carried over under a name; None when nothing is."""
        return None if self.known is None else self.known.get((*self.name, name))

    def keep(self, name: Hashable, value: Values) -> None:
        """Carry a value over to the next look."""
        if self.mark is not None:
            self.kept[*self.name, name] = value

    def is_over(self, interval: int) -> bool:
        """Whether an interval of the analysis is finished after this look."""
        return self.mark is not None and interval <= self.offset + self.mark

    def _accumulated(self, function: np.ufunc, name: Hashable, values: Values) -> Values:
        known = self.value(name)
        if known is None:
            total: Values = function.accumulate(_summable(values), axis=-1)
        else:
            tail = np.concatenate([known[..., 1:], values[..., CARRIED:]], axis=-1)
            total = np.concatenate([known[..., :1], function.accumulate(tail, axis=-1)], axis=-1)
        self._keep_columns(name, total)
        return total

    def _keep_columns(self, name: Hashable, values: Values) -> None:
        if self.mark is not None:
            self.keep(name, values[..., self.mark - 1 : self.mark + 1].copy())


def _summable(values: Values) -> Values:
    """Truths are counted."""
    return values.astype(np.int64) if values.dtype == np.bool_ else values


def joined_paths(earlier: Floats, path: Floats) -> Floats:
    """A path of finished intervals, and what a look that goes on from there says of the later ones."""
    return np.concatenate([earlier, path[..., CARRIED:]], axis=-1)


ALONE = Running()
"""Sums of a look that goes on from nothing, and that nothing is kept of."""
