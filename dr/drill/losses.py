"""What became of the writes: kept, lost, unknown or never written, and how many seconds of data that is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

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
        if write.number in there:
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


def rpo(
    evidence: Evidence, lost: Sequence[Write], resolution: float | None, objectives: Objectives, findings: Findings
) -> tuple[float | None, bool]:
    """Seconds of data lost, and whether that is only a lower bound."""
    f0 = evidence.injection.begun
    if f0 is None:
        return None, False
    if not lost:
        return 0.0, False
    first, last = min(write.answered for write in lost), max(write.answered for write in lost)
    seconds = max(0.0, (f0 - first) / SECOND, (last - first) / SECOND)
    is_everything = first <= evidence.acknowledged[0].answered
    if seconds > objectives.rpo:
        findings.breaches.append(
            f"{len(lost)} acknowledged writes of {seconds:.3f} s are lost, objective {objectives.rpo:g} s"
        )
    elif is_everything:
        findings.doubts.append(
            f"every write before the fault is lost: more than {seconds:.3f} s, nobody knows how much more"
        )
    elif seconds + (resolution or 0.0) > objectives.rpo:
        findings.doubts.append(f"the data loss of {seconds:.3f} s is within its resolution of the objective")
    return seconds, is_everything
