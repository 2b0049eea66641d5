"""Objectives of a model's quality: what they count is what the field means by their names, and each is proven."""

from __future__ import annotations

import pytest
import yaml

from alerts.objectives import groups
from alerts.objectives import objective as objectives
from alerts.proofs import prove
from midwatch import promql, quality
from midwatch.errors import InvalidInputError
from midwatch.spec.model import Model
from midwatch.spec.slo import Sli
from tests.alerts.conftest import value
from tests.conftest import need_program, platform_document

CLASSES = [
    {"name": "precise", "sli": {"precision": {"class": "yes"}}, "objective": "90%"},
    {"name": "complete", "sli": {"recall": {"class": "yes"}}, "objective": "80%"},
    {"name": "both", "sli": {"f1": {"class": "yes"}}, "objective": "85%"},
    {"name": "quiet", "sli": {"false_positive_rate": {"class": "yes"}}, "objective": "99%"},
    {"name": "honest", "sli": {"calibration": {"at_most": "10%"}}, "objective": "95%"},
    {"name": "labelled", "sli": {"labels": "arrived"}, "objective": "95%"},
]
NUMBERS = [
    {"name": "near", "sli": {"absolute_error": {"within": 5}}, "objective": "90%", "by": ["version"]},
    {"name": "mean", "sli": {"mean_absolute_error": {"at_most": 2.5, "over": "1h"}}, "objective": "95%"},
    {"name": "arrived", "sli": {"labels": "arrived"}, "objective": "95%"},
]
ONLY_PAGE = {"burn_rate": {"ticket_quick": False, "ticket_slow": False, "page_slow": False}}


@pytest.fixture
def document() -> dict:
    made = platform_document()
    classes = {"name": "fraud", "owner": "ml", "task": "classification", "positive": "yes", "classes": ["yes", "no"]}
    numbers = {"name": "price", "owner": "ml", "task": "regression"}
    made["models"] = [
        classes | {"slos": [one | ONLY_PAGE for one in CLASSES]},
        numbers | {"slos": [one | ONLY_PAGE for one in NUMBERS]},
    ]
    return made


def test_every_objective_of_quality_is_proven(document, load_text) -> None:
    need_program("promtool")
    platform = load_text(yaml.safe_dump(document, sort_keys=False))
    proved = prove.prove(platform, ["ErrorBudgetBurn"])
    assert len(proved) == len(CLASSES) + len(NUMBERS)
    assert {one.alert: one.reason for one in proved if one.outcome is not prove.Outcome.PROVEN} == {}


MATRIX = {("yes", "yes"): 60, ("yes", "no"): 20, ("no", "yes"): 40, ("no", "no"): 180}
"""Predictions a minute by predicted and actual class: 80 are predicted yes, 100 are."""

SHARES = {
    "precision": ({"precision": {"class": "yes"}}, 60 / 80),
    "recall": ({"recall": {"class": "yes"}}, 60 / 100),
    "f1": ({"f1": {"class": "yes"}}, 120 / 180),
    "true negatives": ({"false_positive_rate": {"class": "yes"}}, 180 / 200),
    "labels": ({"labels": "arrived"}, 300 / 375),
}


def test_shares_of_a_confusion_matrix_are_what_the_field_calls_them(promtool) -> None:
    model = Model.model_validate({"name": "m", "owner": "o", "task": "classification", "positive": "yes"})
    series = {
        f'ml_settled_outcomes_total{{model="m",version="v",predicted="{predicted}",actual="{actual}"}}': f"0+{count}x20"
        for (predicted, actual), count in MATRIX.items()
    }
    for result, count in (("right", 240), ("wrong", 60), ("unlabelled", 75)):
        series[f'ml_settled_predictions_total{{model="m",version="v",predicted="yes",result="{result}"}}'] = (
            f"0+{count}x20"
        )
    expected = []
    for sli, share in SHARES.values():
        counted = quality.counted(model, Sli.model_validate(sli))
        assert counted is not None
        # promtool compares exactly: the nearest thousandth is whole.
        thousandths = promql.call("round", counted.good(600.0) / counted.total(600.0) * 1000)
        expected.append(value(str(thousandths), "15m", "{}", round(share * 1000)))
    assert promtool([], series, expected, "1m") == ""


