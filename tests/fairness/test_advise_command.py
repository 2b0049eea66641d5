"""`midwatch fairness advise` on counters in a real Prometheus: thresholds, weights, labels, who applies, silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from midwatch import metrics
from monitors.canary.times import moment
from tests.canary.arms import prometheus_with
from tests.conftest import midwatch_here, platform_document
from tests.fairness.test_judge_command import BLOCK, BLOCKS, END, Seeded, _course

RATES = {"a": 0.5, "b": 0.3}
THRESHOLD = 0.5
BINS = metrics.GROUP_SCORE_BINS


def _scored(past: Seeded, model: str, group: str, shift: float, rng: np.random.Generator, late: bool = False) -> None:
    """Settled predictions of a model that selects from a score of 0.5 on; a group's scores are shifted."""
    where = {"model": model, "version": "v1", "attribute": "country", "group": group}
    block = np.repeat(np.arange(BLOCKS), 200)
    actual = rng.random(block.size) < 0.4
    score = np.clip(rng.normal(0.35 + 0.25 * actual + shift, 0.12), 0, 0.9999)
    labelled = rng.random(block.size) < (0.5 if late else 1.0)
    for predicted, chosen in (("fraud", score >= THRESHOLD), ("fine", score < THRESHOLD)):
        past.course("ml_settled_group_predictions_total", _sums(block[chosen]), **where, predicted=predicted)
        past.course("ml_group_predictions_total", _sums(block[chosen]), **where, predicted=predicted)
        for said, true in (("fraud", actual), ("fine", ~actual)):
            course = _sums(block[chosen & true & labelled])
            past.course("ml_settled_group_outcomes_total", course, **where, predicted=predicted, actual=said)
    places = (score * BINS).astype(int)
    for place in np.unique(places):
        edge = f"{(place + 1) / BINS:g}"
        here = (places == place) & labelled
        past.course("ml_settled_group_scored_outcomes_total", _sums(block[here]), **where, bin=edge)
        past.course("ml_settled_group_scored_positives_total", _sums(block[here & actual]), **where, bin=edge)
    if late and group == "a":
        came = _sums(block[~labelled & (rng.random(block.size) < 0.8)])
        past.course("ml_late_labels_total", came, model=model, version="v1", result="right")


def _sums(block: Any) -> Any:
    return np.concatenate([[0], np.cumsum(np.bincount(block, minlength=BLOCKS))])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rng, past = np.random.default_rng(2), Seeded(END)
    for group, shift in {"a": 0.0, "b": -0.1}.items():
        _scored(past, "shifted", group, shift, rng)
        _scored(past, "late", group, shift / 50, rng, late=True)
        past.predictions("approved", group, _course(rng, RATES[group], 600))
        past.approved_only("approved", group, _course(rng, RATES[group], 600))
    for country, young, old in (("a", 420, 180), ("b", 240, 360)):  # who applies differs, and nobody is treated unlike
        by_age = {"young": _course(rng, 0.5, young), "old": _course(rng, 0.2, old)}
        past.predictions("mixed", country, by_age["young"] + by_age["old"])
        for age, course in by_age.items():
            past.predictions("mixed", f"{country}\u00d7{age}", course, "country\u00d7age")
        errors = rng.exponential({"a": 10.0, "b": 30.0}[country], size=(BLOCKS, 60))
        past.errors("prices", country, errors, bound=20)
        past.errors("lost", country, errors, bound=20, unlabelled=60)
    for name in ("unnamed", "spelled", "unfair"):
        for group, rate in {"a": 0.4, "b": 0.1 if name == "unfair" else 0.4}.items():
            past.predictions(name, group, _course(rng, rate, 600))
    lost = np.maximum(np.arange(BLOCKS + 1) - 60, 0)  # from the 60th block on half of the predictions are in no group
    past.every("ml_predictions_total", 1200 * lost, "unnamed", "none", predicted="fine")
    past.course("ml_group_predictions_total", 1200 * lost, model="unnamed", version="v1", attribute="age", group="old")
    past.every("ml_predictions_total", 400 * np.arange(BLOCKS + 1), "unfair", "none", predicted="fine")
    early = np.minimum(np.arange(BLOCKS + 1), 60)
    past.every("ml_predictions_total", 1200 * early, "mended", "none", predicted="fine")
    for group in RATES:
        course = _course(rng, 0.4, 600)
        past.predictions("mended", group, course)
        past.predictions("crossed", group, course)
        past.predictions("crossed", f"{group}\u00d7old", course / 2, "country\u00d7age")
    half = {"model": "crossed", "version": "v1", "attribute": "age", "group": "old", "predicted": "fine"}
    past.course("ml_group_predictions_total", 600 * np.arange(BLOCKS + 1), **half)
    nobody = {"model": "spelled", "version": "v2", "predicted": "fine"}
    past.course("ml_predictions_total", 50 * np.arange(BLOCKS + 1), **nobody)
    past.course("ml_group_predictions_total", 50 * np.arange(BLOCKS + 1), **nobody, attribute="Country", group="a")
    past.predictions("young", "a", _course(rng, 0.4, 2))
    past.predictions("young", "b", _course(rng, 0.4, 2))
    with prometheus_with(past, tmp_path_factory.mktemp("advice")) as url:
        yield url


