"""A change for the worse is found within a few trainings; short histories decide nothing, stable ones seldom alarm."""

from __future__ import annotations

import bisect

import numpy as np
import pytest

from monitors.regression import change
from monitors.regression.change import Verdict


def series(
    count: int, *, at: int | None = None, factor: float = 1.0, spread: float = 0.05, seed: int = 1
) -> change.Floats:
    values = 600 * np.exp(np.random.default_rng(seed).normal(0, spread, count))
    if at is not None:
        values[at:] *= factor
    return values


def find(values: change.Floats, *, higher: bool = True, tolerated: float = 0.2, alpha: float = 0.01) -> change.Change:
    return change.find(values, worse_is_higher=higher, tolerated=tolerated, alpha=alpha)


def test_a_slower_training_is_found_within_a_few_runs_with_the_first_of_them() -> None:
    values = series(24, at=20, factor=1.5)
    said = find(values)
    assert (said.verdict, said.since) == (Verdict.REGRESSED, 20)
    assert said.after == pytest.approx(1.5 * said.before, rel=0.15)  # type: ignore[operator]
    assert "worse by" in said.reason


def test_what_is_lower_is_worse_where_it_is_said_so() -> None:
    values = series(24, at=20, factor=0.6, spread=0.02)
    assert find(values, higher=False).verdict is Verdict.REGRESSED
    assert find(values, higher=True).verdict is Verdict.STEADY
    assert find(-values, higher=True).verdict is Verdict.REGRESSED


def test_a_change_that_is_tolerated_is_none() -> None:
    values = series(40, at=25, factor=1.1, spread=0.01)
    assert find(values, tolerated=0.2).verdict is Verdict.STEADY
    assert find(values, tolerated=0.05).verdict is Verdict.REGRESSED


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_a_short_history_decides_nothing_and_says_how_many_are_missing(count: int) -> None:
    said = find(series(count, at=count // 2, factor=10.0))
    assert said.verdict is Verdict.UNDECIDED
    assert said.needed == change.fewest(0.01) - count


def test_a_stricter_level_needs_more_values() -> None:
    assert change.FEWEST <= change.fewest(0.05) <= change.fewest(0.01) <= change.fewest(0.002)


def test_steady_is_said_only_where_a_change_is_excluded() -> None:
    assert find(series(30, spread=0.02)).verdict is Verdict.STEADY
    said = find(series(30, spread=1.0))
    assert said.verdict is Verdict.UNDECIDED
    assert "may be worse" in said.reason


def test_equal_values_are_steady() -> None:
    assert find(np.full(20, 5.0)).verdict is Verdict.STEADY
    assert find(np.zeros(20)).verdict is Verdict.STEADY


def test_the_same_series_gives_the_same_answer_and_ties_are_no_change() -> None:
    values = np.random.default_rng(3).integers(1, 4, 30).astype(float)
    assert find(values) == find(values)
    assert find(values).verdict is not Verdict.REGRESSED


def test_what_was_long_ago_is_not_looked_at() -> None:
    newest = series(change.LONGEST, at=change.LONGEST - 10, factor=2.0)
    said = find(np.concatenate([series(300, seed=2) * 9, newest]))
    assert (said.verdict, said.values) == (Verdict.REGRESSED, change.LONGEST)
    assert said.since == 300 + change.LONGEST - 10


@pytest.mark.parametrize("heavy", [False, True], ids=["log-normal", "heavy tails"])
def test_false_alarms_at_a_look_are_as_few_as_is_said(heavy: bool) -> None:
    generator = np.random.default_rng(11)
    alarms, looks = 0, 400
    for _ in range(looks):
        values = 1 + generator.pareto(1.5, 16) if heavy else np.exp(generator.normal(0, 0.5, 16))
        alarms += find(values, tolerated=0.0001, alpha=0.05).verdict is Verdict.REGRESSED
    assert alarms <= 0.05 * looks + 3 * (0.05 * 0.95 * looks) ** 0.5


@pytest.mark.parametrize("count", [9, 14, 31, 40])
def test_no_length_of_history_has_more_false_alarms_than_is_said(count: int) -> None:
    """Every series of a length is held against the same permutations, of which a few may be all too unlike the rest."""
    series_of_ranks = 40_000
    steady = np.tile(np.arange(1.0, count + 1), (series_of_ranks, 1))
    ranks = np.random.default_rng(5).permuted(steady, axis=1)
    scores = np.sort(change._scores(ranks).max(axis=1))
    first = bisect.bisect_left(
        range(series_of_ranks), True, key=lambda at: change._p_value(ranks[0], scores[at]) <= 0.01
    )
    assert 0.004 < 1 - first / series_of_ranks <= 0.01 + 3 * (0.01 * 0.99 / series_of_ranks) ** 0.5
