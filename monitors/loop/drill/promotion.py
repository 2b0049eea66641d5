"""What a drill demands of the new version and of its promotion: registered for it, judged on traffic, by the gate."""

from __future__ import annotations

from midwatch.drills import Findings
from monitors.loop.drill.facts import Registry, RegistryVersion
from monitors.loop.drill.trace import Trace
from monitors.loop.episode import CHECKS, Episode, Result, Seen, Step

LEAST_CANARY_REQUESTS = 20.0
"""Requests of the new version before it was judged: fewer cannot pass a gate."""


def check(trace: Trace, episode: Episode, findings: Findings, *, slack: float) -> None:
    """Whether the version that serves is the episode's own, and came there by the way that is promised.

    `slack` is seconds by which clocks may differ.
    """
    registered = episode.first_done(Step.REGISTERED)
    if registered is None:
        return
    before = trace.before(Registry)
    if before is not None and _version(before, registered.id) is not None:
        findings.doubts.append(f"version {registered.id} was registered before the drill")
        return
    _check_registered(trace, episode, registered, findings, slack)
    judged = episode.last(Step.CANARY_JUDGED)
    if judged is not None:
        _check_canary(trace, episode, judged, findings)
    _check_promoted(trace, episode, registered, judged, findings, slack)


def _check_registered(trace: Trace, episode: Episode, registered: Seen, findings: Findings, slack: float) -> None:
    """The registry itself has the version, made by this episode's run, and did not have it before."""
    number = registered.id
    before, now = trace.before(Registry), trace.last(Registry)
    if before is None or now is None:
        findings.doubts.append("the registry was not asked before and after: whose version it is is not known")
        return
    version = _version(now, number)
    if version is None:
        findings.doubts.append(f"the loop says that version {number} is registered, and the registry does not have it")
        return
    begun = episode.time(Step.RUN_STARTED)
    if begun is not None and version.created < begun - slack:
        findings.doubts.append(
            f"version {number} is {begun - version.created:.0f} s older than the run that trained it"
        )
    trained = {one.facts["mlflow_run"] for one in episode.steps if "mlflow_run" in one.facts}
    if version.run_id and trained and version.run_id not in trained:
        findings.doubts.append(
            f"version {number} is of the training {version.run_id}, and {min(trained)} was this one's"
        )
    if version.run_id and (said := registered.facts.get("run_id", version.run_id)) != version.run_id:
        findings.doubts.append(f"version {number} is of the training {version.run_id}, not of {said}")


def _version(look: Registry, number: str) -> RegistryVersion | None:
    return next((one for one in look.versions if one.number == number), None)


def _check_canary(trace: Trace, episode: Episode, judged: Seen, findings: Findings) -> None:
    """The canary that was judged is the new version, and it had traffic."""
    version = episode.new_version
    if version is None:
        return
    if judged.id not in {version, *_pod_hashes(episode)}:
        findings.doubts.append(f"the gate judged {judged.id}, and {version} was registered")
    if judged.result is not Result.DONE:
        return
    begun = episode.time(Step.REGISTERED) or episode.detected
    read = trace.read_at(judged)
    if read is None or judged.time < begun:
        findings.doubts.append("when the canary was judged is not known, and so not how much traffic it had")
        return
    # Until the drill read of the verdict there was at least the traffic that the gate had, whatever its clock says.
    most, asked, others = (
        trace.requests(version, begun, read),
        trace.requests(version, begun, min(judged.time, read)),
        trace.requests(episode.version, begun, read),
    )
    if most is None or asked is None:
        findings.doubts.append("how much traffic the canary had is not known")
    elif most < LEAST_CANARY_REQUESTS and others:
        findings.breaches.append(f"the canary passed with {most:.0f} requests")
    elif asked < LEAST_CANARY_REQUESTS:
        findings.doubts.append(f"the canary passed with {asked:.0f} requests, by the gate's clock")


def _pod_hashes(episode: Episode) -> set[str]:
    """What a Rollout calls the pods of the new version: an arm of its canary may be called so."""
    return {one.facts["pod_hash"] for one in episode.steps if "pod_hash" in one.facts}


def _check_promoted(
    trace: Trace, episode: Episode, registered: Seen, judged: Seen | None, findings: Findings, slack: float
) -> None:
    """The registry's champion is the new version since the gate passed it, and somebody says that he promoted it."""
    number = registered.id
    between = trace.promoted_between(number)
    if between is None:
        if episode.is_done(Step.PROMOTED):
            findings.doubts.append(f"the loop says that version {number} was promoted, and the registry does not")
        return
    if judged is None or judged.result is not Result.DONE:
        said = "undecided" if judged is None else judged.result.value
        findings.breaches.append(f"version {number} was promoted while the canary was {said}")
    elif between[1] < judged.time - slack and judged.time <= (trace.read_at(judged) or 0.0) + slack:
        early = judged.time - between[1]
        findings.breaches.append(f"version {number} was promoted {early:.0f} s before the canary was judged")
    for step in CHECKS:
        last = episode.last(step)
        if last is None:
            findings.notes.append(f"nobody saw the pipeline's {step}")
        elif last.result is not Result.DONE:
            findings.breaches.append(f"version {number} was promoted, and its {step} was {last.result}")
    last_look = trace.last(Registry)
    version = _version(last_look, number) if last_look else None
    if last_look is not None and last_look.champion != number:
        findings.doubts.append(f"the champion is {last_look.champion or 'nobody'} and no longer {number}")
    if version is not None and not version.promoted_by:
        findings.doubts.append(f"nobody is on record as who promoted version {number}: by hand, or around the gate")
