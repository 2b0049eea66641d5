"""What a drill of the loop has shown: MET, BREACHED or INCONCLUSIVE, from its facts alone. Nobody is asked here.

Definitions. T0 is when the drill made the drift begin, so that it is known and need not be estimated. The model is
recovered at the first look from which on another version, registered in the drill's own episode, has all traffic of
the copy. That counts when drift is gone while every request still carries it, and the loop found the version better.
What the loop says is never enough: the registry, Prometheus and the drill's own requests have to say it, too. Whatever
is not known is not met.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from midwatch.drills import Findings, Phase, Verdict
from monitors.drift.episodes import Trigger
from monitors.loop import episode as loop
from monitors.loop.drill import promotion
from monitors.loop.drill.facts import SECOND, AnyFact, Blind, Counted, Finished, Registry, Run, Sent, Started
from monitors.loop.drill.trace import Trace
from monitors.loop.episode import Episode, Outcome, Step

CLOCK_STEP_SECONDS = 1.0
CLOCK_SLACK_SECONDS = 5.0
"""Owners write whole seconds, and clocks of two machines differ by less than this."""
LEAST_REQUESTS = 100
"""Answered with the drift in them: fewer make no window."""
BLIND_LOOKS = 10.0
"""Looks in a row that an owner may miss."""
LEAST_BLIND_SECONDS = 60.0
FOREIGN_SHARE = 1.2
"""Requests of the copy that Prometheus may count for each that was answered: more come from somebody else."""
LOST_SHARE = 0.5

NEEDED = (
    Step.ASKED,
    Step.RUN_STARTED,
    Step.TRAINED,
    Step.REGISTERED,
    Step.CANARY_JUDGED,
    Step.PROMOTED,
    Step.ALL_TRAFFIC,
    Step.WELL,
)
"""Steps that somebody has to have seen done. That a version was deployed shows in its traffic."""

AFTER = (
    (Step.ASKED, Step.RUN_STARTED),
    (Step.RUN_STARTED, Step.TRAINED),
    (Step.RUN_STARTED, Step.REGISTERED),
    (Step.REGISTERED, Step.CANARY_JUDGED),
    (Step.CANARY_JUDGED, Step.ALL_TRAFFIC),
    (Step.ALL_TRAFFIC, Step.WELL),
)
"""A step that cannot have come before another. Training may register a version before it ends."""


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Seconds promised from the drift to a better version with all traffic, and how long the drill waited for it."""

    recover_within: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is judged. `log_problems` is what is wrong with the loop's own evidence log."""

    facts: Sequence[AnyFact]
    log_problems: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The drill's result. `exceeds` says that no recovery was seen: it takes more than `recovery_seconds`."""

    verdict: Verdict
    reasons: tuple[str, ...]
    recovery_seconds: float | None
    exceeds: bool
    resolution_seconds: float | None
    phases: tuple[Phase, ...]
    episode: str
    old_version: str
    new_version: str
    requests: dict[str, int]
    notes: tuple[str, ...] = ()


def judge(evidence: Evidence, objectives: Objectives) -> Result:
    """Judge a drill."""
    findings, trace = Findings(), Trace(evidence.facts)
    findings.unsound += [f"the loop's evidence is not what was written: {problem}" for problem in evidence.log_problems]
    findings.unsound += [f"a record of the loop cannot be read: {problem}" for problem in trace.broken]
    _check_looking(trace, findings)
    _check_before(trace, findings)
    recovered = _recovered(trace, findings)
    if trace.injected is not None:
        _check_traffic(trace, findings)
        _check_sight(trace, findings, recovered or trace.withdrawn_at)
    if trace.episode is not None:
        _check_episode(trace, trace.episode, findings)
    seconds, exceeds = _time(trace, recovered, objectives, findings)
    if recovered is not None:
        _check_well(trace, recovered, findings)
    episode = trace.episode
    sent = trace.last(Sent)
    return Result(
        verdict=findings.verdict(),
        reasons=findings.reasons(),
        recovery_seconds=seconds,
        exceeds=exceeds,
        resolution_seconds=_resolution(trace),
        phases=_phases(trace),
        episode=episode.id if episode else "",
        old_version=episode.version if episode else "",
        new_version=(episode.new_version or "") if episode else "",
        requests={"sent": sent.sent, "answered": sent.answered, "drifted": sent.drifted} if sent else {},
        notes=tuple(findings.notes),
    )


