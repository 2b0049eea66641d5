"""Did it help? Better, no better, worse or not yet known, by bounds that hold at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midwatch.spec.promotion import Better
from monitors.canary.ratio import Interval
from monitors.loop import better, paired
from monitors.loop.better import DRIFTED, Evaluation, Helped, Role, Traffic, Verdict
from monitors.loop.paired import Pairs

ALPHA = 0.05


def pairs(rows: int, only_new: int, only_old: int) -> Pairs:
    return Pairs(rows=rows, only_new=only_new, only_old=only_old)


BETTER, EQUAL, WORSE, FEW = pairs(9000, 700, 300), pairs(40000, 500, 500), pairs(9000, 300, 700), pairs(300, 20, 15)


def compared(
    drifted: Pairs | None = None, *, traffic: Traffic | None = None, goes_on: bool | None = None, **more: Pairs
) -> Helped:
    """`more` are further sets, or groups when they begin with g_."""
    sets = {name: one for name, one in more.items() if not name.startswith("g_")}
    groups = {name: one for name, one in more.items() if name.startswith("g_")}
    evaluation = Evaluation(sets={DRIFTED: drifted, **sets}, groups=groups) if drifted else None
    return better.compare(
        "fraud",
        "v6",
        "v7",
        Better(),
        evaluation=evaluation,
        traffic=None if traffic is None else lambda _: traffic,
        drift_goes_on=goes_on,
    )


def of_traffic(low: float | None, ratio: float | None, high: float | None, **more: object) -> Traffic:
    given = {"rows": 5000, "rows_old": 5000, "wrong_new": 100, "wrong_old": 100, "tolerated": 1.1, "unacceptable": 1.5}
    return Traffic(interval=Interval(ratio=ratio, low=low, high=high), **{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("drifted", "verdict"),
    [(BETTER, Verdict.BETTER), (EQUAL, Verdict.NO_BETTER), (WORSE, Verdict.WORSE), (FEW, Verdict.UNKNOWN)],
)
def test_the_drifted_window_decides(drifted: Pairs, verdict: Verdict) -> None:
    assert compared(drifted).verdict is verdict


def test_no_better_reads_as_drift_in_the_world() -> None:
    said = compared(EQUAL, goes_on=True)
    assert said.is_upstream
    assert "Retraining did not help" in said.reading
    assert "drift still" in said.reading
    assert not compared(BETTER).is_upstream


def test_a_sure_gain_that_is_not_worth_a_version_is_no_better() -> None:
    tiny = pairs(4_000_000, 21_000, 19_000)
    assert paired.interval(tiny, ALPHA).low > 0
    assert compared(tiny).verdict is Verdict.NO_BETTER


@pytest.mark.parametrize("where", [{"frozen": WORSE}, {"g_young": WORSE}])
def test_a_loss_in_a_group_or_on_the_frozen_set_is_worse(where: dict[str, Pairs]) -> None:
    assert compared(BETTER, **where).verdict is Verdict.WORSE


@pytest.mark.parametrize("where", [{"frozen": FEW}, {"g_young": FEW}])
def test_better_waits_for_every_group_and_set_and_says_how_many_rows(where: dict[str, Pairs]) -> None:
    said = compared(BETTER, **where)
    assert said.verdict is Verdict.UNKNOWN
    assert said.needed is not None
    assert said.needed > 300


def test_equal_groups_with_rows_enough_keep_it_better() -> None:
    assert compared(BETTER, frozen=EQUAL, g_young=EQUAL).verdict is Verdict.BETTER


def test_nothing_compared_is_not_known() -> None:
    assert compared().verdict is Verdict.UNKNOWN
    empty = compared(pairs(0, 0, 0))
    assert (empty.verdict, empty.needed) == (Verdict.UNKNOWN, None)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.5, 0.6, 0.8), Verdict.BETTER),
        ((0.95, 1.0, 1.05), Verdict.NO_BETTER),
        ((1.2, 1.5, 2.0), Verdict.WORSE),
        ((0.7, 0.9, 1.2), Verdict.UNKNOWN),
        ((None, None, None), Verdict.UNKNOWN),
        ((None, 0.5, 0.9), Verdict.BETTER),
        ((1.3, 4.0, None), Verdict.WORSE),
    ],
)
def test_traffic_decides_where_there_are_no_rows_of_both(
    interval: tuple[float | None, float | None, float | None], verdict: Verdict
) -> None:
    assert compared(traffic=of_traffic(*interval)).verdict is verdict


def test_with_rows_of_both_traffic_has_only_to_be_no_worse() -> None:
    assert compared(BETTER, traffic=of_traffic(0.8, 1.0, 1.3)).verdict is Verdict.BETTER
    assert compared(BETTER, traffic=of_traffic(0.8, 1.2, 1.7)).verdict is Verdict.UNKNOWN
    assert compared(BETTER, traffic=of_traffic(1.6, 2.0, 2.7)).verdict is Verdict.WORSE


def test_a_doubt_about_the_traffic_decides_nothing() -> None:
    said = compared(traffic=of_traffic(1.2, 1.5, 2.0, doubts=("the baseline receives no traffic",)))
    assert said.verdict is Verdict.UNKNOWN
    assert "receives no traffic" in said.reason


def test_the_rows_that_are_said_to_be_needed_are_enough() -> None:
    few = pairs(600, 50, 30)
    needed = better.of_pairs("d", few, Role.SUPERIOR, Better(), ALPHA).needed
    assert needed is not None
    times = (600 + needed) / 600
    more = pairs(round(600 * times), round(50 * times), round(30 * times))
    # The bound falls a little slower than the root of the rows.
    more = pairs(round(more.rows * 1.2), round(more.only_new * 1.2), round(more.only_old * 1.2))
    assert better.of_pairs("d", more, Role.SUPERIOR, Better(), ALPHA).verdict is Verdict.BETTER


def test_false_alarms_are_shared_out_among_all_comparisons() -> None:
    levels = []

    def traffic(alpha: float) -> Traffic:
        levels.append(alpha)
        return of_traffic(0.9, 1.0, 1.1)

    sets = {DRIFTED: BETTER, "frozen": EQUAL}
    evaluation = Evaluation(sets=sets, groups={"a": EQUAL, "b": EQUAL})
    better.compare("m", "1", "2", Better(), evaluation=evaluation, traffic=traffic)
    assert levels == [pytest.approx(0.05 / 5)]


# The statistic -----------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_swapped_versions_mirrored() -> None:
    found, mirrored = paired.interval(BETTER, ALPHA), paired.interval(BETTER.swapped(), ALPHA)
    assert found.low == pytest.approx(-mirrored.high)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("edge", [pairs(0, 0, 0), pairs(50, 50, 0), pairs(50, 0, 50), pairs(50, 0, 0), pairs(1, 1, 0)])
def test_bounds_are_sound_at_the_edges(edge: Pairs) -> None:
    found = paired.interval(edge, ALPHA)
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_counts_that_cannot_be_are_refused() -> None:
    for rows, only_new, only_old in ((10, 6, 5), (10, -1, 0)):
        with pytest.raises(ValueError, match="cannot have"):
            pairs(rows, only_new, only_old)


def test_equal_versions_are_seldom_called_better_or_worse_however_often_somebody_looks() -> None:
    generator = np.random.default_rng(7)
    runs, looks, step = 200, 40, 100
    wrong = 0
    for _ in range(runs):
        rows = generator.choice(3, size=looks * step, p=[0.8, 0.1, 0.1])
        new, old = np.cumsum(rows == 1)[step - 1 :: step], np.cumsum(rows == 2)[step - 1 :: step]
        logs = [
            max(paired.log_wealth(one, 0.0), paired.log_wealth(one.swapped(), 0.0))
            for number, (a, b) in enumerate(zip(new, old, strict=True), 1)
            for one in [pairs(number * step, int(a), int(b))]
        ]
        wrong += max(logs) >= math.log(2 / ALPHA)
    assert wrong <= 2 * ALPHA * runs / 2 + 3 * math.sqrt(ALPHA * (1 - ALPHA) * runs)
    assert wrong <= 10


def test_a_gain_of_two_points_is_found() -> None:
    generator = np.random.default_rng(8)
    found = 0
    for _ in range(50):
        rows = generator.choice(3, size=8000, p=[0.9, 0.06, 0.04])
        found += (
            better.of_pairs(
                "d",
                pairs(8000, int((rows == 1).sum()), int((rows == 2).sum())),
                Role.SUPERIOR,
                Better(),
                ALPHA,
            ).verdict
            is Verdict.BETTER
        )
    assert found >= 48
