"""One figure: what was wanted and what was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value beside its target; `better` is `more` or `less`."""

    name: str
    target: float
    measured: float
    unit: str
    better: str

    @property
    def met(self) -> bool:
        """Whether the measured value is at least as good as the target."""
        return self.measured >= self.target if self.better == "more" else self.measured <= self.target
