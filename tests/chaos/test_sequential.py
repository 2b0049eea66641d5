"""The stop condition: how often it stops what is healthy, how soon what is not; looking often costs nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chaos.run.sequential import Counts, RateTest, RatioTest, StopCondition

RATE = 100
SECONDS = 120


def seconds_to_stop(
    generator: np.random.Generator, target: float, control: float | None, tolerated: float | None = 0.02
) -> float:
    """Seconds until it stops at 100 requests/s per arm, infinite when it does not."""
    condition = StopCondition(target_tolerated=tolerated, control_tolerated=0.02, false_stops=0.01)
    for second in range(1, SECONDS + 1):
        arms = [Counts(RATE, float(generator.binomial(RATE, target)))]
        arms.append(Counts(0, 0) if control is None else Counts(RATE, float(generator.binomial(RATE, control))))
        condition.observe(*arms)
        if condition.reason():
            return second
    return math.inf


@pytest.mark.parametrize("control", [None, 0.02, 0.001], ids=["no control", "as bad", "better"])
def test_a_target_at_the_tolerated_rate_is_stopped_no_more_often_than_stated(control: float | None) -> None:
    generator = np.random.default_rng(7)
    stopped = sum(seconds_to_stop(generator, 0.02, control) < math.inf for _ in range(300))
    assert stopped <= 0.01 * 300 + 3  # three standard deviations


def test_five_percent_errors_where_two_are_tolerated_are_stopped_within_ten_seconds() -> None:
    generator = np.random.default_rng(8)
    assert np.median([seconds_to_stop(generator, 0.05, 0.005) for _ in range(100)]) <= 10
    assert np.median([seconds_to_stop(generator, 0.05, None) for _ in range(100)]) <= 10


def test_an_outage_of_everything_is_not_blamed_on_the_target_but_stops_all_the_same() -> None:
    condition = StopCondition(target_tolerated=0.02, control_tolerated=0.02, false_stops=0.01)
    condition.observe(Counts(500, 100), Counts(500, 100))
    assert "the control has more than 2.0% errors: the fault leaks" in condition.reason()


def test_where_errors_are_the_fault_only_the_control_is_watched() -> None:
    condition = StopCondition(target_tolerated=None, control_tolerated=0.02, false_stops=0.01)
    condition.observe(Counts(1000, 1000), Counts(1000, 0))
    assert condition.reason() == ""
    condition.observe(Counts(0, 0), Counts(500, 60))
    assert "leaks" in condition.reason()


def test_looking_more_often_changes_nothing() -> None:
    often, once = RateTest(0.02), RateTest(0.02)
    for _ in range(100):
        often.observe(Counts(10, 1))
    once.observe(Counts(1000, 100))
    assert often.log_e == pytest.approx(once.log_e)


def test_an_e_value_has_a_mean_of_at_most_one_while_nothing_is_wrong() -> None:
    """Exact, for few requests: the sum over all outcomes, weighted by their probability at the tolerated rate."""
    requests, tolerated = 12, 0.1
    mean = 0.0
    for errors in range(requests + 1):
        test = RateTest(tolerated)
        test.observe(Counts(requests, errors))
        probability = math.comb(requests, errors) * tolerated**errors * (1 - tolerated) ** (requests - errors)
        mean += probability * math.exp(test.log_e)
    assert mean == pytest.approx(1.0)


def test_the_bet_on_the_target_against_the_control_is_fair_too() -> None:
    """Exact: equal rates, errors spread over both arms as the hypergeometric distribution has it."""
    target, control, errors = 30, 70, 6
    mean = 0.0
    for hit in range(errors + 1):
        test = RatioTest()
        test.observe(Counts(target, hit), Counts(control, errors - hit))
        ways = math.comb(target, hit) * math.comb(control, errors - hit)
        mean += ways / math.comb(target + control, errors) * math.exp(test.log_e)
    assert mean <= 1.0


@pytest.mark.parametrize("tolerated", [0.0, 1.0, -1.0])
def test_a_rate_that_cannot_be_tested_is_refused(tolerated: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        RateTest(tolerated)


def test_no_traffic_is_no_reason() -> None:
    condition = StopCondition(target_tolerated=0.02, control_tolerated=0.02, false_stops=0.01)
    condition.observe(Counts(0, 0), Counts(0, 0))
    assert condition.reason() == ""