# The drill itself ----------------------------------------------------------------------------------------------------


def _check_looking(trace: Trace, findings: Findings) -> None:
    """It has to have looked from its start to its end, by clocks that run on."""
    starts, ends = trace.of(Started), trace.of(Finished)
    if len(starts) != 1 or len(ends) != 1:
        findings.unsound.append("the drill was not watched from its start to its end")
        return
    if any(later.at < earlier.at for earlier, later in itertools.pairwise(trace.facts)):
        findings.unsound.append("the drill's clock ran backwards")
    begun = trace.facts[0]
    stepped = max((abs((one.wall - begun.wall) - (one.at - begun.at) / SECOND) for one in trace.facts), default=0.0)
    if stepped > CLOCK_STEP_SECONDS:
        findings.unsound.append(
            f"the wall clock stepped by {stepped:.0f} s, so times of others cannot be compared with the drill's"
        )


def _check_before(trace: Trace, findings: Findings) -> None:
    """The copy has to have been well, and judged so, before the drift began."""
    started, injected = trace.started, trace.injected
    if injected is None or started is None:
        findings.doubts.append("no drift was injected")
        return
    if started.open:
        findings.doubts.append(f"the episode {started.open} of {started.stream} was open before the drill")
    before = trace.before(Counted)
    verdicts = list(before.windows.values()) if before else []
    if not any(one.get("stable", 0.0) > 0 for one in verdicts):
        findings.doubts.append(
            "no window of the copy was judged stable before the drift: it may have been there already"
        )
    looks = [one for one in trace.counted if one.at <= injected.at]
    if looks and any(trace.windows(version, "drift", looks[0].at, looks[-1].at) > 0 for version in looks[-1].windows):
        findings.doubts.append("the copy drifted before the drill made it")


def _check_traffic(trace: Trace, findings: Findings) -> None:
    """Every request after the beginning carries the drift, they go on, and nobody else asks the copy."""
    injected, sent = trace.injected, trace.of(Sent)
    assert injected is not None  # noqa: S101 - the caller looked
    after = [one for one in sent if one.at >= injected.at]
    if len(after) < 2 or after[-1].answered - after[0].answered < LEAST_REQUESTS:
        findings.doubts.append(f"fewer than {LEAST_REQUESTS} requests with the drift were answered")
        return
    inside = [one for one in after if one.at <= trace.withdrawn_at]
    first, last = inside[0], inside[-1]
    if last.drifted - first.drifted < last.sent - first.sent:
        findings.doubts.append("not every request carried the drift")
    until = _judged_until(trace)
    pause, allowed = trace.longest_pause(injected.at, until), _allowed_gap(trace)
    if pause > allowed:
        findings.doubts.append(f"no request was answered for {pause:.0f} s: what is not asked does not drift")
    counted = _counted_between(trace, first, last)
    answered = last.answered - first.answered
    if counted is None:
        return
    if counted > FOREIGN_SHARE * answered + LEAST_REQUESTS:
        findings.unsound.append(
            f"{counted:.0f} requests of the copy were counted and the drill had {answered}: others ask it, too"
        )
    if counted < LOST_SHARE * answered:
        findings.doubts.append(f"of {answered} requests that were answered {counted:.0f} were counted")


def _counted_between(trace: Trace, first: Sent, last: Sent) -> float | None:
    looks = [one for one in trace.counted if first.at <= one.at <= last.at]
    if len(looks) < 2:
        return None
    return sum(looks[-1].requests.values()) - sum(looks[0].requests.values())


def _judged_until(trace: Trace) -> int:
    """Until when drift and traffic have to have gone on: the loop said that drift is gone, else the drill's end."""
    well = trace.told(Step.WELL)
    return well[0].at if well else trace.withdrawn_at


def _allowed_gap(trace: Trace) -> float:
    interval = trace.started.interval if trace.started else 0.0
    return max(LEAST_BLIND_SECONDS, BLIND_LOOKS * interval)


