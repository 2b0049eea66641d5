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
from collections.abc import Sequence

from dr import losses, times
from dr.ledger import Fact
from dr.verdict import SECOND, Evidence, Findings, Objectives, Phase, Result

MIN_RATE = 10.0
"""Writes a second below which the times mean little."""
MIN_WRITES = 20
"""Acknowledged before the fault, so that there is something to lose."""
STALL_SECONDS = 1.0
"""Between the end of one attempt and the begin of the next: the observer itself stood still, and saw nothing."""
CLOCK_STEP_SECONDS = 1.0


def judge(evidence: Evidence, objectives: Objectives) -> Result:
    """Judge a drill."""
    found = Findings()
    attempts = [fact for fact in evidence.facts if fact["k"] == "w"]
    acks = [fact for fact in attempts if fact["r"] == "ok"]
    _check_observer(evidence, attempts, found)
    f0 = _check_injection(evidence, acks, found)
    recovered = None if f0 is None else times.recovery(evidence, attempts, f0, objectives)
    rto, exceeds = times.rto(evidence, f0, recovered, objectives, found)
    resolution = times.resolution(acks, f0, recovered)
    counts, lost = losses.account(evidence, attempts, found)
    rpo, is_bound = losses.rpo(acks, lost, f0, resolution, objectives, found)
    if rto is not None and not exceeds and resolution is not None and rto <= objectives.rto < rto + resolution:
        found.doubts.append(f"the RTO of {rto:.3f} s is within its resolution of {resolution:.3f} s of the objective")
    _check_model(evidence, f0, found)
    _check_old_server(evidence, acks, recovered, found)
    _check_guard(evidence, f0, recovered, found)
    phases = times.phases(evidence, f0, recovered, objectives)
    if recovered is not None:
        _check_service(evidence, phases, found)
        _check_checks(evidence, found)
    verdict = found.verdict()
    return Result(
        verdict=verdict,
        reasons=found.reasons(),
        rto_seconds=rto,
        rto_exceeds=exceeds,
        rpo_seconds=rpo,
        rpo_is_bound=is_bound,
        resolution_seconds=resolution,
        phases=phases,
        writes=counts,
        checks=tuple(evidence.checks),
        notes=tuple(found.notes),
    )


def judge_warning(evidence: Evidence, warned: int | None, objectives: Objectives) -> Result:
    """Judge a drill in which nothing is lost yet and somebody must be warned while there is time.

    `warned` is when the alert's condition held, in nanoseconds. The RPO figure is the exposure at that moment: seconds
    of acknowledged writes that only the primary had. There is no recovery, and so no RTO.
    """
    found = Findings()
    attempts = [fact for fact in evidence.facts if fact["k"] == "w"]
    acks = [fact for fact in attempts if fact["r"] == "ok"]
    _check_observer(evidence, attempts, found)
    f0 = _check_injection(evidence, acks, found)
    counts, lost = losses.account(evidence, attempts, found)
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
        verdict=verdict,
        reasons=found.reasons(),
        rto_seconds=None,
        rto_exceeds=False,
        rpo_seconds=exposure,
        rpo_is_bound=False,
        resolution_seconds=times.resolution(acks, f0, None),
        phases=(Phase(name="warning", at=exposure, seconds=exposure),),
        writes=counts,
        checks=tuple(evidence.checks),
        notes=tuple(found.notes),
    )


# The observer and the fault ------------------------------------------------------------------------------------------


def _check_observer(evidence: Evidence, attempts: Sequence[Fact], found: Findings) -> None:
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


def _check_injection(evidence: Evidence, acks: Sequence[Fact], found: Findings) -> int | None:
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
    if injection.spoils and not times.spoiled(evidence):
        found.doubts.append("no reader saw the content spoiled")
    if injection.silences and effective is not None and injection.old:
        late = [fact for fact in acks if fact["t0"] > effective and fact.get("s") == injection.old]
        if late and (not injection.fails_over or not times.moved(evidence, late[0]["t0"])):
            found.doubts.append(
                f"{len(late)} writes sent after the fault was effective were acknowledged by the server it hit"
            )
    return injection.begun


def _check_model(evidence: Evidence, f0: int | None, found: Findings) -> None:
    """A model that did not answer in time before the fault says nothing after it."""
    if not evidence.has_model or f0 is None:
        return
    before = [fact["r"] for fact in evidence.facts if fact["k"] == "m" and fact["t1"] < f0]
    if before.count("ok") < MIN_WRITES or before.count("ok") < 0.9 * len(before):
        found.unsound.append(f"the model answered {before.count('ok')} of {len(before)} requests before the fault")


def _check_old_server(evidence: Evidence, acks: Sequence[Fact], recovered: int | None, found: Findings) -> None:
    """No two servers acknowledge at the same time, and after a failover the old one never again."""
    injection = evidence.injection
    if injection.begun is None:
        return
    servers = [fact.get("s") for fact in acks if fact["t1"] >= injection.begun]
    changes = [server for index, server in enumerate(servers) if index == 0 or server != servers[index - 1]]
    if len(changes) != len(set(changes)):
        found.breaches.append(f"two servers acknowledged in turns ({' '.join(map(str, changes))}): split brain")
    if (
        injection.fails_over
        and recovered is not None
        and any(fact.get("s") == injection.old for fact in acks if fact["t0"] >= recovered)
    ):
        found.breaches.append("the old primary acknowledged writes after the recovery")


def _check_guard(evidence: Evidence, f0: int | None, recovered: int | None, found: Findings) -> None:
    """The recoverer, and nobody else, has to have recovered it, after the fault."""
    if not evidence.needs_guard or f0 is None:
        return
    if any(event["k"] == "decided" and event["t"] < f0 for event in evidence.events):
        found.doubts.append("the recoverer had decided before the fault")
    acted = [event for event in evidence.events if event["k"] == "recovered" and event["t"] >= f0]
    if recovered is not None and not acted:
        found.doubts.append("writes came back, and the recoverer had not done anything: who did?")
    if recovered is not None and acted and recovered < _earliest(evidence, acted[0]):
        found.doubts.append("writes came back before the recoverer had recovered anything")
    for event in evidence.events:
        if event["k"] in ("refused", "gave_up") and event["t"] >= f0:
            found.notes.append(f"the recoverer {event['k'].replace('_', ' ')}: {event['why']}")


def _earliest(evidence: Evidence, recovered: Fact) -> int:
    """Before this nothing the recoverer did can have brought writes back, by the event that says it has recovered.

    Where clients have to be sent to another server that is the event itself. Elsewhere the store may serve while the
    step, such as a command of the site's, is still coming to its end: then it is the begin of the step.
    """
    began = [
        event["t"] for event in evidence.events if event["k"] in ("decided", "fenced") and event["t"] < recovered["t"]
    ]
    return int(recovered["t"] if evidence.injection.fails_over or not began else began[-1])


def _check_service(evidence: Evidence, phases: Sequence[Phase], found: Findings) -> None:
    full = next(phase for phase in phases if phase.name == times.LAST[1])
    if full.at is None:
        what = "readers or the model do" if evidence.has_model else "readers do"
        found.breaches.append(f"writes came back, but {what} not see the service as it was")


def _check_checks(evidence: Evidence, found: Findings) -> None:
    for check in evidence.checks:
        if check.holds is None:
            found.doubts.append(f"{check.name}: not known{': ' + check.detail if check.detail else ''}")
        elif not check.holds:
            found.breaches.append(f"{check.name}: {check.detail or 'no'}")
    if not evidence.checks:
        found.doubts.append("nothing was checked after the recovery")
