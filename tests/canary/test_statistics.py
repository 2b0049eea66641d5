"""The tests and bounds behind a verdict: published values where there are any, error rates by simulation where not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln, logsumexp
from scipy.stats import binom, norm

from monitors.canary import band, bursts, mannwhitney, ratio, share
from monitors.canary.arms import Arms
from tests.canary.arms import simulated

RUNS = 1000
LEVEL = math.log(1 / 0.05)


def share_of(log_e: np.ndarray) -> float:
    return float((log_e.max(axis=-1) >= LEVEL).mean())


# Ratio -------------------------------------------------------------------------------------------------------------


def test_at_a_fixed_share_it_is_the_published_multinomial_test() -> None:
    """Lindon & Malek 2022, equation for two arms: a Beta mixture over the canary's share of the events."""
    arms = simulated(ratio=1.5, intervals=60)
    fixed = Arms(
        baseline_events=arms.baseline_events,
        baseline_requests=np.full(60, 900),
        canary_events=arms.canary_events,
        canary_requests=np.full(60, 100),
    )
    y, n, r, k = int(fixed.canary_events.sum()), int((fixed.canary_events + fixed.baseline_events).sum()), 0.1, 100
    published = betaln(k * r + y, k * (1 - r) + n - y) - betaln(k * r, k * (1 - r))
    published -= y * math.log(r) + (n - y) * math.log(1 - r)
    p = np.linspace(0.001, 0.6, 4000)
    prior = (k * r - 1) * np.log(p) + (k * (1 - r) - 1) * np.log1p(-p)
    d = np.log(p * (1 - r) / ((1 - p) * r))
    ours = ratio.components(fixed, 0.0, d)[:, -1]
    assert logsumexp(ours + prior) - logsumexp(prior) == pytest.approx(published, abs=1e-3)


def test_its_expectation_is_at_most_one_whatever_the_share_of_events() -> None:
    """Exact enumeration of one interval: two binomial arms at the null's ratio, rare events and frequent ones."""
    null, alternative, n_baseline, n_canary = math.log(1.3), math.log(2.0), 60, 20
    for often in (0.001, 0.05, 0.3, 0.7):
        x, y = np.meshgrid(np.arange(n_baseline + 1), np.arange(n_canary + 1), indexing="ij")
        arms = Arms(
            baseline_events=x[..., None],
            baseline_requests=np.full((*x.shape, 1), n_baseline),
            canary_events=y[..., None],
            canary_requests=np.full((*x.shape, 1), n_canary),
        )
        e = np.exp(ratio.components(arms, null, np.array([alternative]))[0, ..., 0])
        chance = binom.pmf(x, n_baseline, often) * binom.pmf(y, n_canary, often * 1.3)
        expected = float((e * chance).sum())
        assert expected <= 1 + 1e-9
        assert expected > 0.999 or often > 0.001  # exact for rare events, conservative for frequent ones
        better = binom.pmf(y, n_canary, often)
        assert float((e * binom.pmf(x, n_baseline, often) * better).sum()) <= 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"ratio": 1.0}, 0.05), ({"ratio": 1.2}, 0.05), ({"base": 0.3}, 0.05), ({"rps": 2.0}, 0.05)],
    ids=["equal", "at the tolerated ratio", "frequent events", "little traffic"],
)
def test_no_more_false_alarms_than_stated_however_often_it_is_looked_at(change: dict, expected: float) -> None:
    arms = simulated(runs=RUNS, **change)
    assert share_of(ratio.log_e_above(arms, 1.2 if change.get("ratio") == 1.2 else 1.0)) <= expected


