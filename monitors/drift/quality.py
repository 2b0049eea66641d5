"""Checks of a feature's values that no distribution shows: missing values, new categories, out of range, other types.

Each compares a share of the window's rows with the reference's. The p-value is the hypergeometric tail (Fisher 1935,
The Design of Experiments, section 21): how often so many of the odd rows fall into the window by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from scipy.stats import hypergeom

from midwatch.spec.drift import Feature
from monitors.drift.comparison import FeatureMethod, Result, clipped
from monitors.drift.counts import Counts

FLOOR = 0.01
"""Share of the rows that has to be odd beyond the reference's share: a hundredth of the answers is at stake."""

OddRows = Callable[[Counts], int]


def compare(odd_rows: OddRows, reference: Counts, window: Counts, inflation: float = 1.0) -> Result:
    """Result of a check; the effect is the difference of shares, 0 when the window has fewer odd rows."""
    n, m, before, now = reference.rows, window.rows, odd_rows(reference), odd_rows(window)
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


def _out_of_range(counts: Counts) -> int:
    """Below the lowest edge or above the highest; without an edge there is one cell, and no range."""
    return int(counts.cells[0] + counts.cells[-1]) if len(counts.cells) > 1 else 0


def _check(odd_rows: OddRows, *features: Feature) -> FeatureMethod:
    return FeatureMethod(features=frozenset(features), floor=FLOOR, compare=partial(compare, odd_rows))


OF_MISSING = ("missing", "wrong_type")
"""Checks whose odd rows have no value: they come in runs of their own."""

CHECKS: Mapping[str, FeatureMethod] = {
    "missing": _check(lambda counts: counts.missing, Feature.NUMERIC, Feature.CATEGORICAL),
    "wrong_type": _check(lambda counts: counts.wrong_type, Feature.NUMERIC),
    "out_of_range": _check(_out_of_range, Feature.NUMERIC),
    "new_category": _check(lambda counts: int(counts.cells[-1]) + counts.unseen, Feature.CATEGORICAL),
}
"""Each by its name, with the signature of a method: it sees to every feature that can have such rows."""
