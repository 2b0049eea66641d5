"""An explanation of one answer: attributions that add up, and how far they may be off. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]
"""Rows by columns: of floats, or of objects where a column has text."""

EXACT_TOLERANCE = 1e-4
"""Greatest additivity error of sums that are right: XGBoost adds up 32-bit floats, whose sum of some thousand terms is
off by about 1e-5. Sums of 64-bit floats are off by less than 1e-12."""


class Stopped(StrEnum):
    """Why an explanation has the standard error that it has."""

    EXACT = "exact"
    """It was computed, not sampled."""
    PRECISE = "precise"
    """Every standard error was small enough."""
    BUDGET = "budget"
    """The time was spent before."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Attributions of one answer, in the unit of `prediction`: the base and their sum are the answer.

    `base` is the answer that is expected without knowing the row. `standard_errors` are those of the attributions, None
    where these are exact. `samples` are the pairs of permutations, `rows_asked` the rows that the model was asked for.
    """

    attributions: Floats
    base: float
    prediction: float
    stopped: Stopped = Stopped.EXACT
    standard_errors: Floats | None = None
    samples: int = 0
    rows_asked: int = 0

    @property
    def residual(self) -> float:
        """What is missing of the answer, in its unit: 0 of sums that are right."""
        return self.prediction - self.base - float(self.attributions.sum())

    @property
    def additivity_error(self) -> float:
        """The residual's size by 1 + the attributions' sizes, so that one limit fits every unit."""
        return abs(self.residual) / (1.0 + float(np.abs(self.attributions).sum()))

    @property
    def size(self) -> int:
        """Bytes that its numbers take in memory."""
        errors = 0 if self.standard_errors is None else self.standard_errors.nbytes
        return self.attributions.nbytes + errors
