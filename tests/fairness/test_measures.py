"""Measures from counts equal those of fairlearn and AIF360 on the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitors.fairness import measures
from monitors.fairness.measures import Cells

fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")

GROUPS = ("a", "b", "c")


def _rows(seed: int, size: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    groups = rng.choice(GROUPS, size=size, p=(0.6, 0.3, 0.1))
    actual = rng.random(size) < np.select([groups == "a", groups == "b"], [0.3, 0.5], 0.4)
    predicted = rng.random(size) < np.where(actual, 0.7, 0.2) + 0.1 * (groups == "a")
    return pd.DataFrame({"group": groups, "actual": actual.astype(int), "predicted": predicted.astype(int)})


def _cells(rows: pd.DataFrame) -> Cells:
    def count(predicted: int, actual: int) -> np.ndarray:
        chosen = rows[(rows.predicted == predicted) & (rows.actual == actual)]
        return chosen.group.value_counts().reindex(GROUPS, fill_value=0).to_numpy(dtype=float)

    return Cells(
        true_positives=count(1, 1), false_positives=count(1, 0), false_negatives=count(0, 1), true_negatives=count(0, 0)
    )


@pytest.mark.parametrize("seed", range(8))
def test_differences_and_ratios_are_fairlearns(seed: int) -> None:
    rows = _rows(seed)
    cells = _cells(rows)
    given_rows = {"y_true": rows.actual, "y_pred": rows.predicted, "sensitive_features": rows.group}
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        for form, ours in (("difference", measures.measured_difference), ("ratio", measures.measured_ratio)):
            theirs = getattr(fairlearn, f"{name}_{form}")(**given_rows)
            assert ours(name, cells) == pytest.approx(theirs, abs=1e-12, nan_ok=True), f"{name}_{form}"


def test_other_rates_are_the_metric_frames_of_fairlearn() -> None:
    from sklearn.metrics import accuracy_score, precision_score

    rows = _rows(7)
    frame = fairlearn.MetricFrame(
        metrics={"precision": precision_score, "accuracy": accuracy_score},
        y_true=rows.actual,
        y_pred=rows.predicted,
        sensitive_features=rows.group,
    )
    cells = _cells(rows)
    ours = {"predictive_parity": "precision", "accuracy_parity": "accuracy"}
    for name, theirs in ours.items():
        assert measures.measured_difference(name, cells) == pytest.approx(frame.difference()[theirs], abs=1e-12)
        assert measures.measured_ratio(name, cells) == pytest.approx(frame.ratio()[theirs], abs=1e-12)


def test_two_groups_are_compared_as_aif360_does() -> None:
    aif360 = pytest.importorskip("aif360.sklearn.metrics", reason="AIF360 is not installed")
    rows = _rows(11)
    rows = rows[rows.group != "c"]
    cells = _cells(rows)
    indexed = rows.set_index("group")
    of = {"prot_attr": "group", "priv_group": "a"}
    selected, found, mistaken = (
        of_cells(cells).rates for of_cells in (measures.selection, measures.true_positive, measures.false_positive)
    )
    parity = aif360.statistical_parity_difference(indexed.actual, indexed.predicted, **of)
    assert selected[1] - selected[0] == pytest.approx(parity, abs=1e-12)
    impact = aif360.disparate_impact_ratio(indexed.actual, indexed.predicted, **of)
    assert selected[1] / selected[0] == pytest.approx(impact, abs=1e-12)
    opportunity = aif360.equal_opportunity_difference(indexed.actual, indexed.predicted, **of)
    assert found[1] - found[0] == pytest.approx(opportunity, abs=1e-12)
    odds = aif360.average_odds_difference(indexed.actual, indexed.predicted, **of)
    assert (found[1] - found[0] + mistaken[1] - mistaken[0]) / 2 == pytest.approx(odds, abs=1e-12)


def test_errors_of_a_regression_are_the_metric_frame_of_fairlearn() -> None:
    from sklearn.metrics import mean_absolute_error

    rng = np.random.default_rng(3)
    groups, actual = rng.choice(GROUPS, size=300), rng.normal(size=300)
    predicted = actual + rng.normal(size=300) * np.where(groups == "a", 1.0, 2.0)
    frame = fairlearn.MetricFrame(
        metrics=mean_absolute_error, y_true=actual, y_pred=predicted, sensitive_features=groups
    )
    observed = np.array([(groups == group).sum() for group in GROUPS], dtype=float)
    absolute = np.array([np.abs(predicted - actual)[groups == group].sum() for group in GROUPS])
    errors = measures.mean_errors(observed, absolute)
    assert measures.difference(errors) == pytest.approx(frame.difference(), abs=1e-12)


def test_four_fifths_are_of_the_highest_rate_and_one_sided() -> None:
    shares = measures.to_best(np.array([0.5, 0.39, 0.6]))
    assert shares == pytest.approx([0.8333333, 0.65, 1.0])


def test_a_rate_without_events_is_unknown_and_is_left_out() -> None:
    cells = Cells(
        true_positives=np.array([3.0, 4.0, 0.0]),
        false_positives=np.array([1.0, 0.0, 5.0]),
        false_negatives=np.array([1.0, 4.0, 0.0]),
        true_negatives=np.array([5.0, 2.0, 5.0]),
    )
    rates = measures.true_positive(cells).rates
    assert np.isnan(rates[2])
    assert measures.measured_difference("equal_opportunity", cells) == pytest.approx(0.25)
    assert np.isnan(measures.difference(np.array([np.nan, 0.2])))


def test_calibration_of_a_group_is_the_mean_gap_of_its_bins() -> None:
    scored, positives, sums = (
        np.array([[10.0, 10.0], [20.0, 0.0]]),
        np.array([[2.0, 8.0], [4.0, 0.0]]),
        np.array([[2.0, 7.0], [8.0, 0.0]]),
    )
    assert measures.calibration_gaps(scored, positives, sums) == pytest.approx([0.05, 0.2])


def test_exposure_falls_with_the_logarithm_of_the_place() -> None:
    assert measures.exposure(np.array([1.0, 3.0, 7.0])) == pytest.approx([1.0, 0.5, 1 / 3])
