"""The verdict of a drill, what it is judged from, and what is promised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from dr.drill.client import Row
from dr.drill.facts import Observed, Prediction, Read, Recorded, Write

CONFIDENCE_FACTOR = 3.0
"""n drills without a breach bound its probability by 3/n at 95% (Hanley and Lippman-Hand 1983, the rule of three)."""


class Verdict(StrEnum):
    """What a drill ends in."""

    MET = "MET"
    BREACHED = "BREACHED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Seconds promised; `limit` is how long the drill waited for a recovery."""

    rto: float
    rpo: float
    limit: float
    write_seconds: float = 1.0
    """An acknowledgement slower than this is not healthy."""
    freshness: float = 5.0
    """Seconds that the newest row a reader sees may be old."""
    model_p99: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Injection:
    """The fault as the experiment saw it; times are nanoseconds, None when it never came so far.

    `silences` says that writes must stop with it, `spoils` that the content is wrong while they go on, `old` is the
    port of the server it hits, and `fails_over` whether another server must have taken its place. `clients_follow`:
    they find that server by themselves, as soon as it takes writes. `problems` is what went wrong with the experiment.
    """

    begun: int | None = None
    effective: int | None = None
    silences: bool = True
    spoils: bool = False
    old: str = ""
    fails_over: bool = True
    clients_follow: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must be true after the recovery; `holds` is None when nobody could tell."""

    name: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is judged: what was seen, the fault, what the recoverer did, what was read back and checked."""

    run: str
    facts: Sequence[Observed]
    injection: Injection
    events: Sequence[Recorded] = ()
    rows: Sequence[Row] | None = None
    checks: Sequence[Check] = ()
    needs_recoverer: bool = True
    has_model: bool = False

    @cached_property
    def writes(self) -> list[Write]:
        """Every attempt to write."""
        return [fact for fact in self.facts if isinstance(fact, Write)]

    @cached_property
    def acknowledged(self) -> list[Write]:
        """Writes that the store has promised to keep."""
        return [write for write in self.writes if write.is_acknowledged]

    @cached_property
    def reads(self) -> list[Read]:
        """Every read."""
        return [fact for fact in self.facts if isinstance(fact, Read)]

    @cached_property
    def predictions(self) -> list[Prediction]:
        """Every request to the model."""
        return [fact for fact in self.facts if isinstance(fact, Prediction)]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A step of the recovery: when it was reached, and how long it took since the one before; seconds after f0."""

    name: str
    at: float | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The drill's result. `rto_exceeds` says that recovery was not seen: the RTO is more than `rto_seconds`.

    `rpo_at_most_seconds` bounds the data loss where writes are lost that were acknowledged while the fault took effect.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    rto_seconds: float | None
    rto_exceeds: bool
    rpo_seconds: float | None
    rpo_is_bound: bool
    resolution_seconds: float | None
    phases: tuple[Phase, ...]
    writes: dict[str, int]
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    rpo_at_most_seconds: float | None = None


def document(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(result)))
    return found


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
