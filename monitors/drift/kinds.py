"""Drift of its own kind, that no distribution shows: missing values, new categories, values out of range, other types.

Each compares a share of the window's rows with the reference's. The p-value is the hypergeometric tail (Fisher 1935,
The Design of Experiments, section 21): how often so many of the odd rows fall into the window by chance.
"""

from __future__ import annotations

from collections.abc import Callable

from scipy.stats import hypergeom

from midwatch.spec.model import Feature
from monitors.drift.counts import Counts
from monitors.drift.result import Result, clipped

FLOOR = 0.01
"""Share of the rows that has to be odd beyond the reference's share: a hundredth of the answers is at stake."""

Odd = Callable[[Counts], int]

ODD: dict[str, tuple[tuple[Feature, ...], Odd]] = {
    "missing": ((Feature.NUMERIC, Feature.CATEGORICAL), lambda counts: counts.missing),
    "wrong_type": ((Feature.NUMERIC,), lambda counts: counts.wrong_type),
    "out_of_range": ((Feature.NUMERIC,), lambda counts: int(counts.cells[0] + counts.cells[-1])),
    "new_category": ((Feature.CATEGORICAL,), lambda counts: int(counts.cells[-1])),
}
"""By kind: the features that can have it, and how many rows of counts do."""


def compare(kind: str, reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Result for a kind; the effect is the difference of shares, 0 when the window has less of it."""
    odd = ODD[kind][1]
    n, m, before, now = reference.rows, window.rows, odd(reference), odd(window)
    share, expected = now / m, before / n if n else 0.0
    scale = 1 / inflation  # rows that come in runs are worth fewer
    sizes = [max(1, round(scale * size)) for size in (n, m)]
    parts = [min(size, round(scale * count)) for size, count in zip(sizes, (before, now), strict=True)]
    tail = hypergeom.sf(parts[1] - 1, sum(sizes), sum(parts), sizes[1])
    return Result(
        statistic=share,
        p_value=clipped(float(tail)),
        effect=max(0.0, share - expected),
        reference_size=n,
        window_size=m,
    )
