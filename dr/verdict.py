"""What a drill has shown: MET, BREACHED or INCONCLUSIVE, from the observer's ledger, the fault's times, the recoverer's
events and what was read afterwards. Pure: it can be run again on the evidence, years later, and says the same.

Definitions. f0 is just before the first action of the fault, f1 when it was verified effective. r is the first write
acknowledged, through the clients' own endpoint, that was sent after f0 and starts a sustained healthy run; RTO is
r - f0, detection included. A write is lost when it was acknowledged and is not read afterwards; the data-loss time is
f0 minus the earliest lost acknowledgement, or the span of the lost acknowledgements where that is longer (a restore to
a point before the fault gives up what was written after it, too). The resolution is the largest gap between
acknowledgements while the store was up: less than that cannot be told. Whatever is not known is not met.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dr import targets
from dr.ledger import Fact
from dr.targets import Row

SECOND = 1e9

SUSTAINED_WRITES = 200
SUSTAINED_SECONDS = 30.0
"""A recovery counts when it holds for so many acknowledgements in a row, or for so long; whichever comes first."""

MIN_RATE = 10.0
"""Writes a second below which the times mean little."""
MIN_WRITES = 20
"""Acknowledged before the fault, so that there is something to lose."""
STALL_SECONDS = 1.0
"""Between the end of one attempt and the begin of the next: the observer itself stood still, and saw nothing."""
CLOCK_STEP_SECONDS = 1.0

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
    port of the server it hits, and `fails_over` whether another server must have taken its place. `problems` is what
    went wrong with the experiment.
    """

    begun: int | None = None
    effective: int | None = None
    silences: bool = True
    spoils: bool = False
    old: str = ""
    fails_over: bool = True
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that must be true after the recovery; `holds` is None when nobody could tell."""

    name: str
    holds: bool | None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is judged."""

    run: str
    facts: Sequence[Fact]
    injection: Injection
    events: Sequence[Fact] = ()
    rows: Sequence[Row] | None = None
    checks: Sequence[Check] = ()
    needs_guard: bool = True
    has_model: bool = False


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A step of the recovery: when it was reached, and how long it took since the one before; seconds after f0."""

    name: str
    at: float | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """The drill's result. `rto_exceeds` says that recovery was not seen: the RTO is more than `rto_seconds`."""

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


@dataclass
class _Findings:
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


def judge(evidence: Evidence, objectives: Objectives) -> Result:
    """Judge a drill."""
    found = _Findings()
    attempts = [fact for fact in evidence.facts if fact["k"] == "w"]
    acks = [fact for fact in attempts if fact["r"] == "ok"]
    _check_observer(evidence, attempts, found)
    f0 = _check_injection(evidence, acks, found)
    recovered = None if f0 is None else _recovery(evidence, attempts, f0, objectives)
    rto, exceeds = _rto(evidence, f0, recovered, objectives, found)
    resolution = _resolution(acks, f0, recovered)
    counts, lost = _account(evidence, attempts, found)
    rpo, is_bound = _rpo(acks, lost, f0, resolution, objectives, found)
    if rto is not None and not exceeds and resolution is not None and rto <= objectives.rto < rto + resolution:
        found.doubts.append(f"the RTO of {rto:.3f} s is within its resolution of {resolution:.3f} s of the objective")
    _check_model(evidence, f0, found)
    _check_old_server(evidence, acks, recovered, found)
    _check_guard(evidence, f0, recovered, found)
    phases = _phases(evidence, f0, recovered, objectives)
    if recovered is not None:
        _check_service(evidence, phases, found)
        _check_checks(evidence, found)
    verdict = found.verdict()
    return Result(
        verdict=verdict, reasons=found.reasons(), rto_seconds=rto, rto_exceeds=exceeds,
        rpo_seconds=rpo, rpo_is_bound=is_bound, resolution_seconds=resolution, phases=phases, writes=counts,
        checks=tuple(evidence.checks), notes=tuple(found.notes),
    )  # fmt: skip


