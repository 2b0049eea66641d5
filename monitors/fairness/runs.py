"""When the counting of evidence begins anew, so that a version may be looked at for ever within one budget.

A window that moves on with every look counts from another time each time, and every such time has a false-alarm
budget of its own. So counting begins at fixed times: with the version, and after every half of what is read back. A
run of counting is looked at until it is as long as what is read back; then the next one takes over, which is half as
long by then. Run k = 0, 1, ... has 1 / ((k + 1)(k + 2)) of the budget; the shares of all runs there can be add up to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of counting: its number, the place of its first block in what was read, and its share of the budget."""

    number: int
    first: int
    share: float


def run_of(since: float, start: float, block: float, size: int) -> Run:
    """The run that is looked at after the last of `size` blocks that were read from `start` on.

    `since` is when counting began, seconds since the epoch, as times are here; `block` is in seconds.
    """
    half = size // 2
    elapsed = (start - since) / block + size
    number = max(0, math.ceil(elapsed / half - 1e-9) - 2)
    first = max(0, math.ceil(size - elapsed + number * half - 1e-9))
    return Run(number=number, first=first, share=1 / ((number + 1) * (number + 2)))
