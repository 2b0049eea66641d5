"""What is asked of the judge: which versions are compared, and over what time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which versions of which model are compared, since when (None: the canary's first traffic) and until when."""

    model: str
    baseline: str
    canary: str
    start: float | None = None
    end: float | None = None