def test_ramps_and_drift_that_both_arms_share_raise_no_alarm() -> None:
    generator = np.random.default_rng(4)
    weight = np.repeat([0.05, 0.1, 0.25, 0.5], 60)
    often = 0.01 * (1 + 3 * np.sin(np.linspace(0, 9, 240)) ** 2)
    canary = generator.poisson(750 * weight, (RUNS, 240))
    baseline = generator.poisson(750 * (1 - weight), (RUNS, 240))
    arms = Arms(
        baseline_events=generator.binomial(baseline, often),
        baseline_requests=baseline,
        canary_events=generator.binomial(canary, often),
        canary_requests=canary,
    )
    assert share_of(ratio.log_e_above(arms, 1.0)) <= 0.05
    assert share_of(ratio.log_e_below(arms, 1.5)) > 0.9


def test_a_regression_is_found_and_an_unacceptable_one_not_passed() -> None:
    assert share_of(ratio.log_e_above(simulated(ratio=2.0, runs=300), 1.1)) == 1.0
    assert share_of(ratio.log_e_below(simulated(ratio=1.5, runs=RUNS), 1.5)) <= 0.05
    assert share_of(ratio.log_e_below(simulated(ratio=1.0, runs=300), 1.5)) > 0.95


def test_intervals_without_requests_on_an_arm_say_nothing() -> None:
    arms = simulated(intervals=40)
    cut = Arms(
        baseline_events=arms.baseline_events,
        baseline_requests=arms.baseline_requests,
        canary_events=np.where(np.arange(40) < 20, 0, arms.canary_events),
        canary_requests=np.where(np.arange(40) < 20, 0, arms.canary_requests),
    )
    assert ratio.log_e_above(cut, 1.1)[:20] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_interval_holds_the_true_ratio_at_every_look(true: float) -> None:
    """Two hundred runs, looked at every ten minutes; the error is stated as 5% for all looks together."""
    arms = simulated(ratio=true, runs=200, rps=200.0)
    missed = 0
    for run in range(200):
        cut = [
            ratio.always_valid(
                Arms(
                    baseline_events=arms.baseline_events[run, :until],
                    baseline_requests=arms.baseline_requests[run, :until],
                    canary_events=arms.canary_events[run, :until],
                    canary_requests=arms.canary_requests[run, :until],
                ),
                0.05,
            )
            for until in (40, 120, 240)
        ]
        missed += any((one.low or 0) > true or (one.high or math.inf) < true for one in cut)
    assert missed <= 10
    assert cut[-1].ratio == pytest.approx(true, rel=0.3)
    assert (cut[-1].high or 9) / (cut[-1].low or 1) < 2


def test_without_events_nothing_is_known_of_the_ratio_and_with_events_on_one_arm_one_end() -> None:
    none = simulated(base=0.0)
    assert ratio.always_valid(none, 0.05) == ratio.Interval(ratio=None, low=None, high=None)
    only = Arms(
        baseline_events=none.baseline_events,
        baseline_requests=none.baseline_requests,
        canary_events=np.minimum(none.canary_requests, 1),
        canary_requests=none.canary_requests,
    )
    found = ratio.always_valid(only, 0.05)
    assert found.ratio is None
    assert found.low is not None
    assert found.low > 20
    assert found.high is None
    swapped = ratio.always_valid(only.swapped(), 0.05)
    assert (swapped.ratio, swapped.low is None or swapped.low == 0) == (0.0, True)


# Share -------------------------------------------------------------------------------------------------------------


def test_a_share_is_called_rare_or_not_with_the_stated_error() -> None:
    at_limit = simulated(base=0.002, runs=RUNS)
    events, requests = at_limit.canary_events, at_limit.canary_requests
    assert share_of(share.log_e_above(at_limit, 0.002)) <= 0.05
    assert share_of(share.log_e_below(events, requests, 0.002)) <= 0.05
    none = simulated(base=0.0, runs=3)
    assert share_of(share.log_e_below(none.canary_events, none.canary_requests, 0.001)) == 1.0


# Bursts ------------------------------------------------------------------------------------------------------------


