"""Drills of the loop that must not be believed: each is a good one with one thing wrong, and none of them is MET."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from midwatch.drills import Verdict
from monitors.drift.episodes import Trigger
from monitors.loop import episode as loop
from monitors.loop.drill import facts, judge
from monitors.loop.drill.facts import Counted, Fact, Registry, RegistryVersion, Sent, Told
from monitors.loop.drill.judge import Objectives
from monitors.loop.episode import Asked, Began, Ended, Outcome, Result, Seen, Step

OBJECTIVES = Objectives(recover_within=600.0, limit=1200.0)
BOOT = 1_700_000_000.0
"""Wall time of the drill's first second."""
LOOK = 2
"""Seconds between two looks."""
RATE = 20
"""Requests a second."""
OLD, NEW = "v3", "v4"
INJECTED, CANARY, FULL, WITHDRAWN, END = 30, 130, 166, 214, 220
"""Seconds of the drill: the drift begins, a canary has a fifth of the traffic, then all of it, the drift ends."""
EPISODE = "0123456789abcdef"

RUN = "training/retrain-fraud-drill-7"

Mutable = Any


def nanoseconds(second: float) -> int:
    return 10**9 + int(second * 10**9)


def moment(second: float) -> dict[str, Any]:
    return {"at": nanoseconds(second), "wall": BOOT + second}