def _check_sight(trace: Trace, findings: Findings, until: int) -> None:
    """Nobody may have been blind for long between the drift and the recovery."""
    since = trace.injected.at if trace.injected else 0
    for name, kind in (("Prometheus", Counted), ("the registry", Registry)):
        gap = trace.longest_gap(kind, since, until)
        if gap > _allowed_gap(trace):
            findings.doubts.append(f"{name} did not answer for {gap:.0f} s")
    for source in sorted({one.source for one in trace.of(Blind)}):
        why = next(one.why for one in reversed(trace.of(Blind)) if one.source == source)
        findings.notes.append(f"{source} did not answer at times, the last time with: {why}")


# The episode ---------------------------------------------------------------------------------------------------------


def _check_episode(trace: Trace, episode: Episode, findings: Findings) -> None:
    missing = [step for step in NEEDED if not episode.is_done(step)]
    if missing:
        findings.doubts.append(f"nobody saw: {', '.join(missing)}")
    if len(trace.episodes) > 1:
        findings.doubts.append(f"{len(trace.episodes)} episodes of the copy began: which is the drill's is not known")
    _check_once(trace, episode, findings)
    _check_times(trace, episode, findings)
    _check_run(trace, episode, findings)
    promotion.check(trace, episode, findings, slack=CLOCK_SLACK_SECONDS)
    if episode.outcome in (Outcome.NO_BETTER, Outcome.WORSE, Outcome.FAILED, Outcome.ABANDONED):
        findings.breaches.append(f"the episode ended as {episode.outcome} ({episode.cause}): {episode.ending}")
    elif episode.outcome is not Outcome.BETTER:
        findings.doubts.append("nothing shows that the new version is better")


def _check_once(trace: Trace, episode: Episode, findings: Findings) -> None:
    """One retraining was asked for, and one run came of it."""
    taken = [
        record for _, record in trace.records() if isinstance(record, loop.Asked) and record.result is Trigger.SENT
    ]
    if len(taken) > 1:
        findings.breaches.append(f"{len(taken)} retrainings were asked for in one episode")
    for source, runs in _runs(episode, Step.RUN_STARTED).items():
        if len(runs) > 1:
            findings.breaches.append(f"{len(runs)} runs of {source} belong to one episode: {', '.join(sorted(runs))}")


def _runs(episode: Episode, step: Step) -> dict[str, set[str]]:
    """Ids of the runs of a step by who saw them: one training may be a run of two owners."""
    found: dict[str, set[str]] = {}
    for one in episode.steps:
        if one.step is step:
            found.setdefault(one.source, set()).add(one.id)
    return found


def _check_times(trace: Trace, episode: Episode, findings: Findings) -> None:
    """No step before the drift, after it was read of, or before one that it follows from."""
    injected = trace.injected
    for fact, record in trace.records():
        if not isinstance(record, loop.Seen) or injected is None:
            continue
        if record.time > fact.wall + CLOCK_SLACK_SECONDS:
            findings.doubts.append(f"{record.step} is {record.time - fact.wall:.0f} s later than it was read of")
        if record.time < injected.wall - CLOCK_SLACK_SECONDS:
            findings.doubts.append(f"{record.step} is {injected.wall - record.time:.0f} s older than the drift")
    for earlier, later in AFTER:
        first, second = episode.time(earlier), episode.time(later)
        if first is not None and second is not None and second < first - CLOCK_SLACK_SECONDS:
            findings.doubts.append(f"{later} is {first - second:.0f} s before {earlier}, which it follows from")


def _check_run(trace: Trace, episode: Episode, findings: Findings) -> None:
    """The run is this episode's own, as its owner says, and the one that was trained by."""
    started, begun, trained = trace.started, _runs(episode, Step.RUN_STARTED), _runs(episode, Step.TRAINED)
    known = set(started.runs) if started else set()
    for source, runs in begun.items():
        for run in sorted(runs & known):
            findings.doubts.append(f"the run {run} was known before the drill: its name was used again, or another's")
        if others := trained.get(source, runs) - runs:
            findings.doubts.append(f"{', '.join(sorted(runs))} began, and {', '.join(sorted(others))} trained")
    if begun and not any(_is_its_own(one, trace, episode, findings) for one in trace.of(Run)):
        findings.doubts.append("no owner says that a run was made for this episode")


