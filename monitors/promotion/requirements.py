"""May a version become champion? Which of verdict, evaluation and bias check it has, lacks or failed. Pure.

What cannot be seen is neither there nor missing, and allows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from midwatch.spec.promotion import Check, Needed, Promotion
from midwatch.spec.values import describe_duration
from monitors.canary.findings import Verdict
from monitors.canary.times import moment


class State(StrEnum):
    """How a requirement stands; `undecided` is a verdict that is not there yet, or what nobody can see."""

    HAS = "has"
    MISSING = "missing"
    FAILED = "failed"
    UNDECIDED = "undecided"


class Answer(StrEnum):
    """Whether a version may become champion."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One thing that a version has to show: how it stands, why, and what to do where it does not have it."""

    name: str
    state: State
    reason: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class GivenVerdict:
    """A verdict of the gate on record; `at` is the end of the counts that it was made from, seconds since 1970.

    `requests` are those of the canary; `record` is the number of the record.
    """

    baseline: str
    canary: str
    verdict: Verdict
    reason: str
    at: float
    requests: int
    record: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a version that somebody wants to promote.

    `served` and `champion` are versions as servers call them; no `champion` means that there is none yet. `verdicts`
    are those on record about it, the oldest first. `metrics` is None where the registry cannot say them; `problem` says
    why the registry says nothing at all.
    """

    model: str
    version: str
    served: str
    champion: str | None = None
    exists: bool = True
    is_ready: bool = True
    verdicts: Sequence[GivenVerdict] = ()
    tags: Mapping[str, str] | None = None
    metrics: Mapping[str, float] | None = None
    min_requests: int = 1
    problem: str = ""
    log_problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer, and how each requirement stands."""

    answer: Answer
    reason: str
    requirements: tuple[Requirement, ...]

    @property
    def lacking(self) -> tuple[str, ...]:
        """Names of what the version does not have."""
        return tuple(one.name for one in self.requirements if one.state is not State.HAS)


def decide(facts: Facts, settings: Promotion, now: float) -> Decision:
    """Whether a version may become champion at `now`, seconds since 1970."""
    found = [_version(facts), *(_needed(needed, facts, settings, now) for needed in settings.needs)]
    bad = [one for one in found if one.state in (State.MISSING, State.FAILED)]
    undecided = [one for one in found if one.state is State.UNDECIDED]
    answer = Answer.REFUSED if bad else Answer.UNDECIDED if undecided else Answer.ALLOWED
    told = [*bad, *undecided] or found
    reason = "; ".join(f"{one.name}: {one.reason}" for one in told)
    return Decision(answer=answer, reason=reason, requirements=tuple(found))


def _version(facts: Facts) -> Requirement:
    if facts.problem:
        return Requirement(name="version", state=State.UNDECIDED, reason=facts.problem, remedy="ask again")
    if not facts.exists:
        reason = f"{facts.model} has no version {facts.version} in the registry"
        return Requirement(name="version", state=State.MISSING, reason=reason, remedy="register it")
    if not facts.is_ready:
        reason = f"version {facts.version} is not READY in the registry"
        return Requirement(name="version", state=State.UNDECIDED, reason=reason, remedy="ask again")
    return Requirement(name="version", state=State.HAS, reason=f"version {facts.version}, served as {facts.served}")


def _needed(needed: Needed, facts: Facts, settings: Promotion, now: float) -> Requirement:
    if needed == "verdict":
        return _verdict(facts, settings, now)
    check, tag = (settings.evaluation, "evaluation") if needed == "evaluation" else (settings.bias_check, "bias_check")
    return _check(needed, check, check.tag or tag, facts)


# The verdict -------------------------------------------------------------------------------------------------------