def judge_warning(evidence: Evidence, warned: int | None, objectives: Objectives) -> Result:
    """Judge a drill in which nothing is lost yet and somebody must be warned while there is time.

    `warned` is when the alert's condition held, in nanoseconds. The RPO figure is the exposure at that moment: seconds
    of acknowledged writes that only the primary had. There is no recovery, and so no RTO.
    """
    found = _Findings()
    attempts = [fact for fact in evidence.facts if fact["k"] == "w"]
    acks = [fact for fact in attempts if fact["r"] == "ok"]
    _check_observer(evidence, attempts, found)
    f0 = _check_injection(evidence, acks, found)
    counts, lost = _account(evidence, attempts, found)
    if lost:
        found.breaches.append(f"{len(lost)} acknowledged writes are lost, and nothing had failed")
    exposure = None if f0 is None or warned is None else (warned - f0) / SECOND
    last = max((fact["t1"] for fact in attempts), default=0)
    if f0 is not None and exposure is None:
        waited = (last - f0) / SECOND
        where = found.breaches if waited > objectives.rpo else found.doubts
        where.append(f"no warning within the {waited:.1f} s that were watched; the RPO is {objectives.rpo:g} s")
    elif exposure is not None and exposure <= 0:
        found.doubts.append("the warning was there before the fault")
    elif exposure is not None and exposure > objectives.rpo:
        found.breaches.append(f"warned {exposure:.1f} s after the fault, when the RPO of {objectives.rpo:g} s was gone")
    _check_checks(evidence, found)
    verdict = found.verdict()
    return Result(
        verdict=verdict, reasons=found.reasons(), rto_seconds=None, rto_exceeds=False,
        rpo_seconds=exposure, rpo_is_bound=False, resolution_seconds=_resolution(acks, f0, None),
        phases=(Phase(name="warning", at=exposure, seconds=exposure),), writes=counts, checks=tuple(evidence.checks),
        notes=tuple(found.notes),
    )  # fmt: skip


def bound(clean_drills: int) -> float:
    """Upper bound, at 95%, of the probability that a drill breaches, after so many without a breach."""
    return 1.0 if clean_drills <= 0 else min(1.0, CONFIDENCE_FACTOR / clean_drills)


# The observer and the fault ------------------------------------------------------------------------------------------


def _check_observer(evidence: Evidence, attempts: Sequence[Fact], found: _Findings) -> None:
    starts = [fact for fact in evidence.facts if fact["k"] == "start"]
    ends = [fact for fact in evidence.facts if fact["k"] == "end"]
    if len(starts) != 1 or len(ends) != 1:
        found.unsound.append("the observer did not see the drill from its start to its end")
    else:
        step = (ends[0]["wall"] - starts[0]["wall"]) - (ends[0]["t"] - starts[0]["t"]) / SECOND
        if abs(step) > CLOCK_STEP_SECONDS:
            found.notes.append(f"the wall clock stepped by {step:+.0f} s; nothing was computed from it")
    numbers = [fact["n"] for fact in attempts]
    if len(set(numbers)) != len(numbers):
        found.unsound.append("the ledger has a number twice")
    if any(later["t0"] < earlier["t0"] for earlier, later in itertools.pairwise(attempts)):
        found.unsound.append("the observer's clock ran backwards")
    worst = max(
        ((later["t0"] - earlier["t1"]) / SECOND for earlier, later in itertools.pairwise(attempts)),
        default=0.0,
    )
    if worst > STALL_SECONDS:
        found.doubts.append(f"the observer itself stood still for {worst:.1f} s")