def _advise(prometheus: str, folder: Path, name: str, as_json: bool = True, **more: Any) -> Any:
    groups = ["country", *filter(None, [more.get("within"), more.get("crossed_with")])]
    template = platform_document()["models"][0] | {"slos": [], "groups": groups, "name": name}
    if "error_bound" in more:
        template |= {"task": "regression", "positive": None}
    promise = {
        "attribute": "country",
        "measure": "demographic_parity",
        "difference": "5%",
        "over": f"{BLOCKS * BLOCK:g}s",
    }
    file = folder / "platform.yaml"
    models = [template | {"fairness": [promise | {"public": True} | more]}]
    file.write_text(yaml.safe_dump(platform_document(models=models, prometheus={"url": prometheus})))
    done = midwatch_here("fairness", "advise", "-f", file, "--end", END, *(["--json"] if as_json else []))
    if not as_json:
        return done
    (promised,) = json.loads(done.stdout)["windows"][0]["promises"]
    return done, {one["kind"]: one for one in promised["proposals"]}


def test_thresholds_per_group_are_found_where_the_platform_file_says_why(prometheus: str, tmp_path: Path) -> None:
    allowed = {"scores": True, "group_thresholds_because": "a medical test, approved by the ethics board"}
    done, found = _advise(prometheus, tmp_path, "shifted", measure="equal_opportunity", **allowed)
    assert done.returncode == 1
    proposal = found["thresholds per group"]
    assert proposal["fits"]
    assert [step.split(":")[0] for step in proposal["steps"]] == ["a", "b"]
    gap, accuracy = proposal["effects"]
    assert gap["now"] > 0.2
    assert gap["interval"][0] <= gap["expected"] <= 0.06
    assert accuracy["expected"] >= accuracy["now"] - 0.01
    assert any("ethics board" in note for note in proposal["notes"])
    assert any("42 USC 2000e-2(l)" in note for note in proposal["notes"])


def test_thresholds_per_group_are_not_computed_without_a_reason(prometheus: str, tmp_path: Path) -> None:
    _, found = _advise(prometheus, tmp_path, "shifted", scores=True)
    proposal = found["thresholds per group"]
    assert not proposal["fits"]
    assert not proposal["effects"]
    assert "group_thresholds_because" in proposal["steps"][0]
    _, accuracy = found["threshold"]["effects"]
    assert accuracy["expected"] < accuracy["now"] - 0.05, "one threshold brings groups together at a cost that is said"


def test_labels_that_come_late_are_waited_for(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "late", measure="equal_opportunity")
    assert done.returncode == 3
    proposal = found["labels"]
    assert proposal["fits"]
    assert "label_maturity" in proposal["steps"][0]
    (effect,) = proposal["effects"]
    assert effect["expected"] < effect["now"]
    assert effect["interval"][0] <= effect["expected"] <= effect["interval"][1]
    assert not found["reweighing"]["fits"]


def test_labels_of_the_approved_only_ask_for_some_at_random(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "approved", measure="equal_opportunity")
    assert done.returncode == 3
    assert "at random" in found["labels"]["steps"][0]


