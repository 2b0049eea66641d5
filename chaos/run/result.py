"""What a run has shown, as it is written beside its journal and in its report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from chaos import preconditions
from chaos.document import Journal
from chaos.run.verdict import Verdict, failure


class RanActivity(TypedDict):
    """An activity that ran: in which phase, whether it did what it should, and what it said."""

    phase: str
    type: str
    name: str | None
    good: bool
    seconds: float
    started_at: str | None
    said: Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run has shown, and where its evidence is. Times are RFC 3339 in UTC, durations seconds.

    `clean` is whether it was seen that nothing of it stays; `model` the one that is hit, where it is one.
    """

    platform: str
    owner: str
    experiment: str
    kind: str
    model: str | None
    verdict: Verdict
    reasons: tuple[str, ...]
    run: str
    started_at: str
    seconds: float
    hit: tuple[str, ...]
    candidates: tuple[str, ...]
    blast_radius: str
    expected_alert: str
    refused: bool
    stopped: str
    seconds_to_clean: float | None
    problems: tuple[str, ...]
    clean: bool
    guards: tuple[preconditions.Decision, ...]
    activities: tuple[RanActivity, ...]
    evidence: str
    evidence_head: dict[str, Any] | None
    folder: str

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"verdict": self.verdict.value, "exit": int(self.verdict.exit)}


def within(tolerance: Any, value: Any) -> bool:
    """Whether a value is within a tolerance, as Chaos Toolkit judges it."""
    from chaoslib.hypothesis import within_tolerance

    return bool(within_tolerance(tolerance, value))


def activities(journal: Journal | None) -> Iterator[RanActivity]:
    """Each activity in the order it ran: phase, name, status, seconds, what it said."""
    if journal is None:
        return
    states = journal.get("steady_states") or {}
    phases = {
        "before": (states.get("before") or {}).get("probes", ()),
        "method": journal.get("run") or (),
        "after": (states.get("after") or {}).get("probes", ()),
        "rollbacks": journal.get("rollbacks") or (),
    }
    for phase, ran in phases.items():
        for one in ran:
            tolerance = one["activity"].get("tolerance")
            is_good = not failure(one) and (tolerance is None or within(tolerance, one.get("output")))
            yield {
                "phase": phase,
                "type": one["activity"]["type"],
                "name": one["activity"].get("name"),
                "good": is_good,
                "seconds": round(float(one.get("duration") or 0.0), 2),
                "started_at": one.get("start"),
                "said": failure(one) or one.get("output"),
            }