def _check_injection(evidence: Evidence, acks: Sequence[Fact], found: _Findings) -> int | None:
    """f0, None without one; says what is wrong with the fault."""
    injection = evidence.injection
    found.doubts += injection.problems
    if injection.begun is None:
        found.doubts.append("no fault was injected")
        return None
    if injection.effective is None:
        found.doubts.append("the fault was not verified to be effective")
    before = [fact for fact in acks if fact["t1"] < injection.begun]
    if len(before) < MIN_WRITES:
        found.doubts.append(f"{len(before)} writes were acknowledged before the fault; {MIN_WRITES} are needed")
    elif (seconds := (injection.begun - before[0]["t1"]) / SECOND) > 0 and len(before) / seconds < MIN_RATE:
        found.doubts.append(f"{len(before) / seconds:.1f} writes a second before the fault; {MIN_RATE:g} are needed")
    if before and injection.old and before[-1].get("s") not in (None, injection.old):
        found.doubts.append("the fault hit a server that clients were not writing to")
    effective = injection.effective
    if injection.spoils and not _spoiled(evidence):
        found.doubts.append("no reader saw the content spoiled")
    if injection.silences and effective is not None and injection.old:
        late = [fact for fact in acks if fact["t0"] > effective and fact.get("s") == injection.old]
        if late and (not injection.fails_over or not _moved(evidence, late[0]["t0"])):
            found.doubts.append(
                f"{len(late)} writes sent after the fault was effective were acknowledged by the server it hit"
            )
    return injection.begun


def _moved(evidence: Evidence, at: int) -> bool:
    """Whether the recoverer had sent clients anywhere by then."""
    return any(event["k"] == "rerouted" and event["t"] <= at for event in evidence.events)


def _check_model(evidence: Evidence, f0: int | None, found: _Findings) -> None:
    """A model that did not answer in time before the fault says nothing after it."""
    if not evidence.has_model or f0 is None:
        return
    before = [fact["r"] for fact in evidence.facts if fact["k"] == "m" and fact["t1"] < f0]
    if before.count("ok") < MIN_WRITES or before.count("ok") < 0.9 * len(before):
        found.unsound.append(f"the model answered {before.count('ok')} of {len(before)} requests before the fault")


def _check_old_server(evidence: Evidence, acks: Sequence[Fact], recovered: int | None, found: _Findings) -> None:
    """No two servers acknowledge at the same time, and after a failover the old one never again."""
    injection = evidence.injection
    if injection.begun is None:
        return
    servers = [fact.get("s") for fact in acks if fact["t1"] >= injection.begun]
    changes = [server for index, server in enumerate(servers) if index == 0 or server != servers[index - 1]]
    if len(changes) != len(set(changes)):
        found.breaches.append(f"two servers acknowledged in turns ({' '.join(map(str, changes))}): split brain")
    if injection.fails_over and recovered is not None and any(
        fact.get("s") == injection.old for fact in acks if fact["t0"] >= recovered
    ):  # fmt: skip
        found.breaches.append("the old primary acknowledged writes after the recovery")


def _check_guard(evidence: Evidence, f0: int | None, recovered: int | None, found: _Findings) -> None:
    """The recoverer, and nobody else, has to have recovered it, after the fault."""
    if not evidence.needs_guard or f0 is None:
        return
    if any(event["k"] == "decided" and event["t"] < f0 for event in evidence.events):
        found.doubts.append("the recoverer had decided before the fault")
    acted = [event for event in evidence.events if event["k"] == "recovered" and event["t"] >= f0]
    if recovered is not None and not acted:
        found.doubts.append("writes came back, and the recoverer had not done anything: who did?")
    if recovered is not None and acted and acted[0]["t"] > recovered:
        found.doubts.append("writes came back before the recoverer had recovered anything")
    for event in evidence.events:
        if event["k"] in ("refused", "gave_up") and event["t"] >= f0:
            found.notes.append(f"the recoverer {event['k'].replace('_', ' ')}: {event['why']}")


# Recovery time -------------------------------------------------------------------------------------------------------


def _recovery(evidence: Evidence, attempts: Sequence[Fact], f0: int, objectives: Objectives) -> int | None:
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
            and not _moved(evidence, fact["t0"])
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
    return max([f0, *(int(fact["t1"]) for fact in _spoiled(evidence))])


