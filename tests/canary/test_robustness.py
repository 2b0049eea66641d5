"""What real fleets do to counts: scrapes out of phase, retries, late regressions, cold starts, late labels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitors.canary import alignment, criteria, dispersion, judge, starts
from monitors.canary.arms import Arms
from tests.canary.arms import counted, counts, scraped_out_of_phase, settings, simulated, with_retries

RUNS = 200
LEVEL = math.log(1 / 0.05)
ERRORS = settings().criteria[0]


def share_of(log_e: np.ndarray) -> float:
    return float((log_e.max(axis=-1) >= LEVEL).mean())


def failed(arms: Arms) -> float:
    return share_of(criteria.log_fail(arms, ERRORS))  # type: ignore[arg-type]


def passed(arms: Arms) -> float:
    return share_of(criteria.log_pass(arms, ERRORS))  # type: ignore[arg-type]


# Phases ------------------------------------------------------------------------------------------------------------


def outage(canary_at: int, baseline_at: int) -> Arms:
    baseline, canary = np.full(60, 7), np.full(60, 1)
    baseline[baseline_at], canary[canary_at] = 6750, 750
    return Arms(
        baseline_events=baseline,
        baseline_requests=np.full(60, 6750),
        canary_events=canary,
        canary_requests=np.full(60, 750),
    )


@pytest.mark.parametrize("baseline_at", [19, 20, 21], ids=["sooner", "together", "later"])
def test_an_outage_of_both_arms_fails_none_whichever_shows_it_first(baseline_at: int) -> None:
    arms = outage(20, baseline_at)
    for until in range(1, 61):
        said = judge.judge(counts(arms.at(slice(0, until))), settings())
        assert said.verdict != "fail", (until, said.reason)
    assert said.verdict == "pass"


def test_scrapes_out_of_phase_do_not_fail_an_equal_canary() -> None:
    for canary_every in (1, 2):
        assert failed(scraped_out_of_phase(runs=RUNS, canary_every=canary_every)) <= 0.05


def test_arms_that_are_scraped_unequally_often_are_compared_over_the_longer_interval() -> None:
    arms = simulated(intervals=8, rps=50.0)
    late = np.array([1, 3, 5, 7])
    sparse = replace(
        arms,
        canary_events=np.where(np.isin(np.arange(8), late), 1, 0),
        canary_requests=np.where(np.isin(np.arange(8), late), 150, 0),
    )
    joined = alignment.joined(sparse)
    assert joined.baseline_requests[late - 1].tolist() == [0, 0, 0, 0]
    assert joined.baseline_requests.sum() == arms.baseline_requests.sum()
    assert joined.canary_requests[late].tolist() == [150] * 4


# Retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tries", [2, 3, 6])
@pytest.mark.parametrize("rps", [2.0, 50.0])
def test_retried_requests_neither_fail_an_equal_canary_nor_pass_an_unacceptable_one(tries: int, rps: float) -> None:
    # 5% and what chance adds to it in so many runs; the benchmark has many more.
    most = 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)
    assert failed(with_retries(tries, runs=RUNS, rps=rps)) <= most
    assert passed(with_retries(tries, runs=RUNS, rps=rps, ratio=1.5)) <= most


def test_the_dispersion_of_retries_is_how_often_they_are_tried() -> None:
    for tries in (1, 3, 6):
        arms = alignment.joined(with_retries(tries, runs=50, rps=50.0))
        assert np.median(dispersion.estimate(arms)[:, -1]) == pytest.approx(tries, rel=0.2)


def test_a_verdict_says_that_evidence_was_weighed_for_clusters() -> None:
    said = judge.judge(counts(with_retries(6, runs=1, rps=50.0).at(0)), settings())
    assert "events come in clusters" in said.reason
    assert "clusters" not in judge.judge(counts(simulated()), settings()).reason


# Invariants --------------------------------------------------------------------------------------------------------


def test_a_fail_always_has_an_interval_that_excludes_what_is_tolerated() -> None:
    generator = np.random.default_rng(8)
    verdicts = set()
    for _ in range(60):
        ratio, rps = generator.choice([1.0, 1.1, 1.3, 2.0, 5.0]), generator.choice([5.0, 50.0, 500.0])
        seed, tries = int(generator.integers(1000)), int(generator.choice([1, 3]))
        whole = with_retries(tries, runs=1, rps=rps, ratio=ratio, intervals=int(generator.integers(4, 120)), seed=seed)
        arms = whole.at(0)
        if generator.random() < 0.3:
            arms = arms.swapped()
        if generator.random() < 0.3:
            at = int(generator.integers(arms.canary_events.size))
            events = arms.canary_events.copy()
            events[at] = arms.canary_requests[at]
            arms = replace(arms, canary_events=events)
        said = judge.judge(counts(arms), settings())
        verdicts.add(said.verdict.value)
        for one in said.findings:
            if one.verdict == "fail":
                assert one.evidence is not None
                assert one.evidence.interval.low is not None
                assert one.evidence.interval.low > 1.1, one.reason
    assert verdicts == {"pass", "fail", "inconclusive"}


# Late, and cold ----------------------------------------------------------------------------------------------------


def changed(arms: Arms, when: slice, share: float) -> Arms:
    events = arms.canary_events.copy()
    events[when] = np.random.default_rng(2).binomial(arms.canary_requests[when], share)
    return replace(arms, canary_events=events)


def test_a_version_that_turns_bad_late_fails_soon_and_says_since_when() -> None:
    arms = changed(simulated(rps=500.0, intervals=220), slice(160, None), 0.02)
    took = next(
        until
        for until in range(160, 221)
        if judge.judge(counts(arms.at(slice(0, until))), settings()).verdict == "fail"
    )
    assert took - 160 <= 20
    said = judge.judge(counts(arms.at(slice(0, took))), settings())
    assert "since 2026-01-05T00:" in said.reason


def test_the_weights_of_all_starts_sum_to_one() -> None:
    begins = starts.starts(200_000)
    assert sum(math.exp(starts.log_weight(one)) for one in begins) == pytest.approx(1.0, abs=2e-3)
    assert all(starts.starts(n) == [one for one in begins if one < n] for n in (1, 9, 100, 1000))


def test_two_cold_minutes_do_not_fail_a_canary_for_good() -> None:
    arms = changed(simulated(rps=200.0, intervals=160), slice(0, 8), 0.1)
    assert judge.judge(counts(arms.at(slice(0, 8))), settings()).verdict == "fail"
    said = judge.judge(counts(arms), settings())
    assert (said.verdict, "only the canary's first 2m" in said.reason) == ("pass", True)
    said = judge.judge(counts(arms.at(slice(0, 8))), settings(warm_up="2m"))
    assert said.verdict == "inconclusive"
    assert judge.judge(counts(arms), settings(warm_up="2m")).verdict == "pass"


# Labels and mixes ---------------------------------------------------------------------------------------------------


def test_labels_that_come_later_on_one_arm_are_a_doubt_and_no_verdict() -> None:
    for ratio in (0.3, 3.0):
        arms = simulated(base=0.15, ratio=ratio, intervals=40)
        labelled = replace(arms, canary_requests=np.maximum(arms.canary_events, arms.canary_requests * 7 // 10))
        given: dict[str, Any] = {"counted": {"accuracy": counted(labelled, "accuracy")}}
        said = judge.judge(counts(arms, **given), settings({"metric": "accuracy"}))
        assert (said.verdict, "labels have come for" in said.reason) == ("inconclusive", True), said.reason
        given = {"counted": {"accuracy": counted(arms, "accuracy")}}
        said = judge.judge(counts(arms, **given), settings({"metric": "accuracy"}))
        assert said.verdict == ("fail" if ratio > 1 else "pass")


def test_a_latency_verdict_names_the_bucket_that_hides_a_change() -> None:
    arms = simulated(intervals=160, rps=200.0)
    latency = replace(
        counted(arms),
        channels=("> 0.25 s", "> 0.5 s"),
        baseline_events=np.stack([arms.baseline_requests * 8 // 10, arms.baseline_events]),
        canary_events=np.stack([arms.canary_requests * 8 // 10, arms.canary_events]),
    )
    said = judge.judge(counts(arms, counted={"latency": latency}), settings({"metric": "latency"}))
    assert said.verdict == "pass"
    assert "changes between 0.25 s and 0.5 s (79% of the requests) cannot be seen" in said.reason
