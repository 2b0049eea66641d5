"""An episode from its records: its times, how each step stands, how it ends, and what is published of it."""

from __future__ import annotations

import pytest

from midwatch import exposition
from monitors.drift.episodes import Trigger
from monitors.loop import document, ending, published, view
from monitors.loop.better import Helped, Verdict
from monitors.loop.ending import Facts
from monitors.loop.episode import (
    PATH,
    Asked,
    Asking,
    Cause,
    Ended,
    Episode,
    Outcome,
    Record,
    Result,
    State,
    Step,
)
from monitors.loop.published import Process, Standing
from tests.loop.parts import DETECTED, ID, asked, began, episode, registered, seen

WHOLE: tuple[Record, ...] = (
    *asked(),
    seen(Step.RUN_STARTED, 1110.0),
    seen(Step.TRAINED, 1190.0),
    registered(1200.0),
    seen(Step.DEPLOYED, 1210.0),
    seen(Step.CANARY_BEGUN, 1220.0),
    seen(Step.CANARY_JUDGED, 1260.0),
    seen(Step.PROMOTED, None, seen=1270.0, not_before=1265.0),
    seen(Step.ALL_TRAFFIC, None, seen=1280.0),
    seen(Step.WELL, 1400.0),
)


def facts(**changes: object) -> Facts:
    known = {"now": 1500.0, "give_up_after": 3600.0, "interval": 1.0, "answered": frozenset({"mlflow"})}
    return Facts(**known | changes)  # type: ignore[arg-type]


def helped(verdict: Verdict) -> Helped:
    return Helped(model="fraud", old="v3", new="v4", verdict=verdict, reason="why", reading="so")


def ended(found: Episode, **changes: object) -> tuple[Outcome, str] | None:
    how = ending.judge(found, facts(**changes))
    return None if how is None else (how.outcome, how.cause)


def test_the_times_are_those_of_the_owners_and_the_phases_lie_between_them() -> None:
    whole = episode(*WHOLE)
    assert whole.times() == [940.0, 1000.0, 1100.0, 1110.0, 1190.0, 1200.0, 1220.0, 1280.0, 1400.0]
    assert whole.phases() == {
        "detection": 60.0,
        "decision": 100.0,
        "queue": 10.0,
        "training": 80.0,
        "registration": 10.0,
        "deployment": 20.0,
        "canary": 60.0,
        "proof": 120.0,
    }


def test_a_step_that_nobody_saw_is_no_time_and_makes_no_phase() -> None:
    found = episode(*asked(), registered())
    assert found.times()[3:5] == [None, None]
    assert set(found.phases()) == {"detection", "decision"}
    states = found.states()
    assert (states[Step.RUN_STARTED], states[Step.TRAINED]) == (State.NOT_SEEN, State.NOT_SEEN)


def test_the_next_step_is_waited_for_and_one_without_an_owner_is_not() -> None:
    found = episode(*asked())
    assert found.waiting_for() is Step.RUN_STARTED
    blind = {Step.RUN_STARTED, Step.TRAINED}
    assert found.waiting_for(blind) is Step.REGISTERED
    assert found.states(blind)[Step.TRAINED] is State.NOT_OBSERVED


def test_after_a_canary_that_failed_the_way_back_is_waited_for() -> None:
    found = episode(*WHOLE[:8], seen(Step.CANARY_JUDGED, 1260.0, Result.FAILED))
    assert found.waiting_for() is Step.ROLLED_BACK


def test_steps_may_be_seen_in_another_order_than_they_happened() -> None:
    in_order, mixed = episode(*WHOLE), episode(*reversed(WHOLE))
    assert in_order.times() == mixed.times()


