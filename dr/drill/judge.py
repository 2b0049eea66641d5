"""What a drill has shown: MET, BREACHED or INCONCLUSIVE, from the observer's ledger, the fault's times, the recoverer's
events and what was read afterwards. Pure: it can be run again on the evidence, years later, and says the same.

Definitions. f0 is just before the first action of the fault, f1 when it was verified effective. r is the first write
acknowledged, through the clients' own endpoint, that was sent after f0 and starts a sustained healthy run; RTO is
r - f0, detection included. A write is lost when it was acknowledged and is not read afterwards; the data-loss time is
f0 minus the earliest lost acknowledgement (up to the effect of the fault, as a bound, where writes are lost that were
acknowledged while it took effect), or the span of the lost acknowledgements where that is longer (a restore to
a point before the fault gives up what was written after it, too). The resolution is the largest gap between
acknowledgements while the store was up: less than that cannot be told. Whatever is not known is not met.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dr.drill import losses, times
from dr.drill.facts import SECOND, Decided, Doubted, Ended, Fenced, GaveUp, Outcome, Recovered, Refused, Started, Write
from dr.drill.verdict import Evidence, Findings, Objectives, Phase, Result

MIN_RATE = 10.0
"""Writes a second below which the times mean little."""
MIN_WRITES = 20
"""Acknowledged before the fault, so that there is something to lose."""
STALL_SECONDS = 1.0
"""Between the end of one attempt and the begin of the next: the observer itself stood still, and saw nothing."""
CLOCK_STEP_SECONDS = 1.0


def judge(evidence: Evidence, objectives: Objectives) -> Result:
    """Judge a drill."""
    findings = Findings()
    _check_observer(evidence, findings)
    _check_injection(evidence, findings)

    recovered = times.recovery(evidence, objectives)
    resolution = times.resolution(evidence, recovered)
    rto, exceeds = times.rto(evidence, recovered, objectives, findings)
    writes, lost = losses.account(evidence, findings)
    loss = losses.rpo(evidence, lost, resolution, objectives, findings)
    phases = times.phases(evidence, recovered, objectives)

    if not exceeds:
        _check_resolution(rto, resolution, objectives, findings)
    _check_model(evidence, findings)
    _check_old_server(evidence, recovered, findings)
    _check_recoverer(evidence, recovered, findings)
    if recovered is not None:
        _check_service(evidence, recovered, phases, findings)
        _check_checks(evidence, findings)
    return Result(
        verdict=findings.verdict(),
        reasons=findings.reasons(),
        rto_seconds=rto,
        rto_exceeds=exceeds,
        rpo_seconds=loss.seconds,
        rpo_is_bound=loss.is_bound,
        rpo_at_most_seconds=loss.at_most,
        resolution_seconds=resolution,
        phases=phases,
        writes=writes,
        checks=tuple(evidence.checks),
        notes=tuple(findings.notes),
    )


def judge_warning(evidence: Evidence, warned: int | None, objectives: Objectives) -> Result:
    """Judge a drill in which nothing is lost yet and somebody must be warned while there is time.

    `warned` is when the alert's condition held, in nanoseconds. The RPO figure is the exposure at that moment: seconds
    of acknowledged writes that only the primary had. There is no recovery, and so no RTO.
    """
    findings = Findings()
    _check_observer(evidence, findings)
    _check_injection(evidence, findings)
    writes, lost = losses.account(evidence, findings)
    if lost:
        findings.breaches.append(f"{len(lost)} acknowledged writes are lost, and nothing had failed")
    f0 = evidence.injection.begun
    exposure = None if f0 is None or warned is None else (warned - f0) / SECOND
    _check_warning(evidence, exposure, objectives, findings)
    _check_checks(evidence, findings)
    return Result(
        verdict=findings.verdict(),
        reasons=findings.reasons(),
        rto_seconds=None,
        rto_exceeds=False,
        rpo_seconds=exposure,
        rpo_is_bound=False,
        resolution_seconds=times.resolution(evidence, None),
        phases=(Phase(name="warning", at=exposure, seconds=exposure),),
        writes=writes,
        checks=tuple(evidence.checks),
        notes=tuple(findings.notes),
    )


def _check_warning(evidence: Evidence, exposure: float | None, objectives: Objectives, findings: Findings) -> None:
    f0 = evidence.injection.begun
    if f0 is not None and exposure is None:
        waited = (max((write.answered for write in evidence.writes), default=0) - f0) / SECOND
        where = findings.breaches if waited > objectives.rpo else findings.doubts
        where.append(f"no warning within the {waited:.1f} s that were watched; the RPO is {objectives.rpo:g} s")
    elif exposure is not None and exposure <= 0:
        findings.doubts.append("the warning was there before the fault")
    elif exposure is not None and exposure > objectives.rpo:
        findings.breaches.append(
            f"warned {exposure:.1f} s after the fault, when the RPO of {objectives.rpo:g} s was gone"
        )


# The observer and the fault ------------------------------------------------------------------------------------------


def _check_observer(evidence: Evidence, findings: Findings) -> None:
    """It has to have seen the drill from its start to its end, by a clock that runs on, without standing still."""
    starts = [fact for fact in evidence.facts if isinstance(fact, Started)]
    ends = [fact for fact in evidence.facts if isinstance(fact, Ended)]
    if len(starts) != 1 or len(ends) != 1:
        findings.unsound.append("the observer did not see the drill from its start to its end")
    else:
        step = (ends[0].wall - starts[0].wall) - (ends[0].at - starts[0].at) / SECOND
        if abs(step) > CLOCK_STEP_SECONDS:
            findings.notes.append(f"the wall clock stepped by {step:+.0f} s; nothing was computed from it")
    if len({write.number for write in evidence.writes}) != len(evidence.writes):
        findings.unsound.append("the ledger has a number twice")
    pairs = list(itertools.pairwise(evidence.writes))
    if any(later.sent < earlier.sent for earlier, later in pairs):
        findings.unsound.append("the observer's clock ran backwards")
    longest = max(((later.sent - earlier.answered) / SECOND for earlier, later in pairs), default=0.0)
    if longest > STALL_SECONDS:
        findings.doubts.append(f"the observer itself stood still for {longest:.1f} s")


def _check_injection(evidence: Evidence, findings: Findings) -> None:
    """The fault has to have happened, to the server that clients were writing to, with the effect that it has."""
    injection = evidence.injection
    findings.doubts += injection.problems
    if injection.begun is None:
        findings.doubts.append("no fault was injected")
        return
    if injection.effective is None:
        findings.doubts.append("the fault was not verified to be effective")
    before = [write for write in evidence.acknowledged if write.answered < injection.begun]
    _check_rate(before, injection.begun, findings)
    if before and injection.old and before[-1].server not in (None, injection.old):
        findings.doubts.append("the fault hit a server that clients were not writing to")
    if injection.spoils and not times.spoiled(evidence):
        findings.doubts.append("no reader saw the content spoiled")
    if injection.silences and injection.effective is not None and injection.old:
        _check_silence(evidence, injection.effective, findings)


def _check_rate(before: Sequence[Write], f0: int, findings: Findings) -> None:
    """Enough has to have been written before the fault, and often enough."""
    if len(before) < MIN_WRITES:
        findings.doubts.append(f"{len(before)} writes were acknowledged before the fault; {MIN_WRITES} are needed")
        return
    seconds = (f0 - before[0].answered) / SECOND
    if seconds > 0 and len(before) / seconds < MIN_RATE:
        findings.doubts.append(f"{len(before) / seconds:.1f} writes a second before the fault; {MIN_RATE:g} are needed")


def _check_silence(evidence: Evidence, effective: int, findings: Findings) -> None:
    """A server that was lost acknowledges nothing, before clients are sent there again."""
    injection = evidence.injection
    late = [write for write in evidence.acknowledged if write.sent > effective and write.server == injection.old]
    if late and (not injection.fails_over or not times.moved(evidence, late[0].sent)):
        findings.doubts.append(
            f"{len(late)} writes sent after the fault was effective were acknowledged by the server it hit"
        )


def _check_resolution(rto: float | None, resolution: float | None, objectives: Objectives, findings: Findings) -> None:
    """An RTO that is met by less than can be told is not known to be met."""
    if rto is not None and resolution is not None and rto <= objectives.rto < rto + resolution:
        findings.doubts.append(
            f"the RTO of {rto:.3f} s is within its resolution of {resolution:.3f} s of the objective"
        )


def _check_model(evidence: Evidence, findings: Findings) -> None:
    """A model that did not answer in time before the fault says nothing after it."""
    f0 = evidence.injection.begun
    if not evidence.has_model or f0 is None:
        return
    before = [one.outcome for one in evidence.predictions if one.answered < f0]
    good = before.count(Outcome.OK)
    if good < MIN_WRITES or good < 0.9 * len(before):
        findings.unsound.append(f"the model answered {good} of {len(before)} requests before the fault")


# The recovery --------------------------------------------------------------------------------------------------------


def _check_old_server(evidence: Evidence, recovered: int | None, findings: Findings) -> None:
    """No two servers acknowledge at the same time, and after a failover the old one never again."""
    injection = evidence.injection
    if injection.begun is None:
        return
    servers = [write.server for write in evidence.acknowledged if write.answered >= injection.begun]
    turns = [server for server, _ in itertools.groupby(servers)]
    if len(turns) != len(set(turns)):
        findings.breaches.append(f"two servers acknowledged in turns ({' '.join(map(str, turns))}): split brain")
    if not injection.fails_over or recovered is None:
        return
    if any(write.server == injection.old for write in evidence.acknowledged if write.sent >= recovered):
        findings.breaches.append("the old primary acknowledged writes after the recovery")


def _check_recoverer(evidence: Evidence, recovered: int | None, findings: Findings) -> None:
    """The recoverer, and nobody else, has to have recovered it, after the fault."""
    f0 = evidence.injection.begun
    if not evidence.needs_recoverer or f0 is None:
        return
    if any(isinstance(event, Decided) and event.at < f0 for event in evidence.events):
        findings.doubts.append("the recoverer had decided before the fault")
    acted = [event for event in evidence.events if isinstance(event, Recovered) and event.at >= f0]
    if recovered is not None and not acted:
        findings.doubts.append("writes came back, and the recoverer had not done anything: who did?")
    if recovered is not None and acted and recovered < _earliest(evidence, acted[0]):
        findings.doubts.append("writes came back before the recoverer had recovered anything")
    for event in evidence.events:
        if isinstance(event, Refused | GaveUp | Doubted) and event.at >= f0:
            findings.notes.append(f"the recoverer {event.word}: {event.why}")


def _earliest(evidence: Evidence, recovered: Recovered) -> int:
    """Before this nothing the recoverer did can have brought writes back, by the event that says it has recovered.

    Where clients have to be sent to another server that is the event itself. Elsewhere, and where they find it by
    themselves, the store may serve while the step is still coming to its end: then it is the begin of the step.
    """
    steps = (event for event in evidence.events if isinstance(event, Decided | Fenced))
    began = [event.at for event in steps if event.at < recovered.at]
    is_sent = evidence.injection.fails_over and not evidence.injection.clients_follow
    return recovered.at if is_sent or not began else began[-1]


def _check_service(evidence: Evidence, recovered: int, phases: Sequence[Phase], findings: Findings) -> None:
    """Somebody has to have looked after the recovery, and to have seen the service as it was."""
    full = next(phase for phase in phases if phase.name == times.FULL_SERVICE)
    looks = [("reader looked", evidence.reads)] + [("model was asked", evidence.predictions)] * evidence.has_model
    unseen = [what for what, seen in looks if not any(one.sent >= recovered for one in seen)]
    if unseen:
        findings.doubts.append(f"writes came back, and no {' and no '.join(unseen)} after that")
    elif full.at is None:
        what = "readers or the model do" if evidence.has_model else "readers do"
        findings.breaches.append(f"writes came back, but {what} not see the service as it was")


def _check_checks(evidence: Evidence, findings: Findings) -> None:
    for check in evidence.checks:
        if check.holds is None:
            findings.doubts.append(f"{check.name}: not known{': ' + check.detail if check.detail else ''}")
        elif not check.holds:
            findings.breaches.append(f"{check.name}: {check.detail or 'no'}")
    if not evidence.checks:
        findings.doubts.append("nothing was checked after the recovery")
