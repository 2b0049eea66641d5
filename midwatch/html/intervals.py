"""Intervals beside each other as data: an estimate of each name with both ends, on one scale, and what is promised.

Each is drawn in its own row of a table, so that its name and its numbers stand beside the picture and need no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from midwatch.html import numbers
from midwatch.html.charts import WIDTH, Rule

LEAST_WIDTH = 6.0
"""Width of the drawing, in its own units, that a point takes."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A name's estimate and interval; `kind` names its colour. An end that is not finite reaches to the picture's."""

    name: str
    low: float
    estimate: float
    high: float
    kind: str = "now"

    @property
    def known(self) -> list[float]:
        """Its numbers that are finite."""
        return [value for value in (self.low, self.estimate, self.high) if math.isfinite(value)]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A box of a drawing: its class, where it begins and how wide it is."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Intervals on one scale; `of` heads the column of their names, `unit` is theirs, as `numbers.number` knows it."""

    title: str
    rows: Sequence[Interval]
    of: str
    unit: str = "ratio"
    rules: Sequence[Rule] = ()
    note: str = ""
    queries: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(row.known for row in self.rows)

    @property
    def limits(self) -> tuple[float, float]:
        """Both ends of the scale: it holds every number that is finite."""
        told = [value for row in self.rows for value in row.known] + [rule.at for rule in self.rules]
        low, high = min(told, default=0.0), max(told, default=1.0)
        room = (high - low) * 0.03 or 0.5 * abs(high) or 0.5
        return low - room, high + room

    def place_of(self, value: float) -> float:
        """Where a number stands in the drawing, from its left."""
        low, high = self.limits
        if not math.isfinite(value):
            return WIDTH if value > 0 else 0.0
        return round((value - low) / (high - low) * WIDTH, 1)

    def marks(self, row: Interval) -> list[Mark]:
        """The boxes of a row: how far its interval reaches, the estimate, what is promised."""
        begin, end = self.place_of(row.low), self.place_of(row.high)
        reach = Mark(kind=f"{row.kind} reach", x=begin, width=round(max(LEAST_WIDTH, end - begin), 1))
        return [
            reach,
            *([self._point(row.kind, row.estimate)] if math.isfinite(row.estimate) else []),
            *(self._point(rule.kind, rule.at) for rule in self.rules),
        ]

    def _point(self, kind: str, at: float) -> Mark:
        return Mark(kind=kind, x=round(self.place_of(at) - LEAST_WIDTH / 2, 1), width=LEAST_WIDTH)

    def words(self, row: Interval) -> str:
        """A row in one sentence, for who does not see it."""
        told = ", ".join(f"{rule.name} {self.number(rule.at)}" for rule in self.rules)
        said = f"{row.name}: {self.number(row.estimate)}, {self.number(row.low)} to {self.number(row.high)}"
        return f"{said}; {told}" if told else said

    def number(self, value: float) -> str:
        """A number by the unit."""
        return numbers.number(value, self.unit)

    @property
    def scale(self) -> str:
        """The scale, in words."""
        low, high = self.limits
        return f"from {self.number(low)} to {self.number(high)}"