@pytest.mark.parametrize(
    ("records", "changes", "how"),
    [
        ((), {"calm": True}, (Outcome.ABANDONED, Cause.DRIFT_ENDED)),
        ((), {}, None),
        (asked(), {"calm": True}, None),
        (
            (
                Asking(episode=ID, attempt=1, at=1100.0),
                Asked(episode=ID, result=Trigger.FAILED, said="404", at=1100.0),
            ),
            {},
            (Outcome.FAILED, Step.ASKED),
        ),
        ((*asked(), seen(Step.TRAINED, 1190.0, Result.FAILED)), {}, (Outcome.FAILED, Step.TRAINED)),
        ((*asked(), seen(Step.TRAINED, 1190.0, Result.SKIPPED)), {}, (Outcome.FAILED, Step.TRAINED)),
        (
            (
                *asked(),
                seen(Step.BIAS_CHECK, 1185.0, Result.FAILED),
                seen(Step.TRAINED, 1190.0, facts={"run": "failed", "ended": "1195"}),
            ),
            {},
            (Outcome.FAILED, Step.BIAS_CHECK),
        ),
        (
            (*asked(), seen(Step.TRAINED, 1190.0, facts={"run": "failed", "ended": "1195"})),
            {},
            (Outcome.FAILED, Step.REGISTERED),
        ),
        ((*asked(), seen(Step.TRAINED, 1190.0, facts={"run": "failed", "ended": "1195"}), registered()), {}, None),
        (
            (*asked(), seen(Step.TRAINED, 1190.0, facts={"run": "failed", "ended": "1195"})),
            {"answered": frozenset()},
            None,
        ),
        ((*asked(), seen(Step.TRAINED, 1190.0, facts={"run": "skipped", "ended": "1195"})), {}, None),
        (
            (
                *asked(),
                seen(Step.RUN_STARTED, 1110.0, source="tekton"),
                seen(Step.TRAINED, 1190.0, Result.FAILED, source="mlflow"),
            ),
            {},
            None,
        ),
        (
            (
                *asked(),
                seen(Step.RUN_STARTED, 1110.0, source="tekton"),
                seen(Step.TRAINED, 1190.0, Result.FAILED, source="mlflow"),
                seen(Step.TRAINED, 1290.0, Result.FAILED, source="tekton", facts={"run": "failed", "ended": "1295"}),
            ),
            {},
            (Outcome.FAILED, Step.TRAINED),
        ),
        ((*asked(), seen(Step.TRAINED, 1190.0, Result.FAILED, source="mlflow")), {}, (Outcome.FAILED, Step.TRAINED)),
        (asked(), {"now": 9000.0}, (Outcome.ABANDONED, Step.RUN_STARTED)),
        (
            asked(),
            {"now": 9000.0, "blind": frozenset({Step.RUN_STARTED, Step.TRAINED})},
            (Outcome.ABANDONED, Step.REGISTERED),
        ),
        (
            (*WHOLE[:8], seen(Step.CANARY_JUDGED, 1260.0, Result.FAILED), seen(Step.ROLLED_BACK, 1300.0)),
            {},
            (Outcome.WORSE, Step.CANARY_JUDGED),
        ),
        ((*WHOLE[:11], seen(Step.ROLLED_BACK, 1300.0)), {}, (Outcome.WORSE, Step.ROLLED_BACK)),
        ((*WHOLE[:12], seen(Step.WELL, 1400.0, Result.FAILED)), {}, (Outcome.NO_BETTER, Cause.DRIFT_PERSISTS)),
        (WHOLE, {}, (Outcome.BETTER, Cause.DRIFT_GONE)),
        (WHOLE, {"helped": helped(Verdict.WORSE)}, (Outcome.WORSE, Cause.LABELS)),
        (WHOLE, {"helped": helped(Verdict.NO_BETTER)}, (Outcome.NO_BETTER, Cause.LABELS)),
        (WHOLE, {"helped": helped(Verdict.BETTER)}, (Outcome.BETTER, Cause.LABELS)),
        (WHOLE, {"helped": helped(Verdict.UNKNOWN)}, (Outcome.BETTER, Cause.DRIFT_GONE)),
        (WHOLE, {"helped": helped(Verdict.UNKNOWN), "decide_within": 200.0}, None),
        (WHOLE, {"helped": helped(Verdict.UNKNOWN), "decide_within": 50.0}, (Outcome.UNDECIDED, Cause.LABELS)),
        (WHOLE, {"decide_within": 50.0}, (Outcome.UNDECIDED, Cause.LABELS)),
    ],
    ids=[
        "drift that ends before it was asked",
        "drift that holds",
        "drift that ends after it was asked",
        "nobody took the request",
        "training failed",
        "training left out",
        "a check failed",
        "the run failed after training",
        "a finally task failed and the version is there",
        "the run failed and the registry does not answer",
        "a task was left out",
        "a training failed that the pipeline may try again",
        "the pipeline tried again and failed",
        "a training failed, and no pipeline is known",
        "202 and no run",
        "202 and nobody to ask for a run",
        "canary failed and went back",
        "taken back after the promotion",
        "the new version drifts too",
        "drift gone",
        "labels say worse",
        "labels say no better",
        "labels say better",
        "labels say nothing, and are not waited for",
        "labels say nothing yet",
        "labels said nothing in time",
        "labels are waited for and nobody compares them",
    ],
)
def test_an_episode_ends_by_what_was_seen(records: tuple, changes: dict, how: tuple | None) -> None:
    assert ended(episode(*records), **changes) == how


