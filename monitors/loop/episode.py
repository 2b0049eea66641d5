"""An episode of the loop: what was seen of each step, from drift to a better model in production, and how it ended.

Pure records and what follows from them; nobody is asked here. An episode is made of its records alone, in their order:
a log of them is all the state there is. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise

import msgspec

from monitors.drift.episodes import Trigger


class Step(StrEnum):
    """What happens in an episode, in its usual order. Each is seen from its owner, never assumed from the one before.

    `data_validation`, `evaluation`, `security_scan` and `bias_check` are the pipeline's own checks of what it trains.
    """

    DRIFT = "drift"
    ASKED = "asked"
    RUN_STARTED = "run_started"
    DATA_VALIDATION = "data_validation"
    TRAINED = "trained"
    EVALUATION = "evaluation"
    SECURITY_SCAN = "security_scan"
    BIAS_CHECK = "bias_check"
    REGISTERED = "registered"
    DEPLOYED = "deployed"
    CANARY_BEGUN = "canary_begun"
    CANARY_JUDGED = "canary_judged"
    PROMOTED = "promoted"
    ALL_TRAFFIC = "all_traffic"
    ROLLED_BACK = "rolled_back"
    WELL = "well"


CHECKS = (Step.DATA_VALIDATION, Step.EVALUATION, Step.SECURITY_SCAN, Step.BIAS_CHECK)
"""The pipeline's own checks."""

PATH = tuple(step for step in Step if step not in (*CHECKS, Step.ROLLED_BACK))
"""Steps of an episode that goes well; each is waited for once the ones before were seen or cannot be."""

OF_VERSION = tuple(Step)[tuple(Step).index(Step.REGISTERED) + 1 :]
"""Steps of the version that was registered: owners are asked about it by its name."""

TIMES = (
    Step.DRIFT,
    Step.DRIFT,
    Step.ASKED,
    Step.RUN_STARTED,
    Step.TRAINED,
    Step.REGISTERED,
    Step.CANARY_BEGUN,
    Step.ALL_TRAFFIC,
    Step.WELL,
)
"""The step of each time T0 to T8. T0 is the onset of the drift, T1 the end of the window in which it was detected."""

PHASES = ("detection", "decision", "queue", "training", "registration", "deployment", "canary", "proof")
"""Where the time goes: the phase between each time and the next, from T0 to T8. The last one waits for windows and
labels."""


class Result(StrEnum):
    """What became of a step, as its owner says. `skipped`: it was left out, as by a `when` of a pipeline."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class State(StrEnum):
    """How a step of an episode stands; `waiting` is the next one, `ahead` those behind it.

    `not_seen`: a later one was seen and this one was not. `not_observed`: there is nobody to ask.
    """

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    WAITING = "waiting"
    AHEAD = "ahead"
    NOT_SEEN = "not_seen"
    NOT_OBSERVED = "not_observed"


class Outcome(StrEnum):
    """How an episode ended.

    `worse`: the new version was judged worse, or rolled back. `failed`: a step failed. `abandoned`: the next step did
    not come, or drift ended by itself. `undecided`: it serves, and nothing shows whether it is better.
    """

    OPEN = "open"
    BETTER = "better"
    NO_BETTER = "no_better"
    WORSE = "worse"
    FAILED = "failed"
    ABANDONED = "abandoned"
    UNDECIDED = "undecided"


class Cause(StrEnum):
    """Why an episode ended as it did, where that is no step: else the cause is the step that failed or did not come.

    `drift_gone` and `labels` say what shows that the new version is better; `drift_persists` that retraining does not
    help: the drift is in the world. `drift_ended`: it ended before anybody was asked.
    """

    DRIFT_GONE = "drift_gone"
    DRIFT_PERSISTS = "drift_persists"
    DRIFT_ENDED = "drift_ended"
    LABELS = "labels"


# Records of the evidence log ---------------------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="loop-episode-began"):
    """An episode: drift of `version`, in the window from `onset` to `detected`; `seen` is when it was noticed here.

    `platform` is empty in records of before it was kept.
    """

    episode: str
    model: str
    version: str
    onset: float
    detected: float
    seen: float
    features: tuple[str, ...] = ()
    platform: str = ""


class Asking(msgspec.Struct, frozen=True, kw_only=True, tag="loop-asking"):
    """An attempt to ask for a retraining begins; what a process that died had begun is known by that."""

    episode: str
    attempt: int
    at: float


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="loop-asked"):
    """What became of an attempt; `request` is the id that the other side gave it, such as Tekton's eventID.

    `retry_at` is when the next one is due, for an attempt that may be repeated.
    """

    episode: str
    result: Trigger
    said: str
    at: float
    request: str = ""
    retry_at: float | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True, tag="loop-step"):
    """A step as its owner says it.

    `source` is who was asked (`tekton`, `mlflow`, `prometheus`, …), `id` what it is there (a run, a version). `at` is
    the owner's time, None where it keeps none; then it happened after `not_before`, the last look without it, and until
    `seen`, when it was seen. `said` is for people.
    """

    episode: str
    step: Step
    result: Result
    source: str
    id: str
    at: float | None
    seen: float
    not_before: float | None = None
    said: str = ""
    facts: dict[str, str] = {}

    @property
    def time(self) -> float:
        """The owner's time, else when it was seen."""
        return self.seen if self.at is None else self.at


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="loop-episode-ended"):
    """How an episode ended; `cause` is a `Cause` or the step that failed or did not come."""

    episode: str
    outcome: Outcome
    cause: str
    at: float
    said: str


Record = Began | Asking | Asked | Seen | Ended


