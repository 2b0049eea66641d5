"""What could not be seen is never called stable, and what one method sees with certainty is drift."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from midwatch.spec.drift import Feature
from monitors.drift import calibration, fitting, moments, reference, verdict
from monitors.drift.counts import CategoryGrid, Counts
from monitors.drift.methods import chi2, classifier

HOURLY = verdict.window_alpha("1 per 90d", 3600.0)
DRIFT, STABLE, INCONCLUSIVE = verdict.Verdict.DRIFT, verdict.Verdict.STABLE, verdict.Verdict.INCONCLUSIVE


def kinds(columns: dict[str, Any]) -> dict[str, Feature]:
    return {
        name: Feature.NUMERIC if isinstance(values, np.ndarray) else Feature.CATEGORICAL
        for name, values in columns.items()
    }


def fitted(columns: dict[str, Any], window_rows: int = 2000) -> reference.Reference:
    return fitting.fit(columns, kinds(columns), window_rows=window_rows)


def judged(made: reference.Reference, columns: dict[str, Any], methods: list[str], quorum: int = 2):
    rows = set(methods) & {"mmd", "classifier", "isolation_forest"}
    return verdict.judge(
        made.features,
        reference.count(made, columns),
        samples=len(next(iter(columns.values()))),
        methods=methods,
        quorum=quorum,
        alpha=HOURLY,
        min_samples=100,
        together=(made.joint, made.joint.embedding.rows(columns)) if rows else None,
    )


def test_a_large_effect_on_whole_rows_that_gets_no_vote_is_not_judged() -> None:
    levels = np.random.default_rng(3).normal(size=200)
    made = fitted({"load": levels.repeat(300)}, window_rows=1000)
    said = judged(made, {"load": np.full(1000, levels.max())}, ["mmd"], quorum=1)
    assert (said.verdict, said.not_judged[0].feature) == (INCONCLUSIVE, "all features"), said.reason


def test_values_of_a_column_that_the_reference_has_none_of_are_not_out_of_range_twice() -> None:
    made = fitted({"empty": np.full(4000, np.nan), "n": np.arange(4000) % 7.0})
    said = judged(made, {"empty": np.ones(2000), "n": np.arange(2000) % 7.0}, ["ks"])
    assert [one.result.statistic for one in said.quality if one.method == "out_of_range"] == [0.0, 0.0]
    assert [one.feature for one in said.not_judged] == ["empty"]


# The quorum of a feature -------------------------------------------------------------------------------------------


def customers(seed: int, rows: int, paid: float, flags: float = 0.01, others: float = 0.001) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {
        "amount": generator.normal(size=rows),
        "tip": np.where(generator.random(rows) < others, generator.lognormal(size=rows), 0.0),
        "plan": np.where(generator.random(rows) < paid, "paid", "free").tolist(),
        "flag": (generator.random(rows) < flags).tolist(),
    }


@pytest.fixture(scope="module")
def of_customers() -> reference.Reference:
    return fitted(customers(1, 50_000, 0.3))


def test_a_category_drifts_beside_a_calm_number_by_the_one_method_that_can_look(of_customers) -> None:
    said = judged(of_customers, customers(2, 2000, 0.6), ["ks", "psi"])
    assert said.verdict is DRIFT
    assert (said.nearest.about, said.votes, said.needed) == ("plan", 1, 1)
    assert "1 of 1 methods vote on plan, 1 make drift" in said.reason


def test_calm_customers_are_stable(of_customers) -> None:
    said = [judged(of_customers, customers(seed, 2000, 0.3), ["ks", "psi", "chi2"]).verdict for seed in range(50, 100)]
    assert set(said) == {STABLE}


@pytest.mark.parametrize(
    ("name", "change"), [("flag", {"flags": 0.03}), ("tip", {"others": 0.01})], ids=["flag", "non-zeros"]
)
def test_a_rare_thing_that_becomes_less_rare_is_drift(of_customers, name: str, change: dict[str, float]) -> None:
    said = judged(of_customers, customers(3, 5000, 0.3, **change), ["ks", "psi"])
    assert said.verdict is DRIFT
    assert [finding.feature for finding in said.drifted] == [name]


def test_a_long_reference_does_not_make_a_change_of_a_category_small() -> None:
    window = Counts(cells=np.array([970, 30, 0]))
    effects = [chi2.compare(Counts(cells=np.array([990, 10, 0]) * times), window).effect for times in (1, 1000)]
    assert effects[0] == pytest.approx(effects[1])


def test_one_vote_on_a_number_that_two_methods_can_see_is_not_enough(of_customers) -> None:
    window = customers(4, 20_000, 0.3)
    window["amount"] = window["amount"] * 1.06
    said = judged(of_customers, window, ["ks", "psi"])
    found = {finding.method: finding for finding in said.findings if finding.feature == "amount"}
    assert not found["ks"].is_certain
    assert not found["psi"].is_certain
    assert said.verdict is (DRIFT if found["ks"].votes and found["psi"].votes else STABLE)


# Many categories ---------------------------------------------------------------------------------------------------


def ids(seed: int, rows: int, values: int | None, first: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    numbers = range(first, first + rows) if values is None else generator.integers(0, values, rows).tolist()
    return {"x": generator.normal(size=rows), "id": [f"id-{one}" for one in numbers]}


@pytest.mark.parametrize("values", [300, 1_200, 10_000, None], ids=["300", "1200", "10000", "one per row"])
def test_calm_ids_are_stable_however_many_there_are(values: int | None) -> None:
    made = fitted(ids(1, 20_000, values), window_rows=1000)
    windows = [ids(seed, 1000, values, first=20_000 + 1000 * seed) for seed in range(2, 10)]
    assert {judged(made, window, ["ks", "psi", "chi2"]).verdict for window in windows} == {STABLE}


def test_categories_that_a_short_reference_has_once_each_are_no_news_in_a_window() -> None:
    made = fitted(ids(1, 1000, 900), window_rows=200)
    assert judged(made, ids(2, 500, 900), ["ks", "psi"]).verdict is STABLE


def test_categories_beyond_those_that_are_told_apart_are_not_called_new() -> None:
    columns = ids(1, 20_000, 4_000)
    columns["id"] = [one if place % 2 else "id-0" for place, one in enumerate(columns["id"])]
    made = fitted(columns, window_rows=1000)
    said = judged(made, ids(2, 1000, 4_000), ["ks", "psi"])
    assert said.verdict is DRIFT
    assert "are none of the 1,000 most frequent" in said.reason


def test_rare_categories_are_counted_together_until_a_window_has_some_rows_of_them() -> None:
    before = Counts(cells=np.append(np.full(500, 20), 0))
    windows = np.random.default_rng(1).multinomial(500, np.full(500, 1 / 500), size=200)
    p_values = [chi2.compare(before, Counts(cells=np.append(cells, 0))).p_value for cells in windows]
    assert np.mean(np.array(p_values) < 0.05) < 0.1
    assert min(p_values) > 1e-5


# Slow features -----------------------------------------------------------------------------------------------------

HOUR = 100


def hours(seed: int, count: int, *, held: float | None = None) -> dict[str, Any]:
    """A load that is one value for an hour and follows the day, beside independent rows."""
    generator = np.random.default_rng(seed)
    load = np.sin(2 * np.pi * np.arange(count) / 24) + 0.1 * generator.normal(size=count)
    load = np.full(count, held) if held is not None else load
    return {"x": generator.normal(size=count * HOUR), "load": np.repeat(load, HOUR)}


@pytest.mark.parametrize("window_rows", [HOUR, 5 * HOUR], ids=["an hour", "five hours"])
def test_a_slow_feature_held_at_its_largest_value_is_drift_or_named_as_not_judged(window_rows: int) -> None:
    columns = hours(1, 24 * 14)
    made = fitted(columns, window_rows=window_rows)
    said = judged(made, hours(2, 5, held=float(columns["load"].max())), ["ks", "psi"])
    named = {one.feature: one for one in said.not_judged}
    assert said.verdict is DRIFT or ("load" in named and "load" in said.reason)
    if said.verdict is not DRIFT:
        assert named["load"].smallest > 0.6
        assert "would be seen" in named["load"].why


def test_a_window_of_which_nothing_could_be_judged_is_inconclusive() -> None:
    columns = {"load": hours(1, 24 * 14)["load"]}
    said = judged(fitted(columns, window_rows=5 * HOUR), {"load": hours(2, 5)["load"]}, ["ks", "psi"])
    assert said.verdict is INCONCLUSIVE
    assert said.reason.startswith("nothing could be judged; not judged: load (no ks, however large, would be seen")


def test_a_feature_that_none_of_the_methods_can_compare_is_named() -> None:
    said = judged(fitted(ids(1, 5000, 5)), ids(2, 1000, 5), ["ks"], quorum=1)
    assert [(one.feature, one.why) for one in said.not_judged] == [("id", "ks cannot compare a categorical feature")]
    assert said.verdict is STABLE


def test_windows_that_go_through_the_whole_day_see_what_a_day_does_not_do() -> None:
    def days(seed: int, count: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return np.sin(2 * np.pi * np.arange(count * 1200) / 1200) + generator.normal(size=count * 1200)

    made = fitted({"x": days(1, 28)}, window_rows=1200)
    calm = [judged(made, {"x": days(seed, 1)}, ["ks", "psi"]).verdict for seed in range(2, 20)]
    moved = [judged(made, {"x": days(seed, 1) + 0.4}, ["ks", "psi"]).verdict for seed in range(2, 10)]
    assert (set(calm), set(moved)) == ({STABLE}, {DRIFT})


def test_one_slow_column_does_not_blind_the_methods_of_whole_rows() -> None:
    def table(seed: int, count: int, shift: float) -> dict[str, Any]:
        generator = np.random.default_rng(seed)
        values = generator.normal(size=(6, count * HOUR)) + shift
        slow = {"slow": np.repeat(generator.normal(size=count), HOUR)}
        return slow | {f"x{index}": column for index, column in enumerate(values)}

    made = fitted(table(1, 200, 0.0), window_rows=1000)
    assert made.joint.embedding.features == [f"x{index}" for index in range(6)]
    for method in ("mmd", "classifier"):
        assert judged(made, table(2, 10, 0.5), [method]).verdict is DRIFT
        assert judged(made, table(3, 10, 0.0), [method]).verdict is not DRIFT


def test_inflation_is_that_of_the_windows_size() -> None:
    curve = calibration.Inflation((100, 400), (2.0, 8.0))
    assert curve.of(50) == 2.0
    assert 2.0 < curve.of(200) < 8.0
    assert curve.of(1600) == pytest.approx(32.0)
    assert calibration.Inflation().of(10**6) == 1.0


def test_a_tail_and_its_effect_are_each_others_inverse(of_customers) -> None:
    for name, feature in of_customers.features.items():
        for method_name, method in reference.methods.FEATURE.items():
            if feature.kind in method.features and method.tail is not None:
                effect = method.tail.effect(1e-6, feature.counts, 2000, 3.0)
                again = method.tail.p_value(effect, feature.counts, 2000, 3.0)
                assert math.log10(again) == pytest.approx(-6, rel=0.01), (name, method_name)


# All features together ---------------------------------------------------------------------------------------------


def correlated(seed: int, rows: int, correlation: float) -> dict[str, Any]:
    values = np.random.default_rng(seed).normal(size=(12, rows))
    values[1] = correlation * values[0] + np.sqrt(1 - correlation**2) * values[1]
    return {f"x{index}": column for index, column in enumerate(values)}


@pytest.mark.parametrize("correlation", [0.3, 0.5])
def test_one_correlation_among_many_features_is_drift_by_the_method_that_sees_it(correlation: float) -> None:
    made = fitted(correlated(1, 10_000, 0.0))
    methods = ["ks", "psi", "isolation_forest", "classifier"]
    said = judged(made, correlated(2, 2000, correlation), methods)
    assert (said.verdict, {finding.feature for finding in said.drifted}) == (DRIFT, {"all features"})
    assert judged(made, correlated(3, 2000, 0.0), methods).verdict is STABLE


def test_few_rows_of_a_new_sort_are_seen_among_many_dimensions() -> None:
    generator = np.random.default_rng(1)
    before = generator.normal(size=(6000, 60)).astype(np.float32)
    now, calm = (generator.normal(size=(3000, 60)).astype(np.float32) for _ in range(2))
    now[:90] += 3 * generator.choice([-1, 1], 60)
    said = classifier.compare(before, generator.permutation(now))
    assert said.p_value < 1e-7
    assert said.effect > classifier.FLOOR
    assert classifier.compare(before, calm).p_value > 1e-3


def test_a_grid_knows_whether_it_is_the_whole() -> None:
    assert CategoryGrid.fit(["a", "b"]).whole
    assert not CategoryGrid.fit([str(one) for one in range(2000)]).whole


def runs(seed: int, rows: int, correlation: float) -> dict[str, Any]:
    """Rows each close to the one before: worth a ninth of independent ones."""
    values = lfilter([0.6], [1.0, -0.8], np.random.default_rng(seed).normal(size=(12, rows + 100)), axis=1)[:, 100:]
    values[1] = correlation * values[0] + np.sqrt(1 - correlation**2) * values[1]
    return {f"x{index}": column for index, column in enumerate(values)}


def test_a_correlation_is_seen_in_rows_that_come_in_runs() -> None:
    made = fitted(runs(1, 40_000, 0.0), window_rows=4000)
    seen = {
        correlation: [judged(made, runs(seed, 4000, correlation), ["ks", "psi", "classifier"]) for seed in seeds]
        for correlation, seeds in ((0.0, range(2, 5)), (0.3, range(10, 12)), (0.5, range(15, 17)))
    }
    assert {said.verdict for said in seen[0.0]} == {STABLE}
    assert {said.verdict for said in seen[0.3] + seen[0.5]} == {DRIFT}
    assert all("x0 and x1 together" in said.reason for said in seen[0.3] + seen[0.5])


def test_the_mean_of_a_rare_thing_is_not_taken_for_a_normal_one() -> None:
    generator = np.random.default_rng(1)
    before = (generator.random((4000, 10)) < 0.001).astype(np.float32)
    windows = [(generator.random((1000, 10)) < 0.001).astype(np.float32) for _ in range(60)]
    p_values = [found.p_value for window in windows if (found := moments.compare(before, window, None))]
    assert min(p_values) > 1e-4


def test_a_mean_that_strays_among_calm_windows_strays_no_further() -> None:
    generator = np.random.default_rng(2)

    def window() -> np.ndarray:
        return (generator.normal(size=(500, 8)) + 0.2 * generator.normal(size=8)).astype(np.float32)

    calm = [window() for _ in range(20)]
    means = moments.CalmMeans(means=np.array([one.mean(axis=0) for one in calm]), rows=500)
    before = np.concatenate(calm)
    p_values = [moments.compare(before, window(), means).p_value for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.05) < 0.1
    assert moments.compare(before, window() + np.float32(2), means).p_value < 1e-6


def test_more_rows_of_one_run_say_no_more_than_those_that_calm_windows_were_looked_at() -> None:
    whole = np.stack(list(runs(3, 140 * 2000, 0.0).values()), axis=1).reshape(140, 2000, 12).astype(np.float32)
    calm, after = whole[:20], whole[20:]
    means = moments.CalmMeans(means=calm[:, ::20].mean(axis=1), rows=100)
    before = np.concatenate(calm)[::8]
    p_values = [moments.compare(before, window[::2], means, features=12).p_value for window in after]
    assert np.mean(np.array(p_values) < 0.05) < 0.1


@pytest.mark.parametrize("days", [19, 38])
def test_calm_windows_are_of_all_hours_however_many_days_a_reference_has(days: int) -> None:
    starts = calibration.window_starts(24 * HOUR * days, HOUR, 20)
    assert len(starts) == 20
    assert len({start // HOUR % 24 for start in starts.tolist()}) > 8
    assert (np.diff(starts) >= HOUR).all()


def test_methods_of_whole_rows_that_would_see_nothing_are_named() -> None:
    slow = {f"x{index}": hours(index, 24 * 14)["load"] for index in range(3)}
    made = fitted(slow, window_rows=2 * HOUR)
    window = {f"x{index}": hours(index + 10, 2)["load"] for index in range(3)}
    said = judged(made, window, ["isolation_forest"], quorum=1)
    assert said.verdict is INCONCLUSIVE
    assert [one.feature for one in said.not_judged] == ["all features"]