def test_the_interval_of_f1_is_that_of_hits_among_hits_and_misses(promtool) -> None:
    model = Model.model_validate({"name": "m", "owner": "o", "task": "classification"})
    counted = quality.counted(model, Sli.model_validate({"f1": {"class": "yes"}}))
    assert counted is not None
    # Ten minutes hold 600 hits and 600 misses: Wilson's bounds of a half of 1200 are 0.4717 and 0.5283.
    series = {
        f'ml_settled_outcomes_total{{model="m",version="v",predicted="{predicted}",actual="{actual}"}}': f"0+{count}x20"
        for (predicted, actual), count in MATRIX.items()
    }
    bounds = [(2 * p / (1 + p), upper) for p, upper in ((0.4717, False), (0.5283, True))]
    expected = [
        value(f"round(({counted.bound(600.0, upper=upper)}) * 1000)", "15m", "{}", round(bound * 1000))
        for bound, upper in bounds
    ]
    assert promtool([], series, expected, "1m") == ""


def test_a_class_that_was_never_predicted_right_has_a_precision_of_none_of_them(promtool, document, load_text) -> None:
    platform = load_text(yaml.safe_dump(document, sort_keys=False))
    precise = next(one for one in objectives.of_platform(platform) if one.slo.name == "precise")
    group = groups.rule_group(precise)
    series = {'ml_settled_outcomes_total{model="fraud",version="v",predicted="yes",actual="no"}': "0+60x60"}
    burning = 'slo:burn_rate:ratio1h{model="fraud",slo="precise"} > bool 9.9'
    assert promtool([group], series, [value(burning, "1h", '{model="fraud", owner="ml", slo="precise"}')], "1m") == ""


def test_the_mean_error_and_its_spread_are_those_of_the_errors(promtool) -> None:
    model = Model.model_validate({"name": "m", "owner": "o", "task": "regression"})
    measured = quality.measured(model, Sli.model_validate({"mean_absolute_error": {"at_most": 1, "over": "10m"}}))
    assert measured is not None
    assert measured.spread is not None
    # Half of the errors are 1, half 3: the mean is 2, the standard deviation 1, of 1600 in ten minutes the error 1/40.
    series = {
        'ml_errors_observed_total{model="m",version="v"}': "0+160x20",
        'ml_absolute_error_total{model="m",version="v"}': "0+320x20",
        'ml_squared_error_total{model="m",version="v"}': "0+800x20",
    }
    mean, spread = measured.value(600.0), measured.spread(600.0)
    assert promtool([], series, [value(str(mean), "15m", "{}", 2)], "1m") == ""
    assert promtool([], series, [value(f"round({spread} * 1000)", "15m", "{}", 25)], "1m") == ""


@pytest.mark.parametrize(
    ("model", "sli", "said"),
    [
        ({"task": "regression"}, {"precision": {"class": "yes"}}, "a regression has no classes"),
        ({"classes": ["yes", "no"]}, {"recall": {"class": "yess"}}, "did you mean yes?"),
        ({}, {"absolute_error": {"within": 5}}, "a classification has no errors in a unit"),
        ({}, {"calibration": {"at_most": "5%"}}, "needs the model's positive class"),
        ({"task": "regression"}, {"absolute_error": {"within": 0}}, "0 is not more than 0"),
    ],
    ids=["class of a number", "unknown class", "error of a class", "no positive class", "no bound"],
)
def test_an_objective_that_its_model_cannot_have_is_refused(load_text, model: dict, sli: dict, said: str) -> None:
    document = platform_document()
    written = {"name": "m", "owner": "ml", "task": "classification", **model}
    document["models"] = [written | {"slos": [{"name": "s", "sli": sli, "objective": "90%"}]}]
    with pytest.raises(InvalidInputError) as refused:
        load_text(yaml.safe_dump(document, sort_keys=False))
    assert said in str(refused.value)


def test_a_canary_of_a_regression_is_compared_on_the_counters_that_its_objectives_count(load_text) -> None:
    near = {"name": "near", "sli": {"absolute_error": {"within": 5}}, "objective": "90%"}
    total, good = 'ml_errors_bounded_total{bound="5"}', 'ml_errors_bounded_total{bound="5", within="yes"}'
    criterion = {"metric": "counters", "name": "near", "total": total, "good": good}
    document = platform_document()
    document["models"] = [{"name": "price", "owner": "ml", "task": "regression", "slos": [near]}]
    document["models"][0]["canary"] = {"criteria": [criterion]}
    (model,) = load_text(yaml.safe_dump(document, sort_keys=False)).models
    counted = quality.counted(model, model.slos[0].sli)
    assert counted is not None
    assert total.removesuffix("}") in str(counted.total(300.0)).replace(', model="price"', "")
