"""Predictions that no group of an attribute counts, since they came without it: how many, and whether they matter.

A verdict is of the predictions that have a group. Nothing is assumed of the others: they may be treated as the rest is,
or be the very group that is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from midwatch import metrics
from midwatch.metrics import Metric
from midwatch.spec.fairness import BY_ERROR, BY_RANK, BY_SCORE, CROSS, Fairness
from monitors.fairness import small_cells
from monitors.fairness.fetch import Asked, Cell, Version, total_of
from monitors.fairness.projection import Floats

SAID = 0.01
"""Least share that a reason tells."""
MATTERS = 0.02
"""Least share of the predictions that a group has to be judged from (29 CFR 1607.15(A)(2)(a))."""


@dataclass(frozen=True, kw_only=True)
class Ungrouped:
    """How many of `total` predictions are in no group; `lacks` is what they may lack, `counter` what counts all.

    The total is None where predictions with a group were counted, and nothing tells how many there were in all.
    """

    number: float
    total: float | None
    lacks: tuple[str, ...]
    counter: str

    @property
    def share(self) -> float | None:
        """Share of the predictions that are in no group; None where that is not known, or of too few to be shown."""
        return self.number / self.total if self.total and not self._is_hidden else None

    @property
    def said(self) -> str:
        """How many there are, in words; empty where there are hardly any."""
        if self.total is None:
            return f"{self.counter} is not in Prometheus, so nobody knows how many predictions {self._have}"
        if self.number <= 0 or self.number < SAID * self.total:
            return ""
        many = "some" if self._is_hidden else f"{self.number / self.total:.1%}"
        return f"{many} of the predictions {self._have}"

    def doubt(self, min_events: int) -> str:
        """Why they leave open whether all groups are alike; empty where they are too few to be a group that matters."""
        if self.total is None:
            return self.said
        if not self.matters(min_events):
            return ""
        return f"within the limit among the others, but {self.said}: they may be a group that is apart"

    def matters(self, min_events: int) -> bool:
        """Whether they are known to be enough for a group that has to be judged."""
        return self.total is not None and self.number >= max(min_events, MATTERS * self.total)

    @property
    def _have(self) -> str:
        return " or ".join(f"have no {name}" if not place else f"no {name}" for place, name in enumerate(self.lacks))

    @property
    def _is_hidden(self) -> bool:
        return 0 < self.number < small_cells.LEAST


def count(promise: Fairness, attribute: str, version: Version, asked: Asked, first: int) -> Ungrouped:
    """The predictions of a version that have no group of an attribute as it is counted, from the block `first` on.

    Of a version whose predictions began to have the attribute later, what was before is not judged and not counted.
    """
    _, needed = _grouped(promise, asked)
    grouped, total = by_block(promise, attribute, version, asked, first)
    told = begun(grouped, total)
    with_group, number = float(grouped[told:].sum()), float(total[told:].sum())
    return Ungrouped(
        number=max(0.0, number - with_group),
        total=None if grouped.any() and not total.any() else number,
        lacks=(*needed, *attribute.split(CROSS)),
        counter=total_of(promise).name,
    )


def by_block(
    promise: Fairness, attribute: str, version: Version, asked: Asked, first: int = 0
) -> tuple[Floats, Floats]:
    """Predictions of a version that have a group of an attribute, and all, by block from the block `first` on."""
    counts, _ = _grouped(promise, asked)
    grouped = _sum(row for cell, row in counts.get(version, {}).items() if cell[0] == attribute)[first:]
    total = _sum(asked.totals.get(total_of(promise).name, {}).get(version, {}).values())[first:]
    return grouped, total


def _sum(rows: Iterable[Floats]) -> Floats:
    found: Floats = np.atleast_1d(sum(rows, np.zeros(())))
    return found


def begun(grouped: Floats, total: Floats) -> int:
    """First block that could have the attribute throughout: after the one it came in, where others were before."""
    came = int(np.argmax(grouped > 0)) if grouped.any() else 0
    return came + 1 if total[:came].any() else came


def _grouped(promise: Fairness, asked: Asked) -> tuple[Mapping[Version, Mapping[Cell, Floats]], tuple[str, ...]]:
    """Counts by group that each prediction of the promise is in once, and what it needs for that beside the group."""

    def sums(metric: Metric) -> Mapping[Version, Mapping[Cell, Floats]]:
        return asked.sums.get(metric.name, {})

    if promise.measure in BY_RANK:
        return sums(metrics.GROUP_RANKED), ("rank",)
    if promise.measure in BY_ERROR:
        return asked.predicted, ("number",)
    if promise.measure in BY_SCORE:
        return sums(metrics.SETTLED_GROUP_SCORED), ("score",)
    return asked.predicted if promise.measure == "demographic_parity" else asked.settled, ()