class Story:
    """A drill that went well, second by second; `lies` change its facts."""

    def __init__(self, seed: int, **changes: float) -> None:
        rng = random.Random(seed)
        self.log_problems: list[str] = []
        self.times: dict[str, float] = {
            "detected": 60 + rng.uniform(0, 4),
            "asked": 66 + rng.uniform(0, 2),
            "run_started": 70 + rng.uniform(0, 3),
            "data_validation": 76,
            "trained": 110 + rng.uniform(0, 5),
            "evaluation": 117,
            "bias_check": 118,
            "security_scan": 118,
            "registered": 120 + rng.uniform(0, 2),
            "deployed": 124,
            "canary_begun": CANARY,
            "canary_judged": 158 + rng.uniform(0, 2),
            "promoted": 162,
            "all_traffic": FULL,
            "well": 200 + rng.uniform(0, 3),
            **changes,
        }
        self.facts: list[Mutable] = [*self._beginning(), *self._looks(), *self._records()]
        self.facts.append(
            facts.Run(
                **moment(self.times["run_started"] + 2),
                source="tekton",
                id=RUN,
                created=BOOT + self.times["run_started"] - 1,
                request="event-7",
            )
        )
        self.facts += [facts.Withdrawn(**moment(WITHDRAWN)), facts.Finished(**moment(END))]
        self.sort()

    def sort(self) -> None:
        self.facts.sort(key=lambda fact: fact.at)

    def _beginning(self) -> list[Mutable]:
        known = {"episodes": ("an-older-one",), "runs": ("training/retrain-fraud-drill-older",)}
        start = facts.Started(
            **moment(0), run="r", boot="b", model="fraud", stream="fraud-drill", interval=LOOK, **known
        )
        return [start, facts.Injected(**moment(INJECTED), what="amount times 100")]

    def share(self, second: float) -> float:
        """Share of the new version."""
        return 0.0 if second < CANARY else 0.2 if second < FULL else 1.0

    def _looks(self) -> list[Mutable]:
        found: list[Mutable] = []
        requests = {OLD: 1000.0, NEW: 0.0}
        windows = {OLD: {"stable": 5.0, "drift": 0.0}, NEW: {"stable": 0.0, "drift": 0.0}}
        for second in range(0, END, LOOK):
            sent = RATE * second
            found.append(Sent(**moment(second), sent=sent, answered=sent, drifted=max(0, sent - RATE * INJECTED)))
            if second:
                new = LOOK * RATE * self.share(second - LOOK)
                requests = {OLD: requests[OLD] + LOOK * RATE - new, NEW: requests[NEW] + new}
            if second % 10 == 0 and second:
                version = NEW if second > FULL else OLD
                windows[version]["drift" if version == OLD and second > INJECTED else "stable"] += 1
            copied = {version: dict(verdicts) for version, verdicts in windows.items()}
            found.append(Counted(**moment(second + 0.1), requests=dict(requests), windows=copied))
            found.append(self._registry(second + 0.2))
        return found

    def _registry(self, second: float) -> Registry:
        times = self.times
        versions = [RegistryVersion(number="3", created=BOOT - 86400.0, run_id="t3", promoted_by="gate")]
        is_promoted = second >= times["promoted"]
        if second >= times["registered"]:
            promoted_by = "gate" if is_promoted else ""
            versions.append(
                RegistryVersion(number="4", created=BOOT + times["registered"], run_id="t4", promoted_by=promoted_by)
            )
        return Registry(**moment(second), versions=tuple(versions), champion="4" if is_promoted else "3")

    def _records(self) -> list[Mutable]:
        began = Began(
            episode=EPISODE,
            model="fraud-drill",
            version=OLD,
            onset=BOOT + INJECTED - 5,
            detected=BOOT + self.times["detected"],
            seen=BOOT + self.times["detected"] + 1,
        )
        asking = self.times["asked"] - 0.5
        found = [
            told(self.times["detected"] + 1, began),
            told(asking, loop.Asking(episode=EPISODE, attempt=1, at=BOOT + asking)),
            told(
                self.times["asked"],
                Asked(
                    episode=EPISODE, result=Trigger.SENT, said="202", at=BOOT + self.times["asked"], request="event-7"
                ),
            ),
        ]
        for name, second in self.times.items():
            if name != "detected":
                found.append(self.step(Step(name), second))
        ended = Ended(
            episode=EPISODE,
            outcome=Outcome.BETTER,
            cause="drift_gone",
            at=BOOT + self.times["well"] + 1,
            said="drift is gone",
        )
        return [*found, told(self.times["well"] + 1, ended)]

    def step(self, step: Step, second: float) -> Told:
        ids = {
            Step.RUN_STARTED: ("tekton", RUN, {}),
            Step.TRAINED: ("tekton", RUN, {"run": "succeeded", "mlflow_run": "t4"}),
            Step.REGISTERED: ("mlflow", "4", {"served_as": NEW, "run_id": "t4"}),
            Step.CANARY_JUDGED: ("gate", NEW, {}),
        }
        source, number, more = ids.get(step, ("tekton", "x", {}))
        seen = Seen(
            episode=EPISODE,
            step=step,
            result=Result.DONE,
            source=source,
            id=number,
            at=BOOT + second,
            seen=BOOT + second + 1,
            facts=more,
        )
        return told(second + 1, seen)

    # Changing it -----------------------------------------------------------------------------------------------------

    def change(self, kind: type[Fact], condition: Callable[[Any], bool] = lambda _: True, **changes: Any) -> None:
        """Change facts of a kind; a value may be made from the fact."""
        self.facts = [
            replace(one, **{name: value(one) if callable(value) else value for name, value in changes.items()})
            if isinstance(one, kind) and condition(one)
            else one
            for one in self.facts
        ]

    def drop(self, condition: Callable[[Any], bool]) -> None:
        self.facts = [one for one in self.facts if not condition(one)]

    def change_step(self, step: Step, **changes: Any) -> None:
        """Change what the loop says of a step."""
        self.change(Told, lambda fact: fact.data.get("step") == step, data=lambda fact: {**fact.data, **changes})

    def change_record(self, kind: str, **changes: Any) -> None:
        self.change(Told, lambda fact: fact.kind == kind, data=lambda fact: {**fact.data, **changes})

    def end_after(self, step: Step) -> None:
        """Nothing came after a step: the loop saw no more, and the copy's traffic stays with the old version."""
        at = next(one.at for one in self.facts if isinstance(one, Told) and one.data.get("step") == step)
        self.drop(lambda one: isinstance(one, Told) and one.at > at)
        self.keep_the_old_version()

    def keep_the_old_version(self) -> None:
        self.change(Counted, requests=lambda one: {OLD: sum(one.requests.values()), NEW: 0.0})
        self.change(
            Counted,
            windows=lambda one: {OLD: {"stable": 5.0, "drift": max(0.0, (one.wall - BOOT - INJECTED) // 10)}, NEW: {}},
        )

    def judged(self, objectives: Objectives = OBJECTIVES) -> judge.Result:
        return judge.judge(judge.Evidence(facts=self.facts, log_problems=self.log_problems), objectives)


def told(second: float, record: loop.Record) -> Told:
    data = msgspec.to_builtins(record)
    return Told(**moment(second), kind=data.pop("type"), data=data)


Lie = Callable[[Story, random.Random], None]

# Pipelines -----------------------------------------------------------------------------------------------------------


def pipeline_that_does_nothing(story: Story, _: random.Random) -> None:
    """It succeeds in a second, and registers nothing."""
    story.end_after(Step.TRAINED)
    story.change(Registry, versions=lambda one: one.versions[:1], champion="3")


def taken_without_a_run(story: Story, _: random.Random) -> None:
    """202, and nothing was created."""
    story.end_after(Step.ASKED)
    story.change(Registry, versions=lambda one: one.versions[:1], champion="3")


def completed_with_a_skipped_registration(story: Story, _: random.Random) -> None:
    story.change_step(Step.REGISTERED, result="skipped", said="the run is Completed: when")
    story.change(Registry, versions=lambda one: one.versions[:1], champion="3")
    story.keep_the_old_version()


def evaluation_that_was_skipped(story: Story, _: random.Random) -> None:
    story.change_step(Step.EVALUATION, result="skipped")


def bias_check_that_failed(story: Story, _: random.Random) -> None:
    story.change_step(Step.BIAS_CHECK, result="failed")


def run_of_another_episode(story: Story, _: random.Random) -> None:
    story.change(facts.Run, episode="fedcba9876543210", request="")


def run_of_another_request(story: Story, _: random.Random) -> None:
    story.change(facts.Run, request="event-6")


def run_that_its_owner_does_not_know(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, facts.Run))


def run_that_is_older_than_the_drift(story: Story, rng: random.Random) -> None:
    story.change(facts.Run, created=BOOT - rng.uniform(60, 86400))


def run_whose_name_was_used_before(story: Story, _: random.Random) -> None:
    for step in (Step.RUN_STARTED, Step.TRAINED):
        story.change_step(step, id="training/retrain-fraud-drill-older")


def another_run_trained(story: Story, _: random.Random) -> None:
    story.change_step(Step.TRAINED, id="training/retrain-fraud-drill-8")


def two_retrainings_of_one_episode(story: Story, _: random.Random) -> None:
    again = next(one for one in story.facts if isinstance(one, Told) and one.kind == "loop-asked")
    story.facts.append(replace(again, at=again.at + 1, data={**again.data, "request": "event-8"}))
    story.sort()


def two_runs_of_one_request(story: Story, _: random.Random) -> None:
    again = story.step(Step.RUN_STARTED, story.times["run_started"] + 1)
    story.facts.append(replace(again, data={**again.data, "id": "training/retrain-fraud-drill-8"}))
    story.sort()


# The registry --------------------------------------------------------------------------------------------------------


def registry_that_answers_another_version(story: Story, _: random.Random) -> None:
    story.change(
        Registry, versions=lambda one: tuple(replace(v, number=v.number.replace("4", "5")) for v in one.versions)
    )


def registry_that_answers_an_old_version(story: Story, _: random.Random) -> None:
    story.change_step(Step.REGISTERED, id="3", facts={"served_as": OLD, "run_id": "t3"})


def version_that_was_there_before_the_drill(story: Story, _: random.Random) -> None:
    last = next(one for one in reversed(story.facts) if isinstance(one, Registry))
    story.change(Registry, versions=last.versions)


def version_that_is_older_than_its_run(story: Story, rng: random.Random) -> None:
    hours = rng.uniform(3600, 86400)
    story.change(
        Registry,
        versions=lambda one: tuple(
            replace(v, created=v.created - hours) if v.number == "4" else v for v in one.versions
        ),
    )


def version_of_another_training(story: Story, _: random.Random) -> None:
    story.change_step(Step.REGISTERED, facts={"served_as": NEW, "run_id": "t5"})


def version_that_the_run_did_not_make(story: Story, _: random.Random) -> None:
    story.change_step(Step.TRAINED, facts={"run": "succeeded", "mlflow_run": "t9"})


def nobody_asked_the_registry(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, Registry))


# The canary and the promotion ----------------------------------------------------------------------------------------


def canary_that_passes_without_traffic(story: Story, _: random.Random) -> None:
    def without(one: Counted) -> dict[str, float]:
        is_canary = one.wall < BOOT + FULL
        return {OLD: sum(one.requests.values()), NEW: 0.0} if is_canary else one.requests

    story.change(Counted, requests=without)


def canary_that_was_undecided(story: Story, _: random.Random) -> None:
    story.change_step(Step.CANARY_JUDGED, result="skipped", said="inconclusive")


def canary_that_failed_and_was_promoted(story: Story, _: random.Random) -> None:
    story.change_step(Step.CANARY_JUDGED, result="failed", said="fail")


def canary_that_nobody_judged(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, Told) and one.data.get("step") == Step.CANARY_JUDGED)