# The episode -------------------------------------------------------------------------------------------------------


class Episode(msgspec.Struct, kw_only=True):
    """Everything that was seen of one drift of a model, and of the retraining that it led to."""

    id: str
    model: str
    version: str
    onset: float
    detected: float
    noticed: float
    features: tuple[str, ...] = ()
    platform: str = ""
    trigger: Trigger = Trigger.NONE
    attempts: int = 0
    retry_at: float = 0.0
    request: str = ""
    said: str = ""
    steps: list[Seen] = []
    outcome: Outcome = Outcome.OPEN
    cause: str = ""
    ended: float | None = None
    ending: str = ""

    @classmethod
    def of(cls, record: Began) -> Episode:
        """An episode that has just begun."""
        return cls(
            id=record.episode,
            model=record.model,
            version=record.version,
            onset=record.onset,
            detected=record.detected,
            noticed=record.seen,
            features=record.features,
            platform=record.platform,
        )

    # What was seen -------------------------------------------------------------------------------------------------

    def last(self, step: Step) -> Seen | None:
        """What was seen last of a step, of whatever source."""
        return next((one for one in reversed(self.steps) if one.step is step), None)

    def first_done(self, step: Step) -> Seen | None:
        """When a step was first seen done."""
        return next((one for one in self.steps if one.step is step and one.result is Result.DONE), None)

    def is_done(self, step: Step) -> bool:
        """Whether somebody saw it done, and nobody saw it fail since."""
        last = self.last(step)
        return last is not None and last.result is Result.DONE

    @property
    def new_version(self) -> str | None:
        """The version that was registered for it, as servers call it; None before."""
        found = self.first_done(Step.REGISTERED)
        return found.facts.get("served_as") if found else None

    @property
    def run(self) -> str | None:
        """What the run is called where it runs; None before one was seen."""
        found = self.last(Step.RUN_STARTED)
        return found.id if found else None

    # Where it stands -----------------------------------------------------------------------------------------------

    def time(self, step: Step) -> float | None:
        """When a step was done, by its owner's time; the detection's for the drift, None for what was not seen."""
        if step is Step.DRIFT:
            return self.detected
        found = self.first_done(step)
        return found.time if found else None

    def times(self) -> list[float | None]:
        """T0 to T8."""
        return [self.onset, *(self.time(step) for step in TIMES[1:])]

    def phases(self) -> dict[str, float]:
        """Seconds of each phase whose both ends were seen. Clocks of two owners may disagree: none is below 0."""
        times = self.times()
        return {
            phase: max(0.0, end - begun)
            for phase, begun, end in zip(PHASES, times, times[1:], strict=False)
            if begun is not None and end is not None
        }

    def durations(self) -> dict[Step, float]:
        """Seconds from the step of the path that was seen before to each that was seen."""
        seen = [(step, at) for step in PATH if (at := self.time(step)) is not None]
        return {step: max(0.0, at - before) for (_, before), (step, at) in pairwise(seen)}

    def path(self) -> tuple[Step, ...]:
        """The steps that this episode has to take: back, once the canary failed."""
        judged = self.last(Step.CANARY_JUDGED)
        if judged is None or judged.result is not Result.FAILED:
            return PATH
        return (*PATH[: PATH.index(Step.CANARY_JUDGED) + 1], Step.ROLLED_BACK)

    def waiting_for(self, unobserved: Iterable[Step] = ()) -> Step | None:
        """The next step that can be seen, or where none can be, the next one; None when it has ended or all were."""
        if self.outcome is not Outcome.OPEN:
            return None
        path, blind = self.path(), frozenset(unobserved)
        done = [place for place, step in enumerate(path) if step is Step.DRIFT or self.last(step) is not None]
        ahead = path[max(done) + 1 :]
        return next((step for step in ahead if step not in blind), next(iter(ahead), None))

    def waiting_since(self) -> float:
        """When the last step was seen: since then the next one is waited for."""
        return max([self.detected, self.noticed, *(one.seen for one in self.steps)])

    def states(self, unobserved: Iterable[Step] = ()) -> dict[Step, State]:
        """How every step stands; `unobserved` are those that nobody can be asked about."""
        blind = frozenset(unobserved)
        waiting = self.waiting_for(blind)
        later = [place for place, step in enumerate(PATH) if self.last(step) is not None]
        reached = max(later, default=0)
        return {step: self._state(step, waiting, reached, step in blind) for step in Step}

    def _state(self, step: Step, waiting: Step | None, reached: int, is_blind: bool) -> State:
        last = self.last(step)
        if step is Step.DRIFT:
            return State.DONE
        if last is not None:
            return State(last.result.value)
        if is_blind:
            return State.NOT_OBSERVED
        if step is waiting:
            return State.WAITING
        return State.NOT_SEEN if step in PATH and PATH.index(step) < reached else State.AHEAD


def applied(episodes: dict[str, Episode], record: Record) -> Episode:
    """Take a record into the episodes by id; the episode it is of. KeyError for one that never began."""
    if isinstance(record, Began):
        episode = episodes[record.episode] = Episode.of(record)
        return episode
    episode = episodes[record.episode]
    match record:
        case Asking():
            episode.trigger, episode.attempts = Trigger.SENDING, record.attempt
        case Asked():
            episode.trigger, episode.said = record.result, record.said
            episode.request = record.request or episode.request
            episode.retry_at = record.retry_at or record.at
        case Seen():
            episode.steps.append(record)
        case Ended():
            episode.outcome, episode.cause = record.outcome, record.cause
            episode.ended, episode.ending = record.at, record.said
    return episode