def test_a_canary_that_failed_and_is_not_known_to_be_back_stays_open() -> None:
    found = episode(*WHOLE[:8], seen(Step.CANARY_JUDGED, 1260.0, Result.FAILED))
    assert ended(found) is None
    assert ended(found, now=9000.0) == (Outcome.ABANDONED, Step.ROLLED_BACK)


def samples(*episodes: Episode, leader: bool = True, unobserved: frozenset[Step] = frozenset()) -> dict[str, float]:
    process = Process(is_leader=leader, sources={"drift": True, "mlflow": False}, last_look=1500.0)
    text = published.text(process, episodes, {"fraud": Standing(unobserved=unobserved)})
    return {
        f"{one.name}{{{','.join(f'{k}={v}' for k, v in sorted(one.labels.items()))}}}": one.value
        for family in exposition.parse(text.decode())
        for one in family.samples
    }


def test_what_is_published_says_where_the_newest_episode_stands_and_what_became_of_the_others() -> None:
    over = episode(*WHOLE, Ended(episode=ID, outcome=Outcome.BETTER, cause="drift_gone", at=1400.0, said=""))
    found = samples(over)
    assert found["ml_loop_episodes_total{cause=drift_gone,model=fraud,outcome=better}"] == 1
    assert found["ml_loop_last_recovery_seconds{model=fraud}"] == 340.0
    assert found["ml_loop_phase_seconds_total{model=fraud,phase=canary}"] == 60.0
    assert found["ml_loop_step_duration_seconds_count{model=fraud,step=trained}"] == 1
    assert found["ml_loop_time_timestamp_seconds{model=fraud,time=T8}"] == 1400.0
    assert found["midwatch_loop_source_up{source=mlflow}"] == 0
    open_ = samples(over, episode(*asked()))
    assert open_["ml_loop_episode_open{model=fraud}"] == 1
    assert open_["ml_loop_waiting_since_timestamp_seconds{model=fraud,step=run_started}"] == 1100.0
    assert open_["ml_loop_step_state{model=fraud,state=waiting,step=run_started}"] == 1


def test_a_process_that_stands_by_publishes_no_episode() -> None:
    assert not [name for name in samples(episode(*WHOLE), leader=False) if name.startswith("ml_loop")]


def test_every_step_has_one_state_and_a_row_of_the_table() -> None:
    found = episode(*asked())
    blind = {Step.TRAINED: "nobody to ask"}
    assert set(found.states(blind)) == set(Step)
    said = document.of_episode(found, blind)
    assert said["steps"]["trained"] == {"state": "not_observed", "at": None, "why": "nobody to ask", "seen": []}
    assert (said["waiting_for"], said["times"]["T2"]) == ("run_started", "1970-01-01T00:18:20.000Z")
    assert view.steps(found, blind).row_count == len(Step) - 1  # the way back is shown once it was taken
    assert began().detected == DETECTED and PATH[0] is Step.DRIFT