def canary_of_another_version(story: Story, _: random.Random) -> None:
    story.change_step(Step.CANARY_JUDGED, id="v2")


def promoted_by_hand(story: Story, _: random.Random) -> None:
    story.change(Registry, versions=lambda one: tuple(replace(v, promoted_by="") for v in one.versions))


def promoted_before_the_verdict(story: Story, rng: random.Random) -> None:
    early = BOOT + CANARY + rng.uniform(0, 10)
    story.change(Registry, lambda one: one.wall >= early, champion="4")


def promotion_that_the_registry_does_not_know(story: Story, _: random.Random) -> None:
    story.change(Registry, champion="3")


def champion_that_was_set_back(story: Story, _: random.Random) -> None:
    story.change(Registry, lambda one: one.wall >= BOOT + 205, champion="3")


def version_that_never_receives_traffic(story: Story, _: random.Random) -> None:
    story.change(Counted, requests=lambda one: {OLD: sum(one.requests.values()), NEW: 0.0})


def version_that_loses_its_traffic_again(story: Story, _: random.Random) -> None:
    story.change(
        Counted,
        lambda one: one.wall > BOOT + 206,
        requests=lambda one: {OLD: one.requests[OLD] + RATE * (one.wall - BOOT - 206), NEW: one.requests[NEW]},
    )


