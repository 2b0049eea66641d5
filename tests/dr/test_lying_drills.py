"""Drills that must not be believed: each is a good drill with one thing wrong, and none of them is MET."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from dr import figures
from dr.drill import client, facts, judge, verdict
from dr.drill.client import Row
from dr.drill.facts import Outcome, Prediction, Read, Write
from dr.drill.verdict import Check, Verdict

SECOND = 10**9
OLD, NEW = "5001", "5002"
OBJECTIVES = verdict.Objectives(rto=900.0, rpo=300.0, limit=1800.0)


def row_of(write: Write) -> Row:
    return Row(write.number, client.checksum("r", write.number), 1)


@dataclass
class Story:
    """A drill that went well: five seconds of writes, a fault, half a second of failures, four seconds of writes.

    Times are nanoseconds; `rows` is what is read back.
    """

    facts: list[facts.Observed] = field(default_factory=list)
    events: list[facts.Recorded] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    injection: verdict.Injection = field(default_factory=verdict.Injection)
    checks: list[Check] = field(default_factory=lambda: [Check(name="integrity", holds=True)])
    has_model: bool = False
    was_read_back: bool = True

    @property
    def begun(self) -> int:
        return self.injection.begun or 0

    def writes(self) -> list[Write]:
        return [fact for fact in self.facts if isinstance(fact, Write)]

    def change(self, kind: type, condition: Callable[[Any], bool], **changes: Any) -> None:
        """Change facts of a kind; a value may be made from the fact."""
        self.facts = [changed_as(fact, kind, condition, changes) for fact in self.facts]

    def change_events(self, kinds: Any, condition: Callable[[Any], bool] = lambda _: True, **changes: Any) -> None:
        self.events = [changed_as(event, kinds, condition, changes) for event in self.events]

    def read_back(self, condition: Callable[[Write], bool] = lambda _: True) -> None:
        """What is there is what was acknowledged, and fits."""
        self.rows = [row_of(write) for write in self.writes() if write.is_acknowledged and condition(write)]

    def keep_rows(self) -> None:
        """What is there goes with what is not acknowledged any more."""
        good = {write.number for write in self.writes() if write.is_acknowledged}
        self.rows = [row for row in self.rows if row.seq in good]

    def evidence(self, **changes: Any) -> verdict.Evidence:
        evidence = verdict.Evidence(
            run="r",
            facts=self.facts,
            injection=self.injection,
            events=self.events,
            rows=self.rows if self.was_read_back else None,
            checks=self.checks,
            has_model=self.has_model,
        )
        return replace(evidence, **changes)

    def judged(self, objectives: verdict.Objectives = OBJECTIVES) -> verdict.Result:
        return judge.judge(self.evidence(), objectives)


def changed_as(fact: Any, kinds: Any, condition: Callable[[Any], bool], changes: dict[str, Any]) -> Any:
    if not isinstance(fact, kinds) or not condition(fact):
        return fact
    return changed(fact, **{name: value(fact) if callable(value) else value for name, value in changes.items()})


def story(seed: int = 7, *, before: float = 5.0, lost: float = 0.0, outage: float = 0.5, rate: float = 100.0) -> Story:
    """A good drill; the last `lost` seconds before the fault are not read back."""
    rng = random.Random(seed)
    made = Story()
    now = rng.randrange(10**12)
    wall = 1.7e9
    made.facts.append(facts.Started(at=now, wall=wall, boot="b"))
    fault = now + int(before * SECOND) + rng.randrange(10**7)
    back = fault + int(outage * SECOND)
    end = back + 4 * SECOND
    number = 0
    at = now
    while at < end:
        number += 1
        taken = rng.randrange(5 * 10**5, 2 * 10**6)
        outcome, server = Outcome.FAILED, None
        if at + taken < fault or at >= back:
            outcome, server = Outcome.OK, OLD if at < fault else NEW
        elif at < fault:
            outcome = Outcome.UNKNOWN
        made.facts.append(Write(sent=at, answered=at + taken, outcome=outcome, number=number, server=server))
        at += taken + int(SECOND / rate) - taken // 2
        if number % 10 == 0:
            seen = Outcome.OK if at < fault or at > back else Outcome.FAILED
            made.facts.append(Read(sent=at, answered=at + 10**6, outcome=seen, newest=number, age=0.01, content="x"))
    made.facts.append(facts.Ended(at=end, wall=wall + (end - now) / SECOND))

    def when(share: float) -> int:
        return fault + int(share * 2 * outage * SECOND)

    made.events = [
        facts.CheckFailed(at=when(0.1), why="x"),
        facts.Decided(at=when(0.3), why="x", plan="promote"),
        facts.Fenced(at=when(0.31)),
        facts.Recovered(at=when(0.45)),
        facts.Rerouted(at=when(0.46)),
        facts.Redundant(at=back + SECOND),
    ]
    made.injection = verdict.Injection(begun=fault, effective=fault + 10**7, old=OLD)
    gone = fault - int(lost * SECOND)
    made.read_back(lambda write: not (lost and gone <= write.answered < fault))
    return made


def test_a_good_drill_is_met_with_the_times_it_had() -> None:
    result = story(lost=0.8).judged()
    assert (result.verdict, result.reasons) == (Verdict.MET, ())
    assert result.rto_seconds == pytest.approx(0.5, abs=0.02)
    assert result.rpo_seconds == pytest.approx(0.8, abs=0.02)
    assert result.resolution_seconds == pytest.approx(0.01, abs=0.005)
    assert [phase.name for phase in result.phases] == [
        "detect",
        "decide",
        "fence",
        "restore",
        "reroute",
        "first acknowledgement",
        "full service",
        "redundancy restored",
    ]
    assert result.writes["acknowledged"] == result.writes["kept"] + result.writes["lost"]


@pytest.mark.parametrize(("begins", "decided"), [(0.0, Verdict.MET), (1.0, Verdict.INCONCLUSIVE)])
def test_a_command_may_end_after_the_store_serves_again_but_not_begin_then(begins: float, decided: Verdict) -> None:
    told = story()
    told.injection = replace(told.injection, fails_over=False, old="")
    steps = (facts.CheckFailed, facts.Decided, facts.Fenced)
    told.change_events(steps, at=lambda event: event.at + int(SECOND * begins))
    later = (facts.Recovered, facts.Rerouted, facts.Redundant)
    told.change_events(later, at=lambda event: event.at + SECOND)
    assert told.judged().verdict is decided


@pytest.mark.parametrize(("follow", "decided"), [(True, Verdict.MET), (False, Verdict.INCONCLUSIVE)])
def test_clients_that_find_the_new_primary_by_themselves_may_write_before_the_step_is_over(
    follow: bool, decided: Verdict
) -> None:
    told = story()
    told.injection = replace(told.injection, clients_follow=follow)
    told.change_events((facts.Recovered, facts.Rerouted), at=lambda event: event.at + SECOND)
    assert told.judged().verdict is decided


# What may be wrong. Each takes a good story, and a seeded random source.

Lie = Callable[[Story, random.Random], None]


def no_fault(told: Story, _: random.Random) -> None:
    told.injection = verdict.Injection(old=OLD)


def fault_without_effect(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, effective=None)


def no_op_fault_that_claims_an_effect(told: Story, _: random.Random) -> None:
    told.change(Write, lambda _: True, outcome=Outcome.OK, server=OLD)
    told.read_back()
    told.events = []
    told.injection = verdict.Injection(begun=told.begun, effective=told.begun + 1, old=OLD)


def failing_action(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("inject the fault and verify it: failed: 403",))


def rollback_that_failed(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("revert the fault and verify that: failed",))


def store_ill_before_the_fault(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("the store was not in its steady state before the fault",))


def wrong_target(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, old="5999")


def broken_recoverer(told: Story, _: random.Random) -> None:
    told.events = [event for event in told.events if isinstance(event, facts.CheckFailed)]
    told.change(Write, lambda write: write.answered >= told.begun, outcome=Outcome.FAILED, server=None)
    told.keep_rows()


def recovered_by_hand(told: Story, _: random.Random) -> None:
    told.events = []


def recovered_by_hand_before_the_fault(told: Story, _: random.Random) -> None:
    at = told.begun - 2 * SECOND
    told.change_events(facts.Event, at=at)
    told.change(Write, lambda write: write.is_acknowledged and write.sent > at, server=NEW)
    told.read_back()


def recovered_before_the_recoverer_did(told: Story, _: random.Random) -> None:
    told.change_events((facts.Recovered, facts.Rerouted), at=lambda event: event.at + 3 * SECOND)


def read_only_standby_that_answers_pings(told: Story, _: random.Random) -> None:
    why = "cannot execute INSERT in a read-only transaction"
    told.change(Write, lambda write: write.answered >= told.begun, outcome=Outcome.FAILED, why=why)
    told.change(Read, lambda _: True, outcome=Outcome.OK)
    told.keep_rows()


def split_brain(told: Story, rng: random.Random) -> None:
    after = [write for write in told.writes() if write.is_acknowledged and write.sent > told.begun]
    chosen = rng.sample(after[20:], 15)
    told.change(Write, lambda write: write in chosen, server=OLD)


def old_primary_still_acknowledges(told: Story, _: random.Random) -> None:
    effective = told.injection.effective or 0
    told.change(
        Write,
        lambda write: write.outcome is Outcome.FAILED and write.sent > effective,
        outcome=Outcome.OK,
        server=OLD,
    )
    told.read_back()


def old_primary_acknowledges_past_the_endpoint(told: Story, _: random.Random) -> None:
    told.checks.append(Check(name="the old primary cannot acknowledge", holds=False))


def hole_in_the_middle(told: Story, rng: random.Random) -> None:
    told.rows.pop(rng.randrange(50, 300))


def hole_after_the_recovery(told: Story, rng: random.Random) -> None:
    told.rows.pop(-rng.randrange(1, 100))


def duplicate_rows(told: Story, rng: random.Random) -> None:
    index = rng.randrange(len(told.rows))
    told.rows[index] = replace(told.rows[index], count=2)


def corrupt_row(told: Story, rng: random.Random) -> None:
    index = rng.randrange(len(told.rows))
    told.rows[index] = replace(told.rows[index], checksum="0" * 16)


def rows_nobody_wrote(told: Story, _: random.Random) -> None:
    told.rows.append(Row(10**6, client.checksum("r", 10**6), 1))


def writes_that_failed_are_there(told: Story, _: random.Random) -> None:
    told.rows.append(row_of(next(write for write in told.writes() if write.outcome is Outcome.FAILED)))


def truncated_backup(told: Story, _: random.Random) -> None:
    late = {write.number for write in told.writes() if write.sent > told.begun}
    told.rows = [row for row in told.rows if row.seq in late]


def nothing_read_back(told: Story, _: random.Random) -> None:
    told.was_read_back = False


def zero_writes(told: Story, _: random.Random) -> None:
    told.facts = [fact for fact in told.facts if not isinstance(fact, Write)]
    told.rows = []


def hardly_any_writes(told: Story, _: random.Random) -> None:
    kept = {write.number for write in told.writes()[::20]}
    told.facts = [fact for fact in told.facts if not isinstance(fact, Write) or fact.number in kept]
    told.rows = [row for row in told.rows if row.seq in kept]


def observer_that_stalled(told: Story, _: random.Random) -> None:
    unseen = {write.number for write in told.writes() if abs(write.sent - told.begun) < SECOND}
    told.facts = [fact for fact in told.facts if not isinstance(fact, Write) or fact.number not in unseen]
    told.rows = [row for row in told.rows if row.seq not in unseen]


def observer_that_was_killed(told: Story, _: random.Random) -> None:
    told.facts = [fact for fact in told.facts if not isinstance(fact, facts.Ended)]


def readers_that_stopped_looking(told: Story, _: random.Random) -> None:
    told.facts = [fact for fact in told.facts if not isinstance(fact, Read) or fact.sent < told.begun]


def model_that_nobody_asked_again(told: Story, rng: random.Random) -> None:
    model_that_became_slow(told, rng)
    told.facts = [fact for fact in told.facts if not isinstance(fact, Prediction) or fact.sent < told.begun]


def observer_that_started_twice(told: Story, _: random.Random) -> None:
    told.facts.append(told.facts[0])


def number_used_twice(told: Story, rng: random.Random) -> None:
    chosen, another = told.writes()[100], told.writes()[rng.randrange(90)]
    told.change(Write, lambda write: write is chosen, number=another.number)


def clock_that_ran_backwards(told: Story, _: random.Random) -> None:
    late = told.writes()[300:]
    hour = 3600 * SECOND
    told.change(
        Write,
        lambda write: write in late,
        sent=lambda write: write.sent - hour,
        answered=lambda write: write.answered - hour,
    )


def damaged_content(told: Story, _: random.Random) -> None:
    told.checks.append(Check(name="the same database with the same content", holds=False, detail="500 rows"))


def nobody_could_check(told: Story, _: random.Random) -> None:
    told.checks = [Check(name="integrity", holds=None, detail="connection refused")]


def nothing_was_checked(told: Story, _: random.Random) -> None:
    told.checks = []


def readers_see_old_data(told: Story, _: random.Random) -> None:
    told.change(Read, lambda read: read.sent > told.begun, outcome=Outcome.STALE)


def model_answers_with_another_version(told: Story, _: random.Random) -> None:
    told.has_model = True
    told.facts += [
        Prediction(
            sent=write.sent,
            answered=write.answered,
            outcome=Outcome.OK,
            version="v1" if write.sent < told.begun else "v0",
        )
        for write in told.writes()
    ]


def model_that_became_slow(told: Story, _: random.Random) -> None:
    told.has_model = True
    told.facts += [
        Prediction(
            sent=write.sent,
            answered=write.sent + (10**7 if write.sent < told.begun else SECOND),
            outcome=Outcome.OK,
            version="v1",
        )
        for write in told.writes()
    ]


def recovery_that_does_not_last(told: Story, _: random.Random) -> None:
    told.change(Write, lambda write: write.sent > told.begun and write.number % 50 == 0, outcome=Outcome.FAILED)
    told.keep_rows()


def recovery_that_crawls(told: Story, _: random.Random) -> None:
    told.change(Write, lambda write: write.sent > told.begun, answered=lambda write: write.sent + 2 * SECOND)


LIES: list[Lie] = [
    no_fault,
    fault_without_effect,
    no_op_fault_that_claims_an_effect,
    failing_action,
    rollback_that_failed,
    store_ill_before_the_fault,
    wrong_target,
    broken_recoverer,
    recovered_by_hand,
    recovered_by_hand_before_the_fault,
    recovered_before_the_recoverer_did,
    read_only_standby_that_answers_pings,
    split_brain,
    old_primary_still_acknowledges,
    old_primary_acknowledges_past_the_endpoint,
    hole_in_the_middle,
    hole_after_the_recovery,
    duplicate_rows,
    corrupt_row,
    rows_nobody_wrote,
    writes_that_failed_are_there,
    truncated_backup,
    nothing_read_back,
    zero_writes,
    hardly_any_writes,
    observer_that_stalled,
    observer_that_was_killed,
    readers_that_stopped_looking,
    model_that_nobody_asked_again,
    observer_that_started_twice,
    number_used_twice,
    clock_that_ran_backwards,
    damaged_content,
    nobody_could_check,
    nothing_was_checked,
    readers_see_old_data,
    model_answers_with_another_version,
    model_that_became_slow,
    recovery_that_does_not_last,
    recovery_that_crawls,
]

BREACHES = {
    "split_brain",
    "old_primary_still_acknowledges",
    "old_primary_acknowledges_past_the_endpoint",
    "hole_in_the_middle",
    "hole_after_the_recovery",
    "duplicate_rows",
    "corrupt_row",
    "rows_nobody_wrote",
    "writes_that_failed_are_there",
    "damaged_content",
    "readers_see_old_data",
    "model_answers_with_another_version",
    "model_that_became_slow",
}
"""Those that prove that a promise was broken; the others prove nothing, which is not a pass either."""


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_no_lying_drill_is_met(lie: Lie, seed: int) -> None:
    told = story(seed, lost=0.3)
    assert told.judged().verdict is Verdict.MET
    lie(told, random.Random(seed))
    result = told.judged()
    assert result.verdict is (Verdict.BREACHED if lie.__name__ in BREACHES else Verdict.INCONCLUSIVE), result.reasons
    assert result.reasons


def test_a_wall_clock_that_steps_by_an_hour_changes_nothing_but_a_note() -> None:
    told = story(lost=0.3)
    before = told.judged()
    told.change(facts.Ended, lambda _: True, wall=lambda ended: ended.wall + 3600)
    after = told.judged()
    assert (after.verdict, after.rto_seconds, after.rpo_seconds) == (
        before.verdict,
        before.rto_seconds,
        before.rpo_seconds,
    )
    assert "stepped by +3600 s" in after.notes[0]


def test_what_takes_longer_than_promised_is_breached() -> None:
    slow = story(outage=2.0).judged(replace(OBJECTIVES, rto=1.0))
    assert (slow.verdict, slow.rto_exceeds) == (Verdict.BREACHED, False)
    assert slow.rto_seconds == pytest.approx(2.0, abs=0.02)
    lossy = story(before=8.0, lost=3.0).judged(replace(OBJECTIVES, rpo=1.0))
    assert lossy.verdict is Verdict.BREACHED
    assert lossy.rpo_seconds == pytest.approx(3.0, abs=0.02)


def test_no_recovery_within_the_objective_is_more_than_the_time_that_was_watched() -> None:
    told = story()
    broken_recoverer(told, random.Random(0))
    result = told.judged(replace(OBJECTIVES, rto=2.0))
    assert (result.verdict, result.rto_exceeds) == (Verdict.BREACHED, True)
    assert result.rto_seconds > 2.0


def test_a_figure_within_its_resolution_of_the_objective_is_undecided() -> None:
    told = story(lost=1.0)
    result = told.judged(replace(OBJECTIVES, rpo=(told.judged().rpo_seconds or 0) + 0.001))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "within its resolution" in result.reasons[0]


def test_writes_that_nobody_knows_about_are_neither_lost_nor_kept() -> None:
    told = story()
    unknown = next(write for write in told.writes() if write.outcome is Outcome.FAILED)
    told.change(Write, lambda write: write is unknown, outcome=Outcome.UNKNOWN)
    assert told.judged().verdict is Verdict.MET
    told.rows.append(row_of(unknown))
    result = told.judged()
    assert (result.verdict, result.writes["unknown_kept"]) == (Verdict.MET, 1)


def test_writes_given_up_by_a_restore_to_an_earlier_point_count_as_loss() -> None:
    told = story(lost=0.2)
    told.injection = verdict.Injection(
        begun=told.begun - SECOND,
        effective=told.injection.begun,
        spoils=True,
        silences=False,
        fails_over=False,
        old=OLD,
    )
    begun = told.begun
    told.change(Read, lambda read: begun < read.sent < begun + 1.5 * SECOND, content="spoiled")
    there = {row.seq for row in told.rows}
    told.read_back(lambda write: write.number in there and not begun - 0.1 * SECOND < write.answered < begun + SECOND)
    result = told.judged()
    assert result.verdict is Verdict.MET, result.reasons
    assert result.rpo_seconds == pytest.approx(1.1, abs=0.03)


def test_a_write_under_way_while_the_store_is_recovered_shows_no_hole_before_the_fault() -> None:
    """Sent before the fence and answered by the recovered store: it says nothing about writes of the lost one."""
    drill = story(lost=0.2)
    drill.injection = replace(drill.injection, old="")
    fenced = next(event.at for event in drill.events if isinstance(event, facts.Fenced))
    recovered = next(event.at for event in drill.events if isinstance(event, facts.Recovered))
    drill.change(Write, lambda _: True, server=lambda write: "commands" if write.is_acknowledged else None)
    waiting = next(write for write in drill.writes() if drill.begun < write.sent < fenced)
    drill.change(
        Write,
        lambda write: write.number == waiting.number,
        answered=recovered + 10**6,
        outcome=Outcome.OK,
        server="commands",
    )
    drill.rows.append(row_of(waiting))
    result = drill.judged()
    assert (result.verdict, result.reasons) == (Verdict.MET, ())


@pytest.mark.parametrize(("clean", "bound"), [(0, 1.0), (1, 1.0), (3, 1.0), (30, 0.1), (300, 0.01)])
def test_clean_drills_bound_the_probability_of_a_breach_by_the_rule_of_three(clean: int, bound: float) -> None:
    assert verdict.bound(clean) == pytest.approx(bound)


def warned(told: Story, seconds: float | None, **changes: Any) -> verdict.Result:
    injection = replace(told.injection, silences=False, fails_over=False, **changes)
    evidence = told.evidence(injection=injection, events=(), needs_recoverer=False)
    return judge.judge_warning(evidence, None if seconds is None else told.begun + int(seconds * SECOND), OBJECTIVES)


def test_a_warning_in_time_is_met_and_one_that_is_late_or_never_comes_is_not() -> None:
    assert warned(story(), 2.5).verdict is Verdict.MET
    assert warned(story(), 2.5).rpo_seconds == pytest.approx(2.5)
    assert warned(story(), 400.0).verdict is Verdict.BREACHED
    assert warned(story(), None).verdict is Verdict.INCONCLUSIVE
    assert warned(story(), -1.0).verdict is Verdict.INCONCLUSIVE
    assert warned(story(), 2.5, effective=None).verdict is Verdict.INCONCLUSIVE
    assert warned(story(lost=0.5), 2.5).verdict is Verdict.BREACHED


@pytest.mark.parametrize("seed", range(20))
def test_seeded_times_are_measured_within_their_bounds(seed: int) -> None:
    rng = random.Random(seed)
    lost, outage = rng.uniform(0.2, 2.0), rng.uniform(0.3, 3.0)
    result = story(seed, lost=lost, outage=outage).judged()
    assert result.rpo_seconds == pytest.approx(lost, abs=0.05)
    assert result.rto_seconds == pytest.approx(outage, abs=0.02)


# What was acknowledged while the fault took effect -------------------------------------------------------------------


def lost_in_the_fault(effective: float) -> Story:
    """One write is acknowledged 2 ms after the fault began and is gone; the fault had its effect later."""
    told = story()
    late = next(write for write in told.writes() if write.sent > told.begun)
    told.change(
        Write,
        lambda write: write is late,
        sent=told.begun - 10**6,
        answered=told.begun + 2 * 10**6,
        outcome=Outcome.OK,
        server=OLD,
    )
    told.injection = replace(told.injection, effective=told.begun + int(effective * SECOND))
    return told


def test_a_write_acknowledged_while_the_fault_took_effect_has_a_count_and_a_bound() -> None:
    told = lost_in_the_fault(0.012)
    result = told.judged()
    assert result.verdict is Verdict.MET
    assert (result.writes["lost"], result.writes["lost_during_fault"]) == (1, 1)
    assert result.rpo_seconds == 0.0
    assert result.rpo_at_most_seconds == pytest.approx(0.010)
    (said,) = result.notes
    assert said == (
        "1 lost write was acknowledged while the fault was taking effect, which took 0.012 s: the data loss is at most "
        "0.010 s"
    )
    document = {"rpo_seconds": 0.0, "rpo_is_bound": False, "rpo_at_most_seconds": result.rpo_at_most_seconds}
    assert figures.rpo(document) == "at most 0.010 s"
    assert figures.data_loss(document) == pytest.approx(0.010)


def test_a_bound_beyond_the_objective_is_not_met() -> None:
    tight = replace(OBJECTIVES, rpo=0.3)
    assert lost_in_the_fault(0.4).judged(tight).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("drills", "said"),
    [
        (1, "1 drill MET in a row"),
        (3, "3 drills MET in a row"),
        (30, "30 drills MET in a row: a breach has a probability of at most 10% at 95% confidence"),
    ],
)
def test_the_bound_over_drills_is_shown_when_it_says_something(drills: int, said: str) -> None:
    share = verdict.bound(drills)
    assert (
        figures.in_a_row({"bound": {"met_in_a_row": drills, "breach_probability_at_most": share, "confidence": 0.95}})
        == said
    )