def bursty(*, ratio_: float, runs: int, seed: int = 5, per_interval: float = 7.5) -> Arms:
    """Arms of equal size whose error rate varies per arm and interval with a coefficient of variation of 1."""
    generator = np.random.default_rng(seed)
    requests = generator.poisson(per_interval * 100, (2, runs, 240))
    heat = generator.gamma(1.0, 1.0, (2, runs, 240))
    return Arms(
        baseline_events=generator.poisson(requests[0] * 0.01 * heat[0]),
        baseline_requests=requests[0],
        canary_events=generator.poisson(requests[1] * 0.01 * ratio_ * heat[1]),
        canary_requests=requests[1],
    )


def test_bursts_break_the_independent_test_and_not_the_one_for_equal_arms() -> None:
    calm = bursty(ratio_=1.0, runs=500)
    assert share_of(ratio.log_e_above(calm, 1.0)) > 0.2
    assert share_of(bursts.log_e_above(calm, 1.0)) <= 0.05
    assert share_of(bursts.log_e_above(bursty(ratio_=1.5, runs=300), 1.5)) <= 0.05
    assert share_of(bursts.log_e_below(bursty(ratio_=1.5, runs=300), 1.5)) <= 0.05
    assert share_of(bursts.log_e_above(bursty(ratio_=3.0, runs=100), 1.1)) > 0.95


def test_a_symmetric_difference_has_expectation_one() -> None:
    """The bet's values at +x and -x add up to 2, whatever the arms' common distribution."""
    one = np.array([[0], [5], [200]])
    other = np.array([[9], [5], [0]])
    same = np.full((3, 1), 1000)

    def e(canary: np.ndarray, baseline: np.ndarray) -> np.ndarray:
        arms = Arms(baseline_events=baseline, baseline_requests=same, canary_events=canary, canary_requests=same)
        return np.exp(bursts.log_e_above(arms, 1.0))

    assert e(one, other) + e(other, one) == pytest.approx(2.0)


def test_thinning_is_averaged_exactly() -> None:
    kept, chance = bursts._thinned(np.array([[40, 4000]]), np.array([[0.6, 0.9]]))
    mean = (kept * chance).sum(axis=-1)
    assert mean == pytest.approx(np.array([[24.0, 3600.0]]))
    assert ((kept - mean[..., None]) ** 2 * chance).sum(axis=-1) == pytest.approx(np.array([[9.6, 360.0]]), rel=1e-6)


# Bands -------------------------------------------------------------------------------------------------------------


def test_the_band_is_the_published_one() -> None:
    """Howard & Ramdas 2022: constants for A = 0.85, and the value for 1,000 observations."""
    assert [round(band.constant(alpha), 3) for alpha in (0.05, 0.025, 0.01)] == [8.123, 8.623, 9.284]
    assert band.radius(1000, 0.05) == pytest.approx(0.0820477, abs=2e-7)
    assert band.radius(99, 0.05) == 1.0


def test_equal_distributions_are_hardly_ever_told_apart_and_different_ones_are() -> None:
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(300):
        sides = np.cumsum(generator.multinomial(30, [0.2, 0.5, 0.2, 0.1], (2, 200)), axis=1)
        cumulative = np.cumsum(sides, axis=2)
        wrong += any(band.compare(cumulative[0, look], cumulative[1, look], 0.05).differ for look in range(0, 200, 10))
    assert wrong <= 15
    slow = band.compare(np.array([500, 1000]), np.array([100, 1000]), 0.05)
    assert slow.differ


# Mann-Whitney ------------------------------------------------------------------------------------------------------

PERMEABILITY = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
"""Hollander & Wolfe 1973, page 69: permeability at term, below it early; the example of R's wilcox.test."""
EARLY = [1.15, 0.88, 0.90, 0.74, 1.21]