# Drift ---------------------------------------------------------------------------------------------------------------


def drift_that_ended_as_traffic_stopped(story: Story, _: random.Random) -> None:
    stopped = RATE * 100
    story.change(Sent, lambda one: one.answered > stopped, answered=stopped)


def drift_that_ended_with_the_injection(story: Story, _: random.Random) -> None:
    story.change(facts.Withdrawn, **moment(FULL + 4))
    story.sort()


def drift_that_only_some_requests_carry(story: Story, _: random.Random) -> None:
    story.change(Sent, drifted=lambda one: one.drifted // 2)


def drift_that_was_there_before(story: Story, _: random.Random) -> None:
    story.change(
        Counted,
        windows=lambda one: {OLD: {"stable": 0.0, "drift": (one.wall - BOOT) // 5}, NEW: one.windows[NEW]},
    )


def drift_that_the_new_version_has_too(story: Story, _: random.Random) -> None:
    story.change(
        Counted,
        lambda one: one.windows[NEW]["stable"] > 1,
        windows=lambda one: {OLD: one.windows[OLD], NEW: {"stable": 1.0, "drift": one.windows[NEW]["stable"] - 1}},
    )


def no_window_of_the_new_version(story: Story, _: random.Random) -> None:
    story.change(Counted, windows=lambda one: {OLD: one.windows[OLD], NEW: {}})


def nothing_was_injected(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, facts.Injected))


def episode_that_was_open_before(story: Story, _: random.Random) -> None:
    story.change(facts.Started, open="an-older-one")


def episode_of_before_the_drill(story: Story, _: random.Random) -> None:
    story.change(facts.Started, episodes=("an-older-one", EPISODE))


def other_requests_of_the_copy(story: Story, _: random.Random) -> None:
    story.change(Counted, requests=lambda one: {version: 3 * count for version, count in one.requests.items()})


# What shows that it is better ----------------------------------------------------------------------------------------


def new_version_that_is_no_better(story: Story, _: random.Random) -> None:
    story.change_record("loop-episode-ended", outcome="no_better", cause="drift_persists")


def nobody_knows_whether_it_is_better(story: Story, _: random.Random) -> None:
    story.change_record("loop-episode-ended", outcome="undecided")


def episode_that_has_not_ended(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, Told) and one.kind == "loop-episode-ended")


# Sight, clocks and evidence ------------------------------------------------------------------------------------------


def metrics_that_were_blind(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, Counted) and BOOT + 80 < one.wall < BOOT + 155)