@pytest.mark.parametrize("measure", ["within_bound_parity", "mean_absolute_error_parity"])
def test_errors_of_a_regression_are_advised_on_by_their_labels_and_counts(
    measure: str, prometheus: str, tmp_path: Path
) -> None:
    given = {"measure": measure, "error_bound": 20, "difference": "5%"}
    done, proposals = _advise(prometheus, tmp_path, "prices", **given)
    assert done.returncode == 1
    assert [(kind, one["fits"]) for kind, one in proposals.items()] == [("threshold", False)]
    assert "which no threshold moves, nor a class's weight" in proposals["threshold"]["why"]
    done, proposals = _advise(prometheus, tmp_path, "lost", **given)
    assert done.returncode == 3
    assert proposals["labels"]["fits"]
    assert "50.0% of a have no label" in proposals["labels"]["why"]
    assert any("raise label_maturity of lost" in step for step in proposals["labels"]["steps"])


def test_the_attribute_is_asked_for_where_many_predictions_lack_it(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "unnamed")
    assert done.returncode == 3
    proposal = found["attribute"]
    assert proposal["fits"]
    start = moment(END - 40 * BLOCK)
    told = f"28.6% of the predictions have no country: 0.0% before {start}, 50.0% since"
    assert proposal["why"] == told
    sending, deciding = proposal["steps"]
    assert sending == "send country with every prediction of unnamed v1"
    assert deciding.startswith("2,232,000 more predictions (about 6d11h, as they come lately), all with country,")
    done = _advise(prometheus, tmp_path, "unnamed", as_json=False)
    assert f"+ attribute: {told}" in done.stdout


def test_an_attribute_that_is_sent_under_another_spelling_is_named_with_the_version(
    prometheus: str, tmp_path: Path
) -> None:
    done = _advise(prometheus, tmp_path, "spelled", as_json=False)
    assert done.returncode == 3
    assert "spelled v1" not in done.stdout.replace("spelled v1, country", ""), "v1 lacks nothing"
    assert "5,000 predictions of spelled v2 have `Country` and the promise says `country`" in done.stdout
    assert "100 events of each of two groups are the least that is judged" in done.stdout
    assert "of the model's other versions fewer lack it (0.0% of v1)" in done.stdout


def test_an_attribute_that_no_prediction_lacks_any_more_is_waited_for(prometheus: str, tmp_path: Path) -> None:
    _, found = _advise(prometheus, tmp_path, "mended")
    assert f"50.0% before {moment(END - 40 * BLOCK)}, 0.0% since" in found["attribute"]["why"]
    assert found["attribute"]["steps"][0] == "wait: hardly any lack it now"


def test_of_two_attributes_the_one_that_is_lacking_is_told(prometheus: str, tmp_path: Path) -> None:
    _, found = _advise(prometheus, tmp_path, "crossed", crossed_with="age")
    assert found["attribute"]["steps"][0] == (
        "send country and age with every prediction of crossed v1 (0.0% have no country, 50.0% have no age)"
    )


def test_what_is_unfair_among_few_that_lack_the_attribute_stays_so_without_it(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "unfair")
    assert done.returncode == 1
    assert not found["attribute"]["fits"]
    assert "25.0% of the predictions have no country, since counting began at" in found["attribute"]["why"]
    assert found["attribute"]["why"].endswith("what is shown of the others stays so")


def test_a_gap_of_who_applies_is_no_reason_to_change_the_model(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "mixed", within="age", scores=True)
    assert done.returncode == 1
    assert found["mix"]["fits"]
    assert {kind for kind, one in found.items() if one["fits"]} == {"mix"}


def test_too_little_data_is_said_with_the_number_that_would_decide(prometheus: str, tmp_path: Path) -> None:
    done, found = _advise(prometheus, tmp_path, "young")
    assert done.returncode == 3
    assert found["data"]["fits"]
    assert "more events" in found["data"]["steps"][0]


def test_proposals_are_told_in_words_with_their_interval(prometheus: str, tmp_path: Path) -> None:
    allowed = {"scores": True, "group_thresholds_because": "a medical test, approved by the ethics board"}
    done = _advise(prometheus, tmp_path, "shifted", as_json=False, **allowed)
    assert "+ thresholds per group" in done.stdout
    assert "demographic_parity difference: now" in done.stdout


def test_a_model_that_does_not_predict_is_not_known(prometheus: str, tmp_path: Path) -> None:
    done = _advise(prometheus, tmp_path, "nobody", as_json=False)
    assert done.returncode == 3
    assert "nothing is known" in done.stderr


def test_a_prometheus_that_does_not_answer_is_not_known(tmp_path: Path) -> None:
    done = _advise("http://127.0.0.1:9", tmp_path, "shifted", as_json=False)
    assert done.returncode == 3
    assert done.stdout == ""
