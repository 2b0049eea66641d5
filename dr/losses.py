"""What became of the writes: kept, lost, unknown or never written, and how many seconds of data that is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from dr import targets
from dr.ledger import Fact
from dr.verdict import SECOND, Evidence, Findings, Objectives


def account(evidence: Evidence, attempts: Sequence[Fact], found: Findings) -> tuple[dict[str, int], list[Fact]]:
    """Counts of writes by what became of them, and the lost ones in the order of acknowledgement."""
    by_number = {fact["n"]: fact for fact in attempts}
    counts = {
        "attempted": len(attempts),
        "acknowledged": sum(fact["r"] == "ok" for fact in attempts),
        "failed": sum(fact["r"] == "fail" for fact in attempts),
        "unknown": sum(fact["r"] == "unknown" for fact in attempts),
    }
    if evidence.rows is None:
        found.doubts.append("the writes were not read back")
        return counts, []
    seen = {row.seq for row in evidence.rows}
    lost = [fact for fact in attempts if fact["r"] == "ok" and fact["n"] not in seen]
    corrupt = [row.seq for row in evidence.rows if row.checksum != targets.checksum(evidence.run, row.seq)]
    twice = [row.seq for row in evidence.rows if row.count > 1]
    foreign = [row.seq for row in evidence.rows if row.seq not in by_number]
    resurrected = [seq for seq in seen if seq in by_number and by_number[seq]["r"] == "fail"]
    holes = list(_holes(evidence, attempts, seen))
    counts |= {
        "kept": counts["acknowledged"] - len(lost),
        "lost": len(lost),
        "unknown_kept": sum(fact["r"] == "unknown" and fact["n"] in seen for fact in attempts),
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
            found.breaches.append(f"{len(numbers)} {what}, the first is number {numbers[0]}")
    return counts, lost


def _holes(evidence: Evidence, attempts: Sequence[Fact], seen: set[int]) -> Iterator[int]:
    """Numbers lost before a later one of the same server was kept: no recovery to any point gives that."""
    newest: dict[tuple[Any, int], int] = {}
    begun = evidence.injection.begun or 0
    ends = [event["t"] for event in evidence.events if event["k"] in ("fenced", "recovered")]
    for fact in attempts:
        if fact["r"] == "ok" and fact["n"] in seen:
            newest[_history(fact, ends)] = fact["n"]
    for fact in attempts:
        if fact["r"] == "ok" and fact["n"] not in seen and fact["n"] < newest.get(_history(fact, ends), -1):
            yield fact["n"]
        elif fact["r"] == "ok" and fact["n"] not in seen and fact["t0"] > begun and bisect_left(ends, fact["t0"]):
            yield fact["n"]  # acknowledged after the recovery, and gone


def _history(fact: Fact, ends: Sequence[int]) -> tuple[Any, int]:
    """Which server acknowledged it, before or after a fence: no server acknowledges on both sides of its own."""
    return fact.get("s"), bisect_left(ends, fact["t0"])


def rpo(
    acks: Sequence[Fact],
    lost: Sequence[Fact],
    f0: int | None,
    resolution: float | None,
    objectives: Objectives,
    found: Findings,
) -> tuple[float | None, bool]:
    """Seconds of data lost, and whether that is only a lower bound."""
    if f0 is None:
        return None, False
    if not lost:
        return 0.0, False
    times = [fact["t1"] for fact in lost]
    seconds = max(0.0, (f0 - min(times)) / SECOND, (max(times) - min(times)) / SECOND)
    everything = min(times) <= acks[0]["t1"]
    if seconds > objectives.rpo:
        found.breaches.append(
            f"{len(lost)} acknowledged writes of {seconds:.3f} s are lost, objective {objectives.rpo:g} s"
        )
    elif everything:
        found.doubts.append(
            f"every write before the fault is lost: more than {seconds:.3f} s, nobody knows how much more"
        )
    elif seconds + (resolution or 0.0) > objectives.rpo:
        found.doubts.append(f"the data loss of {seconds:.3f} s is within its resolution of the objective")
    return seconds, everything