def no_metrics_at_all(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, Counted))


def wall_clock_that_stepped(story: Story, rng: random.Random) -> None:
    hours = rng.choice([-1, 1]) * rng.uniform(60, 3600)
    story.change(Fact, lambda one: one.at > nanoseconds(100), wall=lambda one: one.wall + hours)


def clock_that_ran_backwards(story: Story, _: random.Random) -> None:
    story.facts[100], story.facts[300] = story.facts[300], story.facts[100]


def owner_whose_clock_is_ahead(story: Story, rng: random.Random) -> None:
    story.change_step(Step.PROMOTED, at=BOOT + END + rng.uniform(60, 3600))


def gate_whose_clock_is_ahead(story: Story, rng: random.Random) -> None:
    story.change_step(Step.CANARY_JUDGED, at=BOOT + END + rng.uniform(60, 3600))


def gate_whose_clock_is_behind(story: Story, _: random.Random) -> None:
    story.change_step(Step.CANARY_JUDGED, at=BOOT + CANARY)


def owner_whose_clock_is_behind(story: Story, rng: random.Random) -> None:
    story.change_step(Step.RUN_STARTED, at=BOOT - rng.uniform(60, 3600))


def training_that_ends_before_it_begins(story: Story, _: random.Random) -> None:
    story.change_step(Step.TRAINED, at=BOOT + 50)


def drill_that_was_killed(story: Story, _: random.Random) -> None:
    story.drop(lambda one: isinstance(one, facts.Finished))


def drill_that_began_twice(story: Story, _: random.Random) -> None:
    story.facts.insert(1, story.facts[0])


def evidence_that_was_changed(story: Story, _: random.Random) -> None:
    story.log_problems.append("record 7 is not what was written")


def record_that_nobody_can_read(story: Story, _: random.Random) -> None:
    story.change_step(Step.PROMOTED, result="exalted")


def step_that_nobody_saw(story: Story, rng: random.Random) -> None:
    chosen = rng.choice([Step.ASKED, Step.RUN_STARTED, Step.TRAINED, Step.WELL])
    story.drop(lambda one: isinstance(one, Told) and one.data.get("step") == chosen)


