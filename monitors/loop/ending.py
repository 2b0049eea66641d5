"""When an episode has ended, and how: pure rules over what was seen of it.

What did not come yet ends nothing before the time that the platform file gives it. What an owner who does not answer
would have said is not taken for missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from midwatch.spec.values import format_duration
from monitors.drift.episodes import Trigger
from monitors.loop.better import Helped, Verdict
from monitors.loop.episode import CHECKS, Cause, Ended, Episode, Outcome, Result, Seen, Step

BAD_RUNS = ("failed", "cancelled")


_BY_LABELS = {
    Verdict.BETTER: Outcome.BETTER,
    Verdict.NO_BETTER: Outcome.NO_BETTER,
    Verdict.WORSE: Outcome.WORSE,
}
"""What labels that decide make of an episode whose new version does not drift."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known beside the episode's records.

    `calm`: every judge says that the old version does not drift. `answered`: owners that answered just now. `blind`:
    steps that nobody can be asked about; `unanswered`: those of which somebody who was asked did not answer. `helped`
    is what the labels of both versions say; None where nobody compares them. `decide_within` is how long they are
    waited for once the drift is gone; None for not at all.
    """

    now: float
    give_up_after: float
    interval: float
    calm: bool = False
    answered: frozenset[str] = frozenset()
    blind: frozenset[Step] = frozenset()
    unanswered: frozenset[Step] = frozenset()
    helped: Helped | None = None
    decide_within: float | None = None


def judge(episode: Episode, facts: Facts) -> Ended | None:
    """How the episode has ended; None while it is open."""
    return next(_endings(episode, facts), None)


def _endings(episode: Episode, facts: Facts) -> Iterator[Ended]:
    yield from _before_the_run(episode, facts)
    yield from _of_the_run(episode, facts)
    yield from _of_the_version(episode, facts)
    yield from _given_up(episode, facts)


def _before_the_run(episode: Episode, facts: Facts) -> Iterator[Ended]:
    if episode.trigger is Trigger.FAILED:
        said = f"nobody took the request: {episode.said}"
        yield _ended(episode, facts, Outcome.FAILED, Step.ASKED, said)
    if episode.trigger in (Trigger.NONE, Trigger.PENDING, Trigger.WITHDRAWN) and facts.calm:
        said = "the drift ended by itself, before a retraining was asked for"
        yield _ended(episode, facts, Outcome.ABANDONED, Cause.DRIFT_ENDED, said)


def _of_the_run(episode: Episode, facts: Facts) -> Iterator[Ended]:
    if episode.first_done(Step.REGISTERED) is not None:
        return  # a `finally` task may fail after it: the version is there
    trained = episode.last(Step.TRAINED)
    if trained is None:
        return
    if trained.result is not Result.DONE and not _may_be_tried_again(episode, trained):
        yield _ended(episode, facts, Outcome.FAILED, _failed_check(episode) or Step.TRAINED, trained.said)
    run_ended = float(trained.facts.get("ended", "inf"))
    is_old = facts.now - max(run_ended, trained.seen) > 2 * facts.interval
    if trained.facts.get("run") in BAD_RUNS and is_old and "mlflow" in facts.answered:
        said = f"the run {trained.facts['run']}, and no version of it was registered: {_tasks(trained)}"
        yield _ended(episode, facts, Outcome.FAILED, _failed_check(episode) or Step.REGISTERED, said)


def _may_be_tried_again(episode: Episode, trained: Seen) -> bool:
    """Whether it is MLflow's run that failed, in a task of a pipeline that still runs: a task may have retries."""
    of_pipeline = [one for one in episode.steps if one.source == "tekton"]
    has_ended = any(one.facts.get("run", "running") != "running" for one in of_pipeline)
    return trained.source == "mlflow" and bool(of_pipeline) and not has_ended


def _failed_check(episode: Episode) -> Step | None:
    return next((step for step in CHECKS if (one := episode.last(step)) and one.result is Result.FAILED), None)


def _tasks(trained: Seen) -> str:
    failed, skipped = trained.facts.get("failed"), trained.facts.get("skipped")
    parts = [f"failed: {failed}" if failed else "", f"left out: {skipped}" if skipped else ""]
    return "; ".join(part for part in parts if part) or "none of its tasks says why"


def _of_the_version(episode: Episode, facts: Facts) -> Iterator[Ended]:
    back = episode.last(Step.ROLLED_BACK)
    if back is not None:
        judged = episode.last(Step.CANARY_JUDGED)
        is_judged = judged is not None and judged.result is Result.FAILED
        cause = Step.CANARY_JUDGED if is_judged else Step.ROLLED_BACK
        said = f"{judged.said}; {back.said}" if judged is not None and is_judged else back.said
        yield _ended(episode, facts, Outcome.WORSE, cause, said)
    well = episode.last(Step.WELL)
    if well is not None and well.result is Result.FAILED:
        said = f"{well.said}; the drift is in the world, or upstream of the model"
        yield _ended(episode, facts, Outcome.NO_BETTER, Cause.DRIFT_PERSISTS, said)
    elif well is not None:
        yield from _well(episode, facts, well)


def _well(episode: Episode, facts: Facts, well: Seen) -> Iterator[Ended]:
    """The end of an episode whose new version does not drift: its labels decide, if they can within their time."""
    helped = facts.helped
    outcome = _BY_LABELS.get(helped.verdict) if helped is not None else None
    if helped is not None and outcome is not None:
        yield _ended(episode, facts, outcome, Cause.LABELS, f"{helped.reading} {helped.reason}".strip())
    elif facts.decide_within is None:
        yield _ended(episode, facts, Outcome.BETTER, Cause.DRIFT_GONE, well.said)
    elif facts.now - well.seen > facts.decide_within:
        said = helped.reason if helped is not None else "nobody compares the labels of the two versions"
        yield _ended(episode, facts, Outcome.UNDECIDED, Cause.LABELS, said)


def _given_up(episode: Episode, facts: Facts) -> Iterator[Ended]:
    missing = episode.waiting_for(facts.blind)
    if missing in facts.unanswered:
        return  # it may have come
    if missing is not None and facts.now - episode.waiting_since() > facts.give_up_after:
        waited = format_duration(facts.give_up_after)
        came = "nobody can say whether it came" if missing in facts.blind else "did not come"
        said = f"{missing}: {came} within {waited}{_unseen(facts.blind)}"
        yield _ended(episode, facts, Outcome.ABANDONED, missing, said)


def _unseen(blind: Iterable[Step]) -> str:
    return f"; not observed: {', '.join(sorted(blind))}" if blind else ""


def _ended(episode: Episode, facts: Facts, outcome: Outcome, cause: Step | Cause, said: str) -> Ended:
    return Ended(episode=episode.id, outcome=outcome, cause=cause.value, at=facts.now, said=said)
