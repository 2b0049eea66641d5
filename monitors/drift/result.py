"""What a method says of one feature."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_P = 1e-300
"""A p-value is never exactly 0: no finite sample excludes chance, and logarithms of it are taken."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Statistic, p-value in (0, 1], effect size (0 is none), and the sizes of reference and window."""

    statistic: float
    p_value: float
    effect: float
    reference_size: int
    window_size: int


def clipped(p_value: float) -> float:
    """P-value within (0, 1]."""
    return min(1.0, max(SMALLEST_P, p_value))
