"""When it was recovered: the recovery time with its resolution, and the phases, from what was seen and done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

from dr.drill import facts
from dr.drill.facts import SECOND, Event, Outcome, Read, Request, Rerouted, Write
from dr.drill.verdict import Evidence, Findings, Objectives, Phase

R = TypeVar("R", bound=Request)

SUSTAINED_WRITES = 200
SUSTAINED_SECONDS = 30.0
"""A recovery counts when it holds for so many acknowledgements in a row, or for so long; whichever comes first."""


def recovery(evidence: Evidence, objectives: Objectives) -> int | None:
    """r in nanoseconds: the first acknowledgement of a sustained healthy run of writes sent after the fault."""
    earliest = _earliest(evidence)
    if earliest is None:
        return None
    first: Write | None = None
    count = 0
    for write in evidence.writes:
        if write.sent < earliest:
            continue
        if not _is_healthy(write, evidence, objectives):
            first = None
            continue
        if first is None:
            first, count = write, 0
        count += 1
        if count >= SUSTAINED_WRITES or (write.answered - first.answered) / SECOND >= SUSTAINED_SECONDS:
            return first.answered
    return None


def _is_healthy(write: Write, evidence: Evidence, objectives: Objectives) -> bool:
    """Acknowledged in time, and by another server than the one that was hit where that must have been replaced."""
    injection = evidence.injection
    is_old = injection.fails_over and write.server == injection.old and not moved(evidence, write.sent)
    return write.is_acknowledged and not is_old and write.seconds <= objectives.write_seconds


def _earliest(evidence: Evidence) -> int | None:
    """Before this a write does not count for the recovery: the fault was not there yet, or the content was spoiled."""
    f0 = evidence.injection.begun
    if f0 is None:
        return None
    if evidence.injection.silences:
        return max(f0, evidence.injection.effective or f0)
    return max([f0, *(read.answered for read in spoiled(evidence))])


def spoiled(evidence: Evidence) -> list[Read]:
    """Reads after the fault that saw another content than the last one before it."""
    begun = evidence.injection.begun or 0
    reads = [read for read in evidence.reads if read.content is not None]
    before = [read.content for read in reads if read.answered < begun]
    return [read for read in reads if read.sent >= begun and read.content != before[-1]] if before else []


def rto(
    evidence: Evidence, recovered: int | None, objectives: Objectives, findings: Findings
) -> tuple[float | None, bool]:
    """Seconds until the recovery, and whether it took longer than that, since it was not seen; None without a fault."""
    f0 = evidence.injection.begun
    if f0 is None:
        return None, False
    if recovered is not None:
        seconds = (recovered - f0) / SECOND
        if seconds > objectives.rto:
            findings.breaches.append(f"RTO {seconds:.3f} s, objective {objectives.rto:g} s")
        return seconds, False
    waited = (max((write.answered for write in evidence.writes), default=f0) - f0) / SECOND
    if waited > objectives.rto:
        findings.breaches.append(f"not recovered within {waited:.1f} s, objective {objectives.rto:g} s")
    else:
        findings.doubts.append(
            f"not recovered within the {waited:.1f} s that were watched; the objective allows {objectives.rto:g} s"
        )
    return waited, True


def resolution(evidence: Evidence, recovered: int | None) -> float | None:
    """Largest gap, in seconds, between acknowledgements while the store was up."""
    f0, acknowledged = evidence.injection.begun, evidence.acknowledged
    gaps = []
    for earlier, later in itertools.pairwise(acknowledged):
        spans_outage = f0 is not None and earlier.answered <= (recovered or later.answered) and later.answered >= f0
        if not spans_outage:
            gaps.append(later.answered - earlier.answered)
    if f0 is not None and (before := [write.answered for write in acknowledged if write.answered <= f0]):
        gaps.append(f0 - before[-1])
    return max(gaps) / SECOND if gaps else None


def moved(evidence: Evidence, at: int) -> bool:
    """Whether the recoverer had sent clients anywhere by then."""
    return any(event.at <= at for event in evidence.events if isinstance(event, Rerouted))


# Service -------------------------------------------------------------------------------------------------------------

DETECT = "detect"
STEPS: tuple[tuple[str, type[Event]], ...] = (
    ("decide", facts.Decided),
    ("fence", facts.Fenced),
    ("restore", facts.Recovered),
    ("reroute", facts.Rerouted),
)
"""Phases that the recoverer says by itself. One that had to be tried again counts from its last time."""
FIRST_ACKNOWLEDGEMENT, FULL_SERVICE, REDUNDANCY = "first acknowledgement", "full service", "redundancy restored"


def phases(evidence: Evidence, recovered: int | None, objectives: Objectives) -> tuple[Phase, ...]:
    """Phases in their order; one that was not reached has no time."""
    times: list[tuple[str, int | None]] = [(DETECT, _first(evidence, facts.CheckFailed))]
    times += [(name, _last(evidence, kind)) for name, kind in STEPS]
    times.append((FIRST_ACKNOWLEDGEMENT, recovered))
    times.append((FULL_SERVICE, None if recovered is None else _full_service(evidence, recovered, objectives)))
    times.append((REDUNDANCY, _first(evidence, facts.Redundant)))
    reached = sorted(at for _, at in times if at is not None)
    return tuple(_phase(name, at, evidence.injection.begun, reached) for name, at in times)


def _first(evidence: Evidence, kind: type[Event]) -> int | None:
    return next(iter(_since_the_fault(evidence, kind)), None)


def _last(evidence: Evidence, kind: type[Event]) -> int | None:
    return next(reversed(_since_the_fault(evidence, kind)), None)


def _since_the_fault(evidence: Evidence, kind: type[Event]) -> list[int]:
    f0 = evidence.injection.begun
    return [event.at for event in evidence.events if isinstance(event, kind) and f0 is not None and event.at >= f0]


def _phase(name: str, at: int | None, f0: int | None, reached: Sequence[int]) -> Phase:
    """A phase lasts since the last one that was reached before it."""
    if at is None or f0 is None:
        return Phase(name=name, at=None, seconds=None)
    before = max((other for other in reached if other < at), default=f0)
    return Phase(name=name, at=(at - f0) / SECOND, seconds=(at - before) / SECOND)


def _full_service(evidence: Evidence, recovered: int, objectives: Objectives) -> int | None:
    """When reads on new connections see the newest write again, and the model answers as it did; None when never."""
    reads = _good_since(evidence.reads, recovered, lambda read: _is_fresh(read, objectives))
    if reads is None or not evidence.has_model:
        return reads
    begun = evidence.injection.begun or 0
    before = [one for one in evidence.predictions if one.answered < begun]
    versions = {one.version for one in before if one.outcome is Outcome.OK}
    good = _good_since(
        evidence.predictions, recovered, lambda one: one.outcome is Outcome.OK and one.version in versions
    )
    if not versions or good is None:
        return None
    seconds = sorted(one.seconds for one in evidence.predictions if one.sent >= good)
    p99 = seconds[int(0.99 * (len(seconds) - 1))] if seconds else float("inf")
    return max(reads, good) if p99 <= objectives.model_p99 else None


def _is_fresh(read: Read, objectives: Objectives) -> bool:
    return read.outcome is Outcome.OK and read.age is not None and read.age <= objectives.freshness


def _good_since(requests: Sequence[R], recovered: int, is_good: Callable[[R], bool]) -> int | None:
    """End of the first good one after the last bad one, from the recovery on; None when the last one was bad."""
    since = None
    for request in requests:
        if request.sent < recovered:
            continue
        if not is_good(request):
            since = None
        elif since is None:
            since = request.answered
    return since
