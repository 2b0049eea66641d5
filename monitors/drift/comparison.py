"""What a comparison with the reference says, and the one signature of each sort of method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from midwatch.spec.drift import Feature
from monitors.drift.counts import Counts
from monitors.drift.embedding import Rows
from monitors.drift.moments import CalmMeans

SMALLEST_P = 1e-300
"""A p-value is never exactly 0: no finite sample excludes chance, and logarithms of it are taken."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Statistic, p-value in (0, 1], effect size (0 is none), and the sizes of reference and window.

    `by_calm_windows`: the p-value is that of what calm windows differ by, not of rows taken for so many independent
    ones. `term` is the place of what differs most, where a method knows one.
    """

    statistic: float
    p_value: float
    effect: float
    reference_size: int
    window_size: int
    by_calm_windows: bool = False
    term: int | None = None


def clipped(p_value: float) -> float:
    """P-value within (0, 1]."""
    return min(1.0, max(SMALLEST_P, p_value))


class Tail(Protocol):
    """How likely chance gives an effect, and which effect it gives with a probability, each the other's inverse."""

    def p_value(self, effect: float, reference: Counts, rows: int, inflation: float) -> float:
        """Of an effect in a window of so many rows with a value."""
        ...

    def effect(self, p_value: float, reference: Counts, rows: int, inflation: float) -> float:
        """With a p-value."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeatureMethod:
    """A method that compares one feature at a time, on the counts of the reference's cells.

    `features` are the kinds of feature it can compare, `floor` is the least effect that counts. `compare` takes the
    counts of reference and window, which both hold a value, and how many rows are worth an independent one.
    With a `tail` it is known what would have been seen: a method that would not see an effect of `large` cannot judge.
    `bins`: its statistic is a sum over bins. The effect to this `power` is a distance: what is beyond another adds up.
    """

    features: frozenset[Feature]
    floor: float
    compare: Callable[[Counts, Counts, float], Result]
    tail: Tail | None = None
    large: float = math.inf
    bins: bool = True
    power: float = 1.0


class Preparation(Protocol):
    """Takes the rows of the reference, shape (n, d), in: what it returns compares windows, shape (m, d), with them."""

    def __call__(
        self, reference: Rows, *, inflation: float, seed: int, calm: CalmMeans | None = None
    ) -> Callable[[Rows], Result]:
        """`inflation` is how many rows are worth an independent one; chance comes from `seed` alone.

        `calm` are the means over calm windows, of a method that has terms.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RowMethod:
    """A method that compares rows with all their features. `floor` is the least effect that counts.

    What the reference alone decides is done once, by `prepare`, and serves every window. `smallest` is the least effect
    that is significant: of the rows of reference and window, the inflation, and a level. A method that would not see
    `large` cannot judge. `terms` gives, from the reference's rows, what turns rows into terms, shape (n, t), whose
    means over calm windows the method is told; `axes` gives, of so many axes, those that a term is made of.
    """

    floor: float
    prepare: Preparation
    smallest: Callable[[int, int, float, float], float] | None = None
    large: float = math.inf
    terms: Callable[[Rows], Callable[[Rows], Rows]] | None = None
    axes: Callable[[int, int], Sequence[int]] | None = None
