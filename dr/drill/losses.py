"""What became of the writes: kept, lost, unknown or never written, and how many seconds of data that is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dr.drill import client
from dr.drill.facts import SECOND, Fenced, Outcome, Recovered, Write
from dr.drill.verdict import Evidence, Findings, Objectives


def account(evidence: Evidence, findings: Findings) -> tuple[dict[str, int], list[Write]]:
    """Counts of writes by what became of them, and the lost ones in the order of acknowledgement."""
    writes = evidence.writes
    counts = {
        "attempted": len(writes),
        "acknowledged": len(evidence.acknowledged),
        "failed": sum(write.outcome is Outcome.FAILED for write in writes),
        "unknown": sum(write.outcome is Outcome.UNKNOWN for write in writes),
    }
    if evidence.rows is None:
        findings.doubts.append("the writes were not read back")
        return counts, []
    there = {row.seq for row in evidence.rows}
    outcomes = {write.number: write.outcome for write in writes}
    lost = [write for write in evidence.acknowledged if write.number not in there]
    corrupt = [row.seq for row in evidence.rows if row.checksum != client.checksum(evidence.run, row.seq)]
    twice = [row.seq for row in evidence.rows if row.count > 1]
    foreign = [row.seq for row in evidence.rows if row.seq not in outcomes]
    resurrected = [number for number in there if outcomes.get(number) is Outcome.FAILED]
    holes = list(_holes(evidence, there))
    counts |= {
        "kept": counts["acknowledged"] - len(lost),
        "lost": len(lost),
        "lost_during_fault": len(during_fault(evidence, lost)),
        "unknown_kept": sum(write.outcome is Outcome.UNKNOWN and write.number in there for write in writes),
        "corrupt": len(corrupt),
        "duplicate": len(twice),
        "foreign": len(foreign),
        "resurrected": len(resurrected),
        "holes": len(holes),
    }
    for numbers, what in (
        (corrupt, "rows are not what was written"),
        (twice, "rows are there more than once"),
        (foreign, "rows were written by nobody"),
        (resurrected, "writes that failed for certain are there"),
        (holes, "acknowledged writes are missing although later ones of the same server are there"),
    ):
        if numbers:
            findings.breaches.append(f"{len(numbers)} {what}, the first is number {numbers[0]}")
    return counts, lost


def _holes(evidence: Evidence, there: set[int]) -> Iterator[int]:
    """Numbers lost before a later one of the same server was kept: no recovery to any point gives that."""
    newest: dict[tuple[str | None, int], int] = {}
    begun = evidence.injection.begun or 0
    ends = [event.at for event in evidence.events if isinstance(event, Fenced | Recovered)]
    for write in evidence.acknowledged:
        if write.number in there and not _was_under_way(write, ends):
            newest[_history(write, ends)] = write.number
    for write in evidence.acknowledged:
        if write.number in there:
            continue
        is_after_recovery = write.sent > begun and bisect_left(ends, write.sent) > 0
        if write.number < newest.get(_history(write, ends), -1) or is_after_recovery:
            yield write.number


def _history(write: Write, ends: Sequence[int]) -> tuple[str | None, int]:
    """Which server acknowledged it, before or after a fence: no server acknowledges on both sides of its own."""
    return write.server, bisect_left(ends, write.sent)


def _was_under_way(write: Write, ends: Sequence[int]) -> bool:
    """Whether a fence or a recovery fell between question and answer: the one before it or the one after answered."""
    return bisect_left(ends, write.sent) != bisect_left(ends, write.answered)


def during_fault(evidence: Evidence, lost: Sequence[Write]) -> list[Write]:
    """Lost writes that were acknowledged between the first action of the fault and its effect."""
    begun, effective = evidence.injection.begun, evidence.injection.effective
    if begun is None or effective is None:
        return []
    return [write for write in lost if write.answered >= begun and write.sent <= effective]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Seconds of data lost, None when nobody knows; `is_bound`: it may be more. `at_most` is set where it may be less.

    Nobody knows at which moment of the fault the store was lost. Where writes are lost that were acknowledged while it
    took effect, the time before the fault says too little, and the time up to the effect is the bound.
    """

    seconds: float | None
    is_bound: bool = False
    at_most: float | None = None


def _at_most(evidence: Evidence, lost: Sequence[Write], findings: Findings) -> float | None:
    during, effective = during_fault(evidence, lost), evidence.injection.effective
    if not during or effective is None:
        return None
    end = max(effective, *(write.answered for write in lost))
    seconds = (end - min(write.answered for write in lost)) / SECOND
    which = "1 lost write was" if len(during) == 1 else f"{len(during)} lost writes were"
    taken = (effective - (evidence.injection.begun or 0)) / SECOND
    findings.notes.append(
        f"{which} acknowledged while the fault was taking effect, which took {taken:.3f} s: the data loss is at most "
        f"{seconds:.3f} s"
    )
    return seconds


def rpo(
    evidence: Evidence, lost: Sequence[Write], resolution: float | None, objectives: Objectives, findings: Findings
) -> Loss:
    """How much data is lost, and what of that is against the objective."""
    f0 = evidence.injection.begun
    if f0 is None:
        return Loss(seconds=None)
    if not lost:
        return Loss(seconds=0.0)
    first, last = min(write.answered for write in lost), max(write.answered for write in lost)
    seconds = max(0.0, (f0 - first) / SECOND, (last - first) / SECOND)
    at_most = _at_most(evidence, lost, findings)
    is_everything = first <= evidence.acknowledged[0].answered
    if seconds > objectives.rpo:
        findings.breaches.append(
            f"{len(lost)} acknowledged writes of {seconds:.3f} s are lost, objective {objectives.rpo:g} s"
        )
    elif is_everything:
        findings.doubts.append(
            f"every write before the fault is lost: more than {seconds:.3f} s, nobody knows how much more"
        )
    elif max(seconds, at_most or 0.0) + (resolution or 0.0) > objectives.rpo:
        findings.doubts.append(f"the data loss of {seconds:.3f} s is within its resolution of the objective")
    return Loss(seconds=seconds, is_bound=is_everything, at_most=at_most)