def _is_its_own(run: Run, trace: Trace, episode: Episode, findings: Findings) -> bool:
    """Whether an owner says that a run is of the episode; what says otherwise is noted."""
    if run.episode and run.episode != episode.id:
        findings.doubts.append(f"{run.source} says that the run {run.id} is of episode {run.episode}")
        return False
    if run.request and run.request != episode.request:
        findings.doubts.append(f"{run.source} says that the run {run.id} is of request {run.request}")
        return False
    if trace.injected is not None and run.created < trace.injected.wall - CLOCK_SLACK_SECONDS:
        findings.doubts.append(f"the run {run.id} is older than the drift")
        return False
    return bool(run.episode or run.request)


# The recovery --------------------------------------------------------------------------------------------------------


def _recovered(trace: Trace, findings: Findings) -> int | None:
    """When another version had all traffic, by what Prometheus counted; None when none had it until the end."""
    episode = trace.episode
    if episode is None:
        if trace.injected is not None:
            findings.doubts.append("the loop began no episode for the drift")
        return None
    version = episode.new_version
    if version is None:
        return None
    if version == episode.version:
        findings.doubts.append(f"the version that was registered is the one that drifted, {version}")
        return None
    full = trace.full_service(version)
    if full is None:
        if episode.is_done(Step.ALL_TRAFFIC):
            findings.doubts.append(f"the loop says that {version} has all traffic, and Prometheus does not count that")
        return None
    return full.at


def _time(trace: Trace, recovered: int | None, objectives: Objectives, findings: Findings) -> tuple[float | None, bool]:
    """Seconds until the recovery, and whether it took longer than that, since it was not seen; None without a drift."""
    promised = objectives.recover_within
    if trace.injected is None:
        return None, False
    if recovered is not None:
        seconds = trace.seconds(recovered)
        if seconds > promised:
            findings.breaches.append(f"a better version had all traffic after {seconds:.0f} s, promised {promised:g} s")
        elif seconds + (_resolution(trace) or 0.0) > promised:
            findings.doubts.append(f"the {seconds:.0f} s of the recovery are within their resolution of the promise")
        return seconds, False
    waited = trace.seconds(trace.withdrawn_at)
    if waited > promised:
        findings.breaches.append(f"no better version had all traffic within {waited:.0f} s, promised {promised:g} s")
    else:
        findings.doubts.append(
            f"no better version had all traffic within the {waited:.0f} s that were watched, promised {promised:g} s"
        )
    return waited, True


def _check_well(trace: Trace, recovered: int, findings: Findings) -> None:
    """Drift is gone for the new version while every request carries it, in windows that were judged."""
    episode = trace.episode
    version = episode.new_version if episode else None
    if version is None:
        return
    until = trace.withdrawn_at
    stable = trace.windows(version, "stable", recovered, until)
    drifted = trace.windows(version, "drift", recovered, until)
    if drifted > 0:
        findings.breaches.append(f"{version} drifts, too: {drifted:.0f} windows since it has all traffic")
    if stable <= 0:
        findings.doubts.append(f"no window of {version} was judged stable while the drift went on")
    well = trace.told(Step.WELL)
    if well is not None and well[0].at > until:
        findings.doubts.append("the loop saw that drift is gone only once the drill had ended it")


def _resolution(trace: Trace) -> float | None:
    """The largest gap, in seconds, between looks at Prometheus while the drift went on."""
    if trace.injected is None:
        return None
    looks = [one for one in trace.counted if trace.injected.at <= one.at <= trace.withdrawn_at]
    return max(((b.at - a.at) / SECOND for a, b in itertools.pairwise(looks)), default=None)


def _phases(trace: Trace) -> tuple[Phase, ...]:
    """Where the time went, by times of the owners, since the drift began; a phase that was not reached has no time."""
    episode, injected = trace.episode, trace.injected
    times = episode.times()[1:] if episode else [None] * len(loop.PHASES)
    found, before = [], 0.0
    for name, at in zip(loop.PHASES, times, strict=True):
        if at is None or injected is None:
            found.append(Phase(name=name, at=None, seconds=None))
            continue
        since = max(0.0, at - injected.wall)
        found.append(Phase(name=name, at=since, seconds=max(0.0, since - before)))
        before = max(before, since)
    return tuple(found)