def test_the_shift_and_its_interval_are_those_of_the_textbook_example() -> None:
    """R: estimate 0.305, 95% interval -0.15 to 0.76 (exact); the normal approximation is that of `exact = FALSE`."""
    found = mannwhitney.estimate_shift(np.array(EARLY), np.array(PERMEABILITY), confidence=0.95)
    assert (found.low, found.estimate, found.high) == pytest.approx((-0.15, 0.305, 0.76), abs=0.01)


def test_the_statistic_is_the_tie_corrected_one() -> None:
    """R, wilcox.test(Ozone ~ Month, airquality, May and August): W = 127.5, p = 0.0001208 with ties."""
    may = [41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37]
    august = [39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85]
    z = mannwhitney._statistic(np.array(august, float), np.array(may, float), 0.0)
    assert 2 * norm.cdf(-abs(z)) == pytest.approx(0.0001208, rel=1e-3)


def sample(mean: float, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, 2.0, 30))


@pytest.mark.parametrize(
    ("baseline", "canary", "rule", "label"),
    [
        (sample(10, 1), sample(10, 2), {}, "Pass"),
        (sample(10, 1), sample(20, 2), {}, "High"),
        (sample(20, 1), sample(10, 2), {}, "Low"),
        (sample(20, 1), sample(10, 2), {"direction": "increase"}, "Pass"),
        (sample(10, 1), sample(20, 2), {"direction": "decrease"}, "Pass"),
        (sample(10, 1), sample(12, 2), {"allowed": {"increase": 1.5}}, "Pass"),
        (sample(10, 1), sample(20, 2), {"allowed": {"increase": 1.5}}, "High"),
        (sample(10, 1), sample(20, 2), {"measure": "cles", "allowed": {"increase": 0.8}}, "High"),
        (sample(10, 1), sample(10, 1), {}, "Pass"),
        ([5.0] * 20, [7.0] * 20, {}, "High"),
        ([0.0] * 20, sample(3, 1), {"allowed": {"increase": 5.0}}, "High"),
        (sample(10, 1), [], {}, "Nodata"),
        (sample(10, 1), [math.nan], {}, "Nodata"),
        (sample(10, 1), [], {"nan": "replace"}, "Pass"),
        (sample(10, 1), [], {"must_have_data": True}, "NodataFailMetric"),
        ([1.0, 2, 3, 4, 5] * 4, [1.0, 2, 3, 4, 5] * 4 + [1e6], {"outliers": "remove"}, "Pass"),
    ],
    ids=[
        "equal",
        "high",
        "low",
        "low where only increases count",
        "high where only decreases count",
        "below the effect",
        "above the effect",
        "probability of superiority",
        "the same samples",
        "constants",
        "no effect from a mean of 0",
        "empty",
        "only NaN",
        "empty counts as 0",
        "must have data",
        "an outlier",
    ],
)
def test_a_gauge_is_labelled_as_kayenta_does(baseline: list, canary: list, rule: dict, label: str) -> None:
    found = mannwhitney.classify(baseline, canary, mannwhitney.Rule(**rule))
    assert found.label.value == label
    assert mannwhitney.classify(baseline, canary, mannwhitney.Rule(**rule)) == found


def test_groups_weigh_what_they_are_given_and_a_critical_one_fails_all() -> None:
    def labelled(label: str, *, critical: bool = False) -> mannwhitney.Classified:
        return mannwhitney.Classified(
            label=mannwhitney.Label(label), reason="", baseline_size=1, canary_size=1, is_critical_failure=critical
        )

    found = {"a": labelled("Pass"), "b": labelled("High"), "c": labelled("Pass"), "d": labelled("Nodata")}
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    said = mannwhitney.score(found, groups, {"x": 80})
    assert (said.total, said.groups) == (pytest.approx(0.8 * 50 + 0.2 * 100), {"x": 50.0, "y": 100.0})
    assert mannwhitney.score({**found, "b": labelled("High", critical=True)}, groups, {}).total == 0
    assert "no data" in mannwhitney.score({"a": labelled("Nodata"), "b": labelled("Pass")}, groups, {}).reason