def _spoiled(evidence: Evidence) -> list[Fact]:
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
    return _recovery(evidence, [fact for fact in facts if fact["k"] == "w"], injection.begun, objectives)


def _rto(
    evidence: Evidence, f0: int | None, recovered: int | None, objectives: Objectives, found: _Findings
) -> tuple[float | None, bool]:
    if f0 is None:
        return None, False
    if recovered is not None:
        rto = (recovered - f0) / SECOND
        if rto > objectives.rto:
            found.breaches.append(f"RTO {rto:.3f} s, objective {objectives.rto:g} s")
        return rto, False
    last = max((fact["t1"] for fact in evidence.facts if fact["k"] == "w"), default=f0)
    waited = (last - f0) / SECOND
    if waited > objectives.rto:
        found.breaches.append(f"not recovered within {waited:.1f} s, objective {objectives.rto:g} s")
    else:
        found.doubts.append(
            f"not recovered within the {waited:.1f} s that were watched; the objective allows {objectives.rto:g} s"
        )
    return waited, True


def _resolution(acks: Sequence[Fact], f0: int | None, recovered: int | None) -> float | None:
    """Largest gap, in seconds, between acknowledgements while the store was up."""
    gaps = []
    for earlier, later in itertools.pairwise(acks):
        spans_outage = f0 is not None and earlier["t1"] <= (recovered or later["t1"]) and later["t1"] >= f0
        if not spans_outage:
            gaps.append(later["t1"] - earlier["t1"])
    if f0 is not None and (before := [fact["t1"] for fact in acks if fact["t1"] <= f0]):
        gaps.append(f0 - before[-1])
    return max(gaps) / SECOND if gaps else None


# Data loss -----------------------------------------------------------------------------------------------------------


def _account(evidence: Evidence, attempts: Sequence[Fact], found: _Findings) -> tuple[dict[str, int], list[Fact]]:
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


def _rpo(
    acks: Sequence[Fact], lost: Sequence[Fact], f0: int | None, resolution: float | None, objectives: Objectives,
    found: _Findings,
) -> tuple[float | None, bool]:  # fmt: skip
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


# Service -------------------------------------------------------------------------------------------------------------

_GUARD_PHASES = (
    ("detect", "failed"),
    ("decide", "decided"),
    ("fence", "fenced"),
    ("restore", "recovered"),
    ("reroute", "rerouted"),
)
_LAST = ("first acknowledgement", "full service", "redundancy restored")


def _phases(evidence: Evidence, f0: int | None, recovered: int | None, objectives: Objectives) -> tuple[Phase, ...]:
    """Phases in their order; one that was not reached has no time."""
    times: list[tuple[str, int | None]] = []
    for name, kind in _GUARD_PHASES:
        at = [event["t"] for event in evidence.events if event["k"] == kind and f0 is not None and event["t"] >= f0]
        times.append((name, at[-1] if at and kind != "failed" else at[0] if at else None))
    times.append((_LAST[0], recovered))
    times.append((_LAST[1], None if recovered is None else _full_service(evidence, recovered, objectives)))
    redundant = [
        event["t"] for event in evidence.events if event["k"] == "redundant" and f0 is not None and event["t"] >= f0
    ]
    times.append((_LAST[2], redundant[0] if redundant else None))
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


def _check_service(evidence: Evidence, phases: Sequence[Phase], found: _Findings) -> None:
    full = next(phase for phase in phases if phase.name == _LAST[1])
    if full.at is None:
        what = "readers or the model do" if evidence.has_model else "readers do"
        found.breaches.append(f"writes came back, but {what} not see the service as it was")


def _check_checks(evidence: Evidence, found: _Findings) -> None:
    for check in evidence.checks:
        if check.holds is None:
            found.doubts.append(f"{check.name}: not known{': ' + check.detail if check.detail else ''}")
        elif not check.holds:
            found.breaches.append(f"{check.name}: {check.detail or 'no'}")
    if not evidence.checks:
        found.doubts.append("nothing was checked after the recovery")
