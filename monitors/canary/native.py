"""Native histograms as cumulative counts at fixed boundaries, so that they are counted like classic ones.

Their buckets are exponential: every schema from 0 on has the powers of 2 among its bounds, from 1 on those of the
square root of 2. A boundary that falls inside a bucket cannot be counted, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from midwatch.prometheus import Line

BOUNDARIES = tuple(2.0 ** (half / 2) for half in range(-20, 17))
"""From a millisecond to four minutes, in steps of the square root of 2."""


def to_classic(lines: Sequence[Line]) -> list[Line]:
    """Series with `le`, as a classic histogram would have them, from native ones."""
    return [classic for line in lines if line.histograms for classic in _expanded(line)]


def _expanded(line: Line) -> list[Line]:
    counted = [(at, _cumulative(histogram)) for at, histogram in line.histograms]
    common = set.intersection(*(set(counts) for _, counts in counted))
    return [
        Line(
            labels={**line.labels, "le": f"{bound:g}" if math.isfinite(bound) else "+Inf"},
            points=tuple((at, counts[bound]) for at, counts in counted),
        )
        for bound in sorted(common)
    ]


def _cumulative(histogram: Mapping[str, Any]) -> dict[float, float]:
    """Counts up to each boundary that no bucket lies across."""
    buckets = [(float(low), float(high), float(count)) for _, low, high, count in histogram.get("buckets", ())]
    counts = {math.inf: float(histogram["count"])}
    for bound in BOUNDARIES:
        near = bound * 1e-9
        if not any(low < bound - near and high > bound + near for low, high, _ in buckets):
            counts[bound] = sum(count for _, high, count in buckets if high <= bound + near)
    return counts
