"""Three verdicts: shown unfair, shown fair, and not known yet with what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitors.fairness import bounds, verdict
from monitors.fairness.measures import Cells
from monitors.fairness.verdict import Counts, Limit, Settings, Verdict

FIVE_POINTS = Settings(limit=Limit(difference=0.05))
FOUR_FIFTHS = Settings(limit=Limit(ratio=0.8))


def _counts(seed: int, rates: tuple[float, ...], rows: tuple[int, ...], blocks: int = 100) -> Counts:
    rng = np.random.default_rng(seed)
    events = np.repeat(np.array(rows, dtype=float)[:, None] / blocks, blocks, axis=1).round()
    hits = rng.binomial(events.astype(int), np.array(rates)[:, None]).astype(float)
    return Counts(groups=tuple("abcdefgh"[: len(rates)]), events=events[None], hits=hits[None])


def test_equal_groups_with_many_rows_are_shown_fair() -> None:
    said = verdict.judge(_counts(1, (0.3, 0.3), (30_000, 30_000)), FIVE_POINTS)
    assert said.verdict is Verdict.FAIR
    assert said.rows_needed is None


def test_groups_that_are_apart_are_shown_unfair_and_named() -> None:
    said = verdict.judge(_counts(2, (0.3, 0.15, 0.29), (20_000, 4_000, 20_000)), FOUR_FIFTHS)
    assert said.verdict is Verdict.UNFAIR
    assert said.worst is not None
    assert said.worst.below == "b"
    assert said.worst.ratio_interval[1] < 0.8


def test_too_few_rows_are_not_known_yet_and_say_how_many_are_missing() -> None:
    said = verdict.judge(_counts(3, (0.3, 0.3), (1_000, 1_000)), FIVE_POINTS)
    assert said.verdict is Verdict.UNKNOWN
    assert said.rows_needed is not None
    enough = 1_000 + said.rows_needed
    later = [verdict.judge(_counts(seed, (0.3, 0.3), (enough, enough)), FIVE_POINTS).verdict for seed in range(20)]
    assert later.count(Verdict.FAIR) > 10


def test_a_group_below_the_smallest_cell_is_left_out_and_one_group_alone_is_not_known() -> None:
    said = verdict.judge(_counts(4, (0.9, 0.1), (1_000, 50), blocks=50), FIVE_POINTS)
    assert said.verdict is Verdict.UNKNOWN
    assert said.left_out == ("b",)
    assert said.worst is None


def test_a_change_that_comes_late_is_said_apart_from_the_verdict_since_the_beginning() -> None:
    calm, apart = (
        _counts(5, (0.3, 0.3), (20_000, 20_000), blocks=200),
        _counts(6, (0.3, 0.1), (4_000, 4_000), blocks=40),
    )
    joined = replace(
        calm,
        events=np.concatenate([calm.events, apart.events], axis=-1),
        hits=np.concatenate([calm.hits, apart.hits], axis=-1),
    )
    assert not verdict.judge(calm, FIVE_POINTS).became_unfair
    assert verdict.judge(joined, FIVE_POINTS).became_unfair


def test_a_gap_that_is_all_composition_is_shown_pooled_and_not_within_strata() -> None:
    rng = np.random.default_rng(7)
    rates = np.array([0.5, 0.2])[:, None, None]
    mix = np.array([[140.0, 80.0], [60.0, 120.0]])  # strata by groups: who applies differs
    events = np.repeat(mix[:, :, None], 150, axis=2)
    hits = rng.binomial(events.astype(int), rates).astype(float)
    within = Counts(groups=("a", "b"), events=events, hits=hits, strata=("x", "y"))
    pooled = Counts(groups=("a", "b"), events=events.sum(axis=0)[None], hits=hits.sum(axis=0)[None])
    assert verdict.judge(pooled, FIVE_POINTS).verdict is Verdict.UNFAIR
    assert verdict.judge(within, FIVE_POINTS).verdict is not Verdict.UNFAIR


@pytest.mark.parametrize("groups", [2, 8])
def test_equal_groups_are_called_unfair_in_at_most_alpha_of_the_runs_whatever_their_number(groups: int) -> None:
    cases = [_counts(seed, (0.2,) * groups, (3_000,) * groups, blocks=50) for seed in range(100)]
    said = verdict.judge_all(cases, replace(FIVE_POINTS, limit=Limit(difference=0.0)))
    assert sum(one.verdict is Verdict.UNFAIR for one in said) <= 11
    assert {one.verdict for one in said} <= {Verdict.UNFAIR, Verdict.UNKNOWN}, "a limit of 0 cannot be shown to be kept"


def test_judging_many_at_once_says_what_judging_each_says() -> None:
    cases = [
        _counts(1, (0.3, 0.2), (5_000, 900)),
        _counts(2, (0.3,), (500,)),
        _counts(3, (0.1, 0.1, 0.4), (900, 80, 900)),
    ]
    assert verdict.judge_all(cases, FOUR_FIFTHS) == [verdict.judge(one, FOUR_FIFTHS) for one in cases]


def test_labels_only_for_the_approved_leave_the_true_positive_rate_open() -> None:
    cells = Cells(
        true_positives=np.array([300.0]),
        false_positives=np.array([100.0]),
        false_negatives=np.array([0.0]),
        true_negatives=np.array([0.0]),
    )
    missing = bounds.Unlabelled(positive=np.array([0.0]), negative=np.array([600.0]))
    found = bounds.true_positive(cells, missing)
    assert (found.low[0], found.high[0]) == pytest.approx((1 / 3, 1.0))


def test_bounds_exclude_equal_rates_only_when_no_labels_could_make_them_so() -> None:
    far = bounds.Bounds(low=np.array([0.7, 0.1]), high=np.array([0.9, 0.3]))
    near = bounds.Bounds(low=np.array([0.7, 0.1]), high=np.array([0.9, 0.72]))
    assert far.certainly_above(0, 1)
    assert not far.certainly_above(1, 0)
    assert not near.certainly_above(0, 1)


@pytest.mark.parametrize("blocks", [3, 6, 9])
def test_batches_of_fifty_alike_are_no_evidence_in_the_first_blocks_either(blocks: int) -> None:
    rng = np.random.default_rng(14)
    hits = 50.0 * rng.binomial(20, 0.4, size=(200, 1, 2, blocks))
    cases = [Counts(groups=("a", "b"), events=np.full((1, 2, blocks), 1000.0), hits=one) for one in hits]
    said = verdict.judge_all(cases, Settings(limit=Limit(difference=0.05)))
    assert sum(one.verdict is Verdict.UNFAIR for one in said) <= 0.05 * len(said)


def test_outcomes_that_come_in_batches_of_twenty_alike_are_no_evidence_of_twenty() -> None:
    rng, blocks = np.random.default_rng(10), 60
    events = np.full((1, 2, blocks), 300.0)
    hits = 20.0 * rng.binomial(15, 0.3, size=(60, 1, 2, blocks))
    said = verdict.judge_all([Counts(groups=("a", "b"), events=events, hits=one) for one in hits], FOUR_FIFTHS)
    assert sum(one.verdict is Verdict.UNFAIR for one in said) <= 6
    assert not any(one.became_unfair for one in said)