LIES: dict[Lie, Verdict] = {
    pipeline_that_does_nothing: Verdict.INCONCLUSIVE,
    taken_without_a_run: Verdict.INCONCLUSIVE,
    completed_with_a_skipped_registration: Verdict.INCONCLUSIVE,
    evaluation_that_was_skipped: Verdict.BREACHED,
    bias_check_that_failed: Verdict.BREACHED,
    run_of_another_episode: Verdict.INCONCLUSIVE,
    run_of_another_request: Verdict.INCONCLUSIVE,
    run_that_its_owner_does_not_know: Verdict.INCONCLUSIVE,
    run_that_is_older_than_the_drift: Verdict.INCONCLUSIVE,
    version_that_the_run_did_not_make: Verdict.INCONCLUSIVE,
    run_whose_name_was_used_before: Verdict.INCONCLUSIVE,
    another_run_trained: Verdict.INCONCLUSIVE,
    two_retrainings_of_one_episode: Verdict.BREACHED,
    two_runs_of_one_request: Verdict.BREACHED,
    registry_that_answers_another_version: Verdict.INCONCLUSIVE,
    registry_that_answers_an_old_version: Verdict.INCONCLUSIVE,
    version_that_was_there_before_the_drill: Verdict.INCONCLUSIVE,
    version_that_is_older_than_its_run: Verdict.INCONCLUSIVE,
    version_of_another_training: Verdict.INCONCLUSIVE,
    nobody_asked_the_registry: Verdict.INCONCLUSIVE,
    canary_that_passes_without_traffic: Verdict.BREACHED,
    canary_that_was_undecided: Verdict.BREACHED,
    canary_that_failed_and_was_promoted: Verdict.BREACHED,
    canary_that_nobody_judged: Verdict.BREACHED,
    canary_of_another_version: Verdict.INCONCLUSIVE,
    promoted_by_hand: Verdict.INCONCLUSIVE,
    promoted_before_the_verdict: Verdict.BREACHED,
    promotion_that_the_registry_does_not_know: Verdict.INCONCLUSIVE,
    champion_that_was_set_back: Verdict.INCONCLUSIVE,
    version_that_never_receives_traffic: Verdict.BREACHED,
    version_that_loses_its_traffic_again: Verdict.INCONCLUSIVE,
    drift_that_ended_as_traffic_stopped: Verdict.INCONCLUSIVE,
    drift_that_ended_with_the_injection: Verdict.INCONCLUSIVE,
    drift_that_only_some_requests_carry: Verdict.INCONCLUSIVE,
    drift_that_was_there_before: Verdict.INCONCLUSIVE,
    drift_that_the_new_version_has_too: Verdict.BREACHED,
    no_window_of_the_new_version: Verdict.INCONCLUSIVE,
    nothing_was_injected: Verdict.INCONCLUSIVE,
    episode_that_was_open_before: Verdict.INCONCLUSIVE,
    episode_of_before_the_drill: Verdict.INCONCLUSIVE,
    other_requests_of_the_copy: Verdict.INCONCLUSIVE,
    new_version_that_is_no_better: Verdict.BREACHED,
    nobody_knows_whether_it_is_better: Verdict.INCONCLUSIVE,
    episode_that_has_not_ended: Verdict.INCONCLUSIVE,
    metrics_that_were_blind: Verdict.INCONCLUSIVE,
    no_metrics_at_all: Verdict.INCONCLUSIVE,
    wall_clock_that_stepped: Verdict.INCONCLUSIVE,
    clock_that_ran_backwards: Verdict.INCONCLUSIVE,
    owner_whose_clock_is_ahead: Verdict.INCONCLUSIVE,
    gate_whose_clock_is_ahead: Verdict.INCONCLUSIVE,
    gate_whose_clock_is_behind: Verdict.INCONCLUSIVE,
    owner_whose_clock_is_behind: Verdict.INCONCLUSIVE,
    training_that_ends_before_it_begins: Verdict.INCONCLUSIVE,
    drill_that_was_killed: Verdict.INCONCLUSIVE,
    drill_that_began_twice: Verdict.INCONCLUSIVE,
    evidence_that_was_changed: Verdict.INCONCLUSIVE,
    record_that_nobody_can_read: Verdict.INCONCLUSIVE,
    step_that_nobody_saw: Verdict.INCONCLUSIVE,
}
"""What each proves: that a promise was broken, or nothing, which is not a pass either."""


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_no_lying_drill_is_met(lie: Lie, seed: int) -> None:
    story = Story(seed)
    honest = story.judged()
    assert honest.verdict is Verdict.MET, honest.reasons
    lie(story, random.Random(seed))
    result = story.judged()
    assert result.verdict is LIES[lie], result.reasons
    assert result.reasons


