"""Drills that must not be believed: each is a good drill with one thing wrong, and none of them is MET."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from dr.targets import Row
from dr.verdict import Check, Verdict

from dr import judge, targets, verdict

SECOND = 10**9
OLD, NEW = "5001", "5002"
OBJECTIVES = verdict.Objectives(rto=900.0, rpo=300.0, limit=1800.0)


@dataclass
class Story:
    """A drill that went well: five seconds of writes, a fault, half a second of failures, four seconds of writes.

    Times are nanoseconds; `rows` is what is read back.
    """

    facts: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] | None = None
    injection: verdict.Injection = field(default_factory=verdict.Injection)
    checks: list[Check] = field(default_factory=lambda: [Check(name="integrity", holds=True)])
    has_model: bool = False

    def writes(self) -> list[dict[str, Any]]:
        return [fact for fact in self.facts if fact["k"] == "w"]

    def judged(self, objectives: verdict.Objectives = OBJECTIVES) -> verdict.Result:
        evidence = verdict.Evidence(
            run="r",
            facts=self.facts,
            injection=self.injection,
            events=self.events,
            rows=self.rows,
            checks=self.checks,
            has_model=self.has_model,
        )
        return judge.judge(evidence, objectives)


def story(seed: int = 7, *, before: float = 5.0, lost: float = 0.0, outage: float = 0.5, rate: float = 100.0) -> Story:
    """A good drill; the last `lost` seconds before the fault are not read back."""
    rng = random.Random(seed)
    made = Story()
    now = rng.randrange(10**12)
    wall = 1.7e9
    made.facts.append({"k": "start", "t": now, "wall": wall, "boot": "b"})
    fault = now + int(before * SECOND) + rng.randrange(10**7)
    back = fault + int(outage * SECOND)
    end = back + 4 * SECOND
    number = 0
    at = now
    while at < end:
        number += 1
        taken = rng.randrange(5 * 10**5, 2 * 10**6)
        if at + taken < fault or at >= back:
            fact = {"r": "ok", "s": OLD if at < fault else NEW}
        elif at < fault:
            fact = {"r": "unknown"}
        else:
            fact = {"r": "fail"}
        made.facts.append({"k": "w", "n": number, "t0": at, "t1": at + taken, **fact})
        at += taken + int(SECOND / rate) - taken // 2
        if number % 10 == 0:
            good = at < fault or at > back
            made.facts.append(
                {
                    "k": "r",
                    "t0": at,
                    "t1": at + 10**6,
                    "r": "ok" if good else "fail",
                    "n": number,
                    "age": 0.01,
                    "c": "x",
                }
            )
    made.facts.append({"k": "end", "t": end, "wall": wall + (end - now) / SECOND})
    steps = {"failed": 0.1, "decided": 0.3, "fenced": 0.31, "recovered": 0.45, "rerouted": 0.46}
    made.events = [
        {"k": kind, "t": fault + int(share * 2 * outage * SECOND), "why": "x", "plan": "promote"}
        for kind, share in steps.items()
    ]
    made.events.append({"k": "redundant", "t": back + SECOND})
    made.injection = verdict.Injection(begun=fault, effective=fault + 10**7, old=OLD)
    gone = fault - int(lost * SECOND)
    made.rows = [
        Row(fact["n"], targets.checksum("r", fact["n"]), 1)
        for fact in made.writes()
        if fact["r"] == "ok" and not (lost and gone <= fact["t1"] < fault)
    ]
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
    for event in told.events:
        event["t"] += int(SECOND * (begins if event["k"] in ("failed", "decided", "fenced") else 1.0))
    assert told.judged().verdict is decided


# What may be wrong. Each takes a good story, and a seeded random source.

Lie = Callable[[Story, random.Random], None]


def no_fault(told: Story, _: random.Random) -> None:
    told.injection = verdict.Injection(old=OLD)


def fault_without_effect(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, effective=None)


def no_op_fault_that_claims_an_effect(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for fact in told.writes():
        fact.update(r="ok", s=OLD)
    told.rows = [Row(fact["n"], targets.checksum("r", fact["n"]), 1) for fact in told.writes()]
    told.events = []
    told.injection = verdict.Injection(begun=begun, effective=begun + 1, old=OLD)


def failing_action(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("inject the fault and verify it: failed: 403",))


def rollback_that_failed(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("revert the fault and verify that: failed",))


def store_ill_before_the_fault(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, problems=("the store was not in its steady state before the fault",))


def wrong_target(told: Story, _: random.Random) -> None:
    told.injection = replace(told.injection, old="5999")


def broken_guard(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    told.events = [event for event in told.events if event["k"] == "failed"]
    for fact in told.writes():
        if fact["t1"] >= begun:
            fact.update(r="fail")
            fact.pop("s", None)
    told.rows = [
        row for row in told.rows or [] if row.seq in {fact["n"] for fact in told.writes() if fact["r"] == "ok"}
    ]


def recovered_by_hand(told: Story, _: random.Random) -> None:
    told.events = []


def recovered_by_hand_before_the_fault(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for event in told.events:
        event["t"] = begun - 2 * SECOND
    for fact in told.writes():
        if fact["r"] == "ok" and fact["t0"] > begun - 2 * SECOND:
            fact["s"] = NEW
    told.rows = [Row(fact["n"], targets.checksum("r", fact["n"]), 1) for fact in told.writes() if fact["r"] == "ok"]


def recovered_before_the_recoverer_did(told: Story, _: random.Random) -> None:
    for event in told.events:
        if event["k"] in ("recovered", "rerouted"):
            event["t"] += 3 * SECOND


def read_only_standby_that_answers_pings(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for fact in told.writes():
        if fact["t1"] >= begun:
            fact.update(r="fail", why="cannot execute INSERT in a read-only transaction")
    for fact in told.facts:
        if fact["k"] == "r":
            fact["r"] = "ok"
    told.rows = [
        row for row in told.rows or [] if row.seq in {fact["n"] for fact in told.writes() if fact["r"] == "ok"}
    ]


def split_brain(told: Story, rng: random.Random) -> None:
    begun = told.injection.begun or 0
    after = [fact for fact in told.writes() if fact["r"] == "ok" and fact["t0"] > begun]
    for fact in rng.sample(after[20:], 15):
        fact["s"] = OLD


def old_primary_still_acknowledges(told: Story, _: random.Random) -> None:
    effective = told.injection.effective or 0
    for fact in told.writes():
        if fact["r"] == "fail" and fact["t0"] > effective:
            fact.update(r="ok", s=OLD)
    told.rows = [Row(fact["n"], targets.checksum("r", fact["n"]), 1) for fact in told.writes() if fact["r"] == "ok"]


def old_primary_acknowledges_past_the_endpoint(told: Story, _: random.Random) -> None:
    told.checks.append(Check(name="the old primary cannot acknowledge", holds=False))


def hole_in_the_middle(told: Story, rng: random.Random) -> None:
    rows = told.rows or []
    rows.pop(rng.randrange(50, 300))


def hole_after_the_recovery(told: Story, rng: random.Random) -> None:
    rows = told.rows or []
    rows.pop(-rng.randrange(1, 100))


def duplicate_rows(told: Story, rng: random.Random) -> None:
    rows = told.rows or []
    index = rng.randrange(len(rows))
    rows[index] = replace(rows[index], count=2)


def corrupt_row(told: Story, rng: random.Random) -> None:
    rows = told.rows or []
    index = rng.randrange(len(rows))
    rows[index] = replace(rows[index], checksum="0" * 16)


def rows_nobody_wrote(told: Story, _: random.Random) -> None:
    (told.rows or []).append(Row(10**6, targets.checksum("r", 10**6), 1))


def writes_that_failed_are_there(told: Story, _: random.Random) -> None:
    failed = next(fact for fact in told.writes() if fact["r"] == "fail")
    (told.rows or []).append(Row(failed["n"], targets.checksum("r", failed["n"]), 1))


def truncated_backup(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    late = {fact["n"] for fact in told.writes() if fact["t0"] > begun}
    told.rows = [row for row in told.rows or [] if row.seq in late]


def nothing_read_back(told: Story, _: random.Random) -> None:
    told.rows = None


def zero_writes(told: Story, _: random.Random) -> None:
    told.facts = [fact for fact in told.facts if fact["k"] != "w"]
    told.rows = []


def hardly_any_writes(told: Story, _: random.Random) -> None:
    kept = {fact["n"] for fact in told.writes()[::20]}
    told.facts = [fact for fact in told.facts if fact["k"] != "w" or fact["n"] in kept]
    told.rows = [row for row in told.rows or [] if row.seq in kept]


def observer_that_stalled(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    unseen = {fact["n"] for fact in told.writes() if begun - SECOND < fact["t0"] < begun + SECOND}
    told.facts = [fact for fact in told.facts if fact["k"] != "w" or fact["n"] not in unseen]
    told.rows = [row for row in told.rows or [] if row.seq not in unseen]


def observer_that_was_killed(told: Story, _: random.Random) -> None:
    told.facts = [fact for fact in told.facts if fact["k"] != "end"]


def observer_that_started_twice(told: Story, _: random.Random) -> None:
    told.facts.append(dict(told.facts[0]))


def number_used_twice(told: Story, rng: random.Random) -> None:
    written = told.writes()
    written[100]["n"] = written[rng.randrange(90)]["n"]


def clock_that_ran_backwards(told: Story, _: random.Random) -> None:
    for fact in told.writes()[300:]:
        fact["t0"] -= 3600 * SECOND
        fact["t1"] -= 3600 * SECOND


def damaged_content(told: Story, _: random.Random) -> None:
    told.checks.append(Check(name="the same database with the same content", holds=False, detail="500 rows"))


def nobody_could_check(told: Story, _: random.Random) -> None:
    told.checks = [Check(name="integrity", holds=None, detail="connection refused")]


def nothing_was_checked(told: Story, _: random.Random) -> None:
    told.checks = []


def readers_see_old_data(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for fact in told.facts:
        if fact["k"] == "r" and fact["t0"] > begun:
            fact["r"] = "stale"


def model_answers_with_another_version(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    told.has_model = True
    told.facts += [
        {"k": "m", "t0": fact["t0"], "t1": fact["t1"], "r": "ok", "v": "v1" if fact["t0"] < begun else "v0"}
        for fact in told.writes()
    ]


def model_that_became_slow(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    told.has_model = True
    told.facts += [
        {"k": "m", "t0": fact["t0"], "t1": fact["t0"] + (10**7 if fact["t0"] < begun else SECOND), "r": "ok", "v": "v1"}
        for fact in told.writes()
    ]


def recovery_that_does_not_last(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for fact in told.writes():
        if fact["t0"] > begun and fact["n"] % 50 == 0:
            fact["r"] = "fail"
    good = {fact["n"] for fact in told.writes() if fact["r"] == "ok"}
    told.rows = [row for row in told.rows or [] if row.seq in good]


def recovery_that_crawls(told: Story, _: random.Random) -> None:
    begun = told.injection.begun or 0
    for fact in told.writes():
        if fact["t0"] > begun:
            fact["t1"] = fact["t0"] + 2 * SECOND


LIES: list[Lie] = [
    no_fault,
    fault_without_effect,
    no_op_fault_that_claims_an_effect,
    failing_action,
    rollback_that_failed,
    store_ill_before_the_fault,
    wrong_target,
    broken_guard,
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
    told.facts[-1]["wall"] += 3600
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
    broken_guard(told, random.Random(0))
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
    unknown = next(fact for fact in told.writes() if fact["r"] == "fail")
    unknown["r"] = "unknown"
    assert told.judged().verdict is Verdict.MET
    (told.rows or []).append(Row(unknown["n"], targets.checksum("r", unknown["n"]), 1))
    result = told.judged()
    assert (result.verdict, result.writes["unknown_kept"]) == (Verdict.MET, 1)


def test_writes_given_up_by_a_restore_to_an_earlier_point_count_as_loss() -> None:
    told = story(lost=0.2)
    told.injection = verdict.Injection(
        begun=(told.injection.begun or 0) - SECOND,
        effective=told.injection.begun,
        spoils=True,
        silences=False,
        fails_over=False,
        old=OLD,
    )
    begun = told.injection.begun or 0
    for fact in told.facts:
        if fact["k"] == "r" and begun < fact["t0"] < begun + 1.5 * SECOND:
            fact["c"] = "spoiled"
    told.rows = [
        row
        for row in told.rows or []
        if not any(
            fact["n"] == row.seq and begun - 0.1 * SECOND < fact["t1"] < begun + SECOND for fact in told.writes()
        )
    ]
    result = told.judged()
    assert result.verdict is Verdict.MET, result.reasons
    assert result.rpo_seconds == pytest.approx(1.1, abs=0.03)


@pytest.mark.parametrize(("clean", "bound"), [(0, 1.0), (1, 1.0), (3, 1.0), (30, 0.1), (300, 0.01)])
def test_clean_drills_bound_the_probability_of_a_breach_by_the_rule_of_three(clean: int, bound: float) -> None:
    assert verdict.bound(clean) == pytest.approx(bound)


def warned(told: Story, seconds: float | None, **changes: Any) -> verdict.Result:
    begun = told.injection.begun or 0
    injection = replace(told.injection, silences=False, fails_over=False, **changes)
    evidence = verdict.Evidence(
        run="r", facts=told.facts, injection=injection, rows=told.rows, checks=told.checks, needs_guard=False
    )
    return judge.judge_warning(evidence, None if seconds is None else begun + int(seconds * SECOND), OBJECTIVES)


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
