"""One figure: what was wanted and what was measured. And tables, where results are compared and none is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value beside its target; `better` is `more` or `less`, `peer` what others took in the same run."""

    name: str
    target: float
    measured: float
    unit: str
    better: str
    peer: str = ""

    @property
    def met(self) -> bool:
        """Whether the measured value is at least as good as the target."""
        return self.measured >= self.target if self.better == "more" else self.measured <= self.target


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table: a title, the names of its columns, and its rows as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
