"""Counting begins at fixed times, whoever looks and whenever, and all runs together have one budget."""

from __future__ import annotations

import math

import pytest

from monitors.fairness import runs

BLOCK = 600.0
SINCE = 1_000 * BLOCK


@pytest.mark.parametrize("size", [2, 3, 7, 100])
def test_a_run_begins_at_a_fixed_time_and_is_never_longer_than_what_is_read(size: int) -> None:
    begins: dict[int, set[float]] = {}
    for age in range(1, 6 * size):
        start = SINCE + (age - size) * BLOCK
        run = runs.run_of(SINCE, start, BLOCK, size)
        begins.setdefault(run.number, set()).add(start + run.first * BLOCK)
        length = size - run.first
        assert 1 <= length <= size
        assert length == age or length > size // 2
    assert all(len(times) == 1 for times in begins.values()), "a run that moves is another one at each look"
    assert sorted(begins) == list(range(len(begins)))
    assert begins[0] == {SINCE}
    assert [min(begins[number]) for number in sorted(begins)] == [
        SINCE + number * (size // 2) * BLOCK for number in range(len(begins))
    ]


def test_the_shares_of_all_runs_there_can_be_are_one_budget() -> None:
    shares = [runs.run_of(SINCE, SINCE + number * 50 * BLOCK, BLOCK, 100).share for number in range(4000)]
    assert shares[0] == 0.5
    assert shares == sorted(shares, reverse=True)
    assert 0.99 < math.fsum(shares) <= 1


def test_what_is_as_old_as_what_is_read_is_counted_whole() -> None:
    run = runs.run_of(SINCE, SINCE, BLOCK, 100)
    assert (run.number, run.first) == (0, 0)