def _verdict(facts: Facts, settings: Promotion, now: float) -> Requirement:
    """The newest decided verdict counts: a pass is valid at whatever look, until a fail follows."""
    state, reason = _judged(facts, settings, now)
    remedy = (
        "" if state is State.HAS else f"have the gate judge {facts.served} against {facts.champion or 'a baseline'}"
    )
    return Requirement(name="verdict", state=state, reason=reason, remedy=remedy)


def _judged(facts: Facts, settings: Promotion, now: float) -> tuple[State, str]:
    if facts.log_problem:
        return State.UNDECIDED, facts.log_problem
    about = [one for one in facts.verdicts if one.canary == facts.served]
    against = [one for one in about if facts.champion is None or one.baseline == facts.champion]
    decided = [one for one in against if one.verdict is not Verdict.INCONCLUSIVE]
    if decided:
        return _weighed(decided[-1], facts, settings, now)
    if against:
        return State.UNDECIDED, f"the gate has not decided: {against[-1].reason}"
    if about:
        return (
            State.MISSING,
            f"{facts.served} was judged against {about[-1].baseline}, and {facts.champion} is champion",
        )
    return State.MISSING, f"the gate has never judged {facts.served}"


def _weighed(last: GivenVerdict, facts: Facts, settings: Promotion, now: float) -> tuple[State, str]:
    """What a decided verdict is worth now."""
    shown = f"record {last.record}, {moment(last.at)}: {last.reason}"
    if last.verdict is Verdict.FAIL:
        return State.FAILED, f"the canary failed ({shown})"
    if last.requests < facts.min_requests:
        return State.FAILED, f"a pass on {last.requests} requests of the canary proves nothing ({shown})"
    if now - last.at > settings.verdict_max_age:
        age, limit = describe_duration(now - last.at), describe_duration(settings.verdict_max_age)
        return State.MISSING, f"the pass is {age} old, and may be {limit} ({shown})"
    return State.HAS, f"pass against {last.baseline} ({shown})"


# Evaluation and bias check -----------------------------------------------------------------------------------------


def _check(name: str, check: Check, tag: str, facts: Facts) -> Requirement:
    if facts.problem or not facts.exists or facts.tags is None:
        reason = facts.problem or "there is no version that could have it"
        return Requirement(name=name, state=State.UNDECIDED, reason=reason)
    said = facts.tags.get(tag)
    if said is not None and said.strip().lower() != check.passed.lower():
        reason = f"the tag {tag} says {said[:100]!r}, not {check.passed!r}"
        return Requirement(name=name, state=State.FAILED, reason=reason, remedy="train again, or mend the check")
    if check.metrics:
        return _metrics(name, check, facts.metrics)
    if said is None:
        remedy = f"have the pipeline set the tag {tag}={check.passed}, or name metrics in promotion.{name}.metrics"
        reason = f"the version has no tag {tag}"
        return Requirement(name=name, state=State.MISSING, reason=reason, remedy=remedy)
    return Requirement(name=name, state=State.HAS, reason=f"the tag {tag} says {said!r}")


def _metrics(name: str, check: Check, found: Mapping[str, float] | None) -> Requirement:
    if found is None:
        reason = "the registry does not say the version's metrics"
        return Requirement(name=name, state=State.UNDECIDED, reason=reason, remedy="ask again")
    lacking = sorted(set(check.metrics) - set(found))
    beyond = [
        f"{metric} is {found[metric]:g}, not {bound}"
        for metric, bound in sorted(check.metrics.items())
        if metric in found and not bound.holds(found[metric])
    ]
    if beyond:
        return Requirement(name=name, state=State.FAILED, reason=", ".join(beyond), remedy="train again")
    if lacking:
        reason = f"the version has no metric {', '.join(lacking)}"
        return Requirement(name=name, state=State.MISSING, reason=reason, remedy="have the pipeline log it")
    shown = ", ".join(f"{metric} {found[metric]:g} ({bound})" for metric, bound in sorted(check.metrics.items()))
    return Requirement(name=name, state=State.HAS, reason=shown)
