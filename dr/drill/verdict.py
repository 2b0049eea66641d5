"""The verdict of a drill, what it is judged from, and what is promised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from dr.drill.client import Row
from dr.drill.facts import Observed, Prediction, Read, Recorded, Write
from midwatch.drills import Check as Check  # noqa: PLC0414 - known under this module too, as the next four
from midwatch.drills import Findings as Findings  # noqa: PLC0414
from midwatch.drills import Phase as Phase  # noqa: PLC0414
from midwatch.drills import Verdict as Verdict  # noqa: PLC0414
from midwatch.drills import bound as bound  # noqa: PLC0414


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
