"""When it was recovered: the recovery time with its resolution, and the phases, from the ledger and the events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from dr.ledger import Fact
from dr.verdict import SECOND, Evidence, Findings, Injection, Objectives, Phase

SUSTAINED_WRITES = 200
SUSTAINED_SECONDS = 30.0
"""A recovery counts when it holds for so many acknowledgements in a row, or for so long; whichever comes first."""


def recovery(evidence: Evidence, attempts: Sequence[Fact], f0: int, objectives: Objectives) -> int | None:
    """r in nanoseconds: the first acknowledgement of a sustained healthy run of writes sent after the fault."""
    begun: Fact | None = None
    count = 0
    earliest = _earliest(evidence, f0)
    for fact in attempts:
        if fact["t0"] < earliest:
            continue
        if (
            evidence.injection.fails_over
            and fact.get("s") == evidence.injection.old
            and not moved(evidence, fact["t0"])
        ):
            begun = None
            continue
        if fact["r"] != "ok" or (fact["t1"] - fact["t0"]) / SECOND > objectives.write_seconds:
            begun = None
            continue
        if begun is None:
            begun, count = fact, 0
        count += 1
        if count >= SUSTAINED_WRITES or (fact["t1"] - begun["t1"]) / SECOND >= SUSTAINED_SECONDS:
            return int(begun["t1"])
    return None


def _earliest(evidence: Evidence, f0: int) -> int:
    """Before this a write does not count for the recovery: the fault was not there yet, or the content was spoiled."""
    if evidence.injection.silences:
        return max(f0, evidence.injection.effective or f0)
    return max([f0, *(int(fact["t1"]) for fact in spoiled(evidence))])


def spoiled(evidence: Evidence) -> list[Fact]:
    """Reads after the fault that saw another content than the last one before it."""
    begun = evidence.injection.begun or 0
    reads = [fact for fact in evidence.facts if fact["k"] == "r" and "c" in fact]
    before = [fact["c"] for fact in reads if fact["t1"] < begun]
    return [fact for fact in reads if fact["t0"] >= begun and fact["c"] != before[-1]] if before else []


def recovery_of(
    facts: Sequence[Fact], injection: Injection, events: Sequence[Fact], objectives: Objectives
) -> int | None:
    """r so far, for whoever waits for it; None while there is none."""
    if injection.begun is None:
        return None
    evidence = Evidence(run="", facts=facts, injection=injection, events=events)
    return recovery(evidence, [fact for fact in facts if fact["k"] == "w"], injection.begun, objectives)


def rto(
    evidence: Evidence, f0: int | None, recovered: int | None, objectives: Objectives, found: Findings
) -> tuple[float | None, bool]:
    """Seconds until the recovery, and whether it took longer than that, since it was not seen; None without a fault."""
    if f0 is None:
        return None, False
    if recovered is not None:
        seconds = (recovered - f0) / SECOND
        if seconds > objectives.rto:
            found.breaches.append(f"RTO {seconds:.3f} s, objective {objectives.rto:g} s")
        return seconds, False
    last = max((fact["t1"] for fact in evidence.facts if fact["k"] == "w"), default=f0)
    waited = (last - f0) / SECOND
    if waited > objectives.rto:
        found.breaches.append(f"not recovered within {waited:.1f} s, objective {objectives.rto:g} s")
    else:
        found.doubts.append(
            f"not recovered within the {waited:.1f} s that were watched; the objective allows {objectives.rto:g} s"
        )
    return waited, True


def resolution(acks: Sequence[Fact], f0: int | None, recovered: int | None) -> float | None:
    """Largest gap, in seconds, between acknowledgements while the store was up."""
    gaps = []
    for earlier, later in itertools.pairwise(acks):
        spans_outage = f0 is not None and earlier["t1"] <= (recovered or later["t1"]) and later["t1"] >= f0
        if not spans_outage:
            gaps.append(later["t1"] - earlier["t1"])
    if f0 is not None and (before := [fact["t1"] for fact in acks if fact["t1"] <= f0]):
        gaps.append(f0 - before[-1])
    return max(gaps) / SECOND if gaps else None


def moved(evidence: Evidence, at: int) -> bool:
    """Whether the recoverer had sent clients anywhere by then."""
    return any(event["k"] == "rerouted" and event["t"] <= at for event in evidence.events)


# Service -------------------------------------------------------------------------------------------------------------

_GUARD_PHASES = (
    ("detect", "failed"),
    ("decide", "decided"),
    ("fence", "fenced"),
    ("restore", "recovered"),
    ("reroute", "rerouted"),
)
LAST = ("first acknowledgement", "full service", "redundancy restored")


def phases(evidence: Evidence, f0: int | None, recovered: int | None, objectives: Objectives) -> tuple[Phase, ...]:
    """Phases in their order; one that was not reached has no time."""
    times: list[tuple[str, int | None]] = []
    for name, kind in _GUARD_PHASES:
        at = [event["t"] for event in evidence.events if event["k"] == kind and f0 is not None and event["t"] >= f0]
        times.append((name, at[-1] if at and kind != "failed" else at[0] if at else None))
    times.append((LAST[0], recovered))
    times.append((LAST[1], None if recovered is None else _full_service(evidence, recovered, objectives)))
    redundant = [
        event["t"] for event in evidence.events if event["k"] == "redundant" and f0 is not None and event["t"] >= f0
    ]
    times.append((LAST[2], redundant[0] if redundant else None))
    reached = sorted(at for _, at in times if at is not None)
    return tuple(_phase(name, at, f0, reached) for name, at in times)


def _phase(name: str, at: int | None, f0: int | None, reached: Sequence[int]) -> Phase:
    """A phase lasts since the last one that was reached before it."""
    if at is None or f0 is None:
        return Phase(name=name, at=None, seconds=None)
    before = max((other for other in reached if other < at), default=f0)
    return Phase(name=name, at=(at - f0) / SECOND, seconds=(at - before) / SECOND)


def _full_service(evidence: Evidence, recovered: int, objectives: Objectives) -> int | None:
    """When reads on new connections see the newest write again, and the model answers as it did; None when never."""
    reads = _last_bad(
        [fact for fact in evidence.facts if fact["k"] == "r"], recovered, lambda fact: _reads(fact, objectives)
    )
    if reads is None or not evidence.has_model:
        return reads
    asked = [fact for fact in evidence.facts if fact["k"] == "m"]
    begun = evidence.injection.begun or 0
    versions = {fact["v"] for fact in asked if fact["r"] == "ok" and fact["t1"] < begun}
    if not versions:
        return None
    good = _last_bad(asked, recovered, lambda fact: fact["r"] == "ok" and fact["v"] in versions)
    if good is None:
        return None
    times = sorted(fact["t1"] - fact["t0"] for fact in asked if fact["t0"] >= good)
    slow = times[int(0.99 * (len(times) - 1))] / SECOND if times else float("inf")
    return max(reads, good) if slow <= objectives.model_p99 else None


def _reads(fact: Fact, objectives: Objectives) -> bool:
    return fact["r"] == "ok" and fact.get("age") is not None and fact["age"] <= objectives.freshness


def _last_bad(facts: Sequence[Fact], recovered: int, good: Any) -> int | None:
    """End of the first good one after the last bad one, from the recovery on; None when the last one was bad."""
    since = None
    for fact in facts:
        if fact["t0"] < recovered:
            continue
        if not good(fact):
            since = None
        elif since is None:
            since = fact["t1"]
    return since