@pytest.mark.parametrize("seed", range(8))
def test_an_honest_drill_is_met_and_its_time_is_from_the_drift_to_all_traffic(seed: int) -> None:
    result = Story(seed).judged()
    assert (result.verdict, result.reasons, result.exceeds) == (Verdict.MET, (), False)
    assert result.recovery_seconds == pytest.approx(FULL - INJECTED, abs=2 * LOOK)
    assert (result.old_version, result.new_version, result.episode) == (OLD, NEW, EPISODE)
    assert [phase.name for phase in result.phases] == list(loop.PHASES)
    assert result.phases[-1].at == pytest.approx(200 - INJECTED, abs=4)
    assert sum(phase.seconds or 0 for phase in result.phases) == pytest.approx(result.phases[-1].at or 0)


def test_a_recovery_that_takes_longer_than_promised_is_breached() -> None:
    result = Story(1).judged(Objectives(recover_within=120.0, limit=600.0))
    assert (result.verdict, result.exceeds) == (Verdict.BREACHED, False)
    assert "promised 120 s" in result.reasons[0]


def test_a_recovery_within_its_resolution_of_the_promise_is_undecided() -> None:
    seconds = Story(1).judged().recovery_seconds or 0.0
    result = Story(1).judged(Objectives(recover_within=seconds + 1, limit=600.0))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "within their resolution" in result.reasons[0]


@pytest.mark.parametrize(
    "lie", [pipeline_that_does_nothing, taken_without_a_run, completed_with_a_skipped_registration]
)
def test_no_better_version_within_the_promise_is_breached_with_the_time_that_was_watched(lie: Lie) -> None:
    story = Story(1)
    lie(story, random.Random(1))
    result = story.judged(Objectives(recover_within=100.0, limit=600.0))
    assert (result.verdict, result.exceeds) == (Verdict.BREACHED, True)
    assert result.recovery_seconds == pytest.approx(WITHDRAWN - INJECTED)
    assert story.judged().verdict is Verdict.INCONCLUSIVE  # watched for less than is promised


def test_steps_of_the_pipeline_that_nobody_saw_are_noted() -> None:
    story = Story(1)
    story.drop(lambda one: isinstance(one, Told) and one.data.get("step") == Step.SECURITY_SCAN)
    result = story.judged()
    assert (result.verdict, result.notes) == (Verdict.MET, ("nobody saw the pipeline's security_scan",))


def test_a_training_that_two_owners_see_is_one_run() -> None:
    story = Story(1)
    for step in (Step.RUN_STARTED, Step.TRAINED):
        seen = story.step(step, story.times[step] + 1)
        story.facts.append(replace(seen, data={**seen.data, "source": "mlflow", "id": "t4", "facts": {}}))
    story.sort()
    assert story.judged().verdict is Verdict.MET


def test_a_canary_that_is_called_by_its_pods_is_the_new_version() -> None:
    story = Story(1)
    story.change_step(Step.DEPLOYED, facts={"pod_hash": "6f7d"})
    story.change_step(Step.CANARY_JUDGED, id="6f7d")
    assert story.judged().verdict is Verdict.MET


def test_an_owner_that_was_away_for_a_moment_is_noted() -> None:
    story = Story(1)
    story.facts.append(facts.Blind(**moment(90), source="registry", why="timed out"))
    story.sort()
    result = story.judged()
    assert (result.verdict, len(result.notes)) == (Verdict.MET, 1)
