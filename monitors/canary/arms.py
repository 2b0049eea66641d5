"""Events and requests of both arms of a comparison, by interval."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Events and requests of both arms: four arrays of the same shape (..., intervals).

    `strata` are parts of the traffic that are compared each with its like; the arrays are their sums.
    """

    baseline_events: Ints
    baseline_requests: Ints
    canary_events: Ints
    canary_requests: Ints
    strata: tuple[Arms, ...] = ()

    def parts(self) -> tuple[Arms, ...]:
        """The strata, or the whole where there are none."""
        return self.strata or (self,)

    def swapped(self) -> Arms:
        """The arms with their roles exchanged: a fall on the canary is a rise on the baseline."""
        return Arms(
            baseline_events=self.canary_events,
            baseline_requests=self.canary_requests,
            canary_events=self.baseline_events,
            canary_requests=self.baseline_requests,
            strata=tuple(one.swapped() for one in self.strata),
        )

    def at(self, index: Any) -> Arms:
        """The part of each array at an index."""
        counts = {one.name: getattr(self, one.name)[index] for one in fields(self) if one.name != "strata"}
        return replace(self, **counts, strata=tuple(one.at(index) for one in self.strata))

    def share(self) -> Floats:
        """Canary's share of the requests by interval; 0 where there were none."""
        total = self.baseline_requests + self.canary_requests
        share: Floats = np.divide(self.canary_requests, total, out=np.zeros(total.shape), where=total > 0)
        return share

    def both(self) -> NDArray[np.bool_]:
        """Intervals where both arms had requests: others compare nothing."""
        present: NDArray[np.bool_] = (self.baseline_requests > 0) & (self.canary_requests > 0)
        return present

    def told(self) -> tuple[Ints, Ints]:
        """Events of the canary, and of both, in the intervals that compare something."""
        both = self.both()
        canary = np.where(both, self.canary_events, 0)
        return canary, canary + np.where(both, self.baseline_events, 0)
