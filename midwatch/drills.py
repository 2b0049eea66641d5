"""What drills of every sort end in: a verdict with its reasons, what was checked, and how long each phase took."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

CONFIDENCE_FACTOR = 3.0
"""n drills without a breach bound its probability by 3/n at 95% (Hanley and Lippman-Hand 1983, the rule of three)."""


class Verdict(StrEnum):
    """What a drill ends in."""

    MET = "MET"
    BREACHED = "BREACHED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must be true after the recovery; `holds` is None when nobody could tell."""

    name: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A step of the recovery: when it was reached, and how long it took since the one before; seconds after f0."""

    name: str
    at: float | None
    seconds: float | None


@dataclass
class Findings:
    """Reasons, by what they make of the verdict."""

    unsound: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def verdict(self) -> Verdict:
        """A proven breach outweighs a doubt; what an unsound observer says proves nothing."""
        if self.unsound:
            return Verdict.INCONCLUSIVE
        return Verdict.BREACHED if self.breaches else Verdict.INCONCLUSIVE if self.doubts else Verdict.MET

    def reasons(self) -> tuple[str, ...]:
        """All of them, what decides first."""
        return tuple(self.unsound + self.breaches + self.doubts)


def bound(clean_drills: int) -> float:
    """Upper bound, at 95%, of the probability that a drill breaches, after so many without a breach."""
    return 1.0 if clean_drills <= 0 else min(1.0, CONFIDENCE_FACTOR / clean_drills)
