"""Promises held against counts: what is not seen, or seen under another name, is never shown fair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from midwatch.spec.fairness import CROSS
from midwatch.spec.model import Model
from monitors.fairness import document, promises, verdict, view
from monitors.fairness.fetch import Asked, Window
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Counts, Limit, Settings, Verdict
from tests.conftest import platform_document

BLOCKS = 100
WINDOW = Window(start=0.0, block=600.0, size=BLOCKS)
VERSION = ("fraud", "v1")
Cells = dict[tuple[str, str, str, str], Any]


def _model(**promise: Any) -> Model:
    document = platform_document()["models"][0] | {"slos": [], "name": "fraud", "groups": ["country", "age"]}
    given = {"attribute": "country", "measure": "demographic_parity", "difference": "5%", "public": True, **promise}
    return Model.model_validate(document | {"fairness": [given]})


def _asked(predicted: Cells, labelled: Cells | None = None, settled: Cells | None = None, *folded: str) -> Asked:
    """Each prediction has each of the attributes."""
    return _with_totals(predicted, labelled, settled, *folded, without=0.0)


def _with_totals(
    predicted: Cells, labelled: Cells | None = None, settled: Cells | None = None, *folded: str, without: float
) -> Asked:
    """A share of the predictions, settled or not, has none of the attributes."""
    counts = {"ml_predictions_total": predicted, "ml_settled_predictions_total": settled or {}}
    return Asked(
        totals={
            name: {VERSION: {("", "", "", ""): _of_one_attribute(cells) / (1 - without)}}
            for name, cells in counts.items()
            if cells
        },
        predicted={VERSION: predicted},
        labelled={VERSION: labelled or {}},
        settled={VERSION: settled or {}},
        folded=frozenset(folded),
        queries=(),
    )


def _of_one_attribute(cells: Cells) -> Any:
    return sum(row for cell, row in cells.items() if cell[0] == "country")


def _predicted(rates: Mapping[str, float], per_block: int = 600, attribute: str = "country") -> Cells:
    rng, cells = np.random.default_rng(3), {}
    for group, rate in rates.items():
        hits = rng.binomial(per_block, rate, size=BLOCKS).astype(float)
        cells |= {(attribute, group, "fraud", ""): hits, (attribute, group, "fine", ""): per_block - hits}
    return cells


def _labelled(group: str, rate: float, per_block: int = 600) -> Cells:
    """All of them are fraud, a share of which was predicted so."""
    hits = np.random.default_rng(4).binomial(per_block, rate, size=BLOCKS).astype(float)
    return {("country", group, "fraud", "fraud"): hits, ("country", group, "fine", "fraud"): per_block - hits}


def _settled(labelled: Cells) -> Cells:
    return {(*cell[:3], ""): row for cell, row in labelled.items()}


def _judge(asked: Asked, **promise: Any) -> Finding:
    return promises.judge([_model(**promise)], asked, WINDOW)[-1]


def test_groups_that_are_alike_are_fair() -> None:
    assert _judge(_asked(_predicted({"no": 0.4, "de": 0.4}))).judgement.verdict is Verdict.FAIR


def test_a_group_of_which_no_prediction_ever_got_a_label_leaves_the_promise_open_and_is_named() -> None:
    labelled = _labelled("no", 0.6) | _labelled("de", 0.6)
    blind = _settled(_labelled("fr", 0.1))
    asked = _asked(_predicted({"no": 0.6, "de": 0.6, "fr": 0.1}), labelled, _settled(labelled) | blind)
    said = _judge(asked, measure="equal_opportunity")
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert said.judgement.left_out == ("fr",)
    assert said.labelled["fr"] == 0.0
    assert "fewer than 100 events are of fr" in said.reason


def test_a_group_below_the_smallest_cell_keeps_the_others_from_being_shown_fair() -> None:
    few = {("country", "fr", "fine", ""): np.eye(1, BLOCKS)[0] * 99}
    said = _judge(_asked(_predicted({"no": 0.4, "de": 0.4}) | few))
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert "fewer than 100 events are of fr" in said.reason


def test_a_group_of_which_nothing_came_within_the_window_is_in_nobodys_way() -> None:
    gone = {("country", "fr", "fine", ""): np.zeros(BLOCKS)}
    assert _judge(_asked(_predicted({"no": 0.4, "de": 0.4}) | gone)).judgement.verdict is Verdict.FAIR


@pytest.mark.parametrize(
    ("rates", "folded", "left", "said"),
    [
        ({"no": 0.4, "de": 0.4, "other": 0.4}, (), Verdict.FAIR, "within the limit"),
        ({"no": 0.4, "de": 0.4, "other": 0.4}, ("group",), Verdict.UNKNOWN, "raise exporter.caps.groups"),
        ({"no": 0.4, "de": 0.4, "text": 0.4}, (), Verdict.UNKNOWN, "free text"),
        ({"no": 0.4, "de": 0.2, "other": 0.4}, ("group",), Verdict.UNFAIR, "de is beyond the limit"),
        ({"no": 0.4, "de": 0.2, "other": 0.4}, ("series",), Verdict.UNKNOWN, "raise exporter.caps.series"),
        ({"no": 0.4, "de": 0.2}, ("series", "group"), Verdict.UNFAIR, "de is beyond the limit"),
    ],
)
def test_groups_that_are_counted_as_one_are_not_shown_fair_and_counts_that_are_torn_show_nothing(
    rates: Mapping[str, float], folded: tuple[str, ...], left: Verdict, said: str
) -> None:
    found = _judge(_asked(_predicted(rates), None, None, *folded))
    assert found.judgement.verdict is left
    assert said in found.reason


def test_a_positive_class_that_nothing_has_is_not_shown_fair() -> None:
    cells = {
        ("country", group, "Fraud" if name == "fraud" else name, ""): row
        for (_, group, name, _), row in _predicted({"no": 0.6, "de": 0.1}).items()
    }
    said = _judge(_asked(cells))
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert said.reason == "nothing was predicted fraud, only Fraud, fine: is positive spelled so?"
    capped = _asked(
        {cell if cell[2] == "fine" else (*cell[:2], "other", ""): row for cell, row in cells.items()},
        None,
        None,
        "class",
    )
    assert "raise exporter.caps.classes" in _judge(capped).reason


def _outcomes(rates: Mapping[str, float], names: Mapping[tuple[str, str], str]) -> Cells:
    """Labelled predictions, a share of a group predicted as labelled; classes are spelled as (side, class) says."""
    rng, cells = np.random.default_rng(6), {}
    for group, rate in rates.items():
        for actual, wrong in (("fraud", "fine"), ("fine", "fraud")):
            right = rng.binomial(600, rate, size=BLOCKS).astype(float)
            for predicted, row in ((actual, right), (wrong, 600 - right)):
                sides = (names.get((side, name), name) for side, name in (("predicted", predicted), ("actual", actual)))
                cells["country", group, *sides] = row
    return cells


@pytest.mark.parametrize("measure", ["equal_opportunity", "equalized_odds", "predictive_parity", "accuracy_parity"])
@pytest.mark.parametrize("side", ["predicted", "actual"])
@pytest.mark.parametrize("rates", [{"no": 0.6, "de": 0.6}, {"no": 0.9, "de": 0.3}], ids=["alike", "apart"])
def test_predictions_and_labels_that_spell_a_class_otherwise_show_nothing(
    rates: Mapping[str, float], side: str, measure: str
) -> None:
    alike = _outcomes(rates, {})
    told = _judge(_asked(_predicted(rates), alike, _settled(alike)), measure=measure)
    assert told.judgement.verdict is (Verdict.FAIR if rates["no"] == rates["de"] else Verdict.UNFAIR)
    otherwise = _outcomes(rates, {(side, "fraud"): "Fraud"})
    asked = _asked(_predicted(rates), otherwise, _settled(otherwise))
    for said in promises.judge([_model(measure=measure)], asked, WINDOW):
        assert said.judgement.verdict is Verdict.UNKNOWN
        assert not said.judgement.became_unfair
        assert "Fraud" in said.reason or said.rate == "precision"


def test_a_class_that_a_part_of_the_labels_spells_otherwise_shows_nothing() -> None:
    both = _outcomes({"no": 0.6}, {}) | _outcomes({"de": 0.6}, {("actual", "fraud"): "Fraud "})
    said = _judge(_asked(_predicted({"no": 0.6, "de": 0.6}), both, _settled(both)), measure="predictive_parity")
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert said.reason == "`Fraud ` counts as another class than `fraud`: spell it alike"


def test_classes_that_are_counted_as_one_are_not_taken_to_be_right() -> None:
    rates = {"no": 0.6, "de": 0.6}
    cells = _outcomes(rates, {(side, "fine"): "other" for side in ("predicted", "actual")})
    given = _asked(_predicted(rates), cells, _settled(cells), "class")
    said = _judge(given, measure="accuracy_parity")
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert "counted as one, and as right: raise exporter.caps.classes" in said.reason
    own = _asked(_predicted(rates), cells, _settled(cells))
    assert _judge(own, measure="accuracy_parity").judgement.verdict is Verdict.FAIR, "a class may be called other"


def test_missing_labels_of_the_pair_that_is_apart_count_and_not_those_of_another() -> None:
    rates = {"no": 0.6, "de": 0.3, "fr": 0.45, "it": 0.44}
    labelled: Cells = {}
    for group, rate in rates.items():
        labelled |= _labelled(group, rate)
    settled = {cell: row + 6000.0 * (cell[1] in ("no", "de")) for cell, row in _settled(labelled).items()}
    given = {"measure": "equal_opportunity", "difference": "12%"}
    said = _judge(_asked(_predicted(rates), labelled, settled), **given)
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert "with theirs the groups may be alike" in said.reason
    more = labelled | _labelled("it", 0.25)
    known = _judge(_asked(_predicted(rates), more, settled | _settled(_labelled("it", 0.25))), **given)
    assert known.judgement.verdict is Verdict.UNFAIR
    assert known.reason.startswith("it is beyond the limit against fr, and apart whatever the missing labels are")


def test_a_late_gap_that_missing_labels_could_explain_is_no_alarm() -> None:
    labelled = _labelled("no", 0.6) | _labelled("de", 0.6)
    settled = _settled(labelled)
    lost = ("country", "de", "fraud", "fraud")
    late = np.where(np.arange(BLOCKS) < 80, 1.0, 0.3)  # labels of most frauds that were found come no more
    predicted = _predicted({"no": 0.6, "de": 0.6})
    said = _judge(_asked(predicted, labelled | {lost: labelled[lost] * late}, settled), measure="equal_opportunity")
    assert not said.judgement.became_unfair
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert "have no label" in said.reason
    complete = labelled | {lost: labelled[lost] * late}
    known = _judge(_asked(predicted, complete, _settled(complete)), measure="equal_opportunity")
    assert known.judgement.became_unfair


def _within(rates: Mapping[str, tuple[float, float]], rows: Mapping[str, tuple[int, int]]) -> Cells:
    rng, cells = np.random.default_rng(5), {}
    for age, (no, de) in rates.items():
        for place, (country, rate) in enumerate((("no", no), ("de", de))):
            group, each = CROSS.join((country, age)), rows[age][place]
            hits = rng.binomial(each, rate, size=BLOCKS).astype(float)
            where = CROSS.join(("country", "age")), group
            cells |= {(*where, "fraud", ""): hits, (*where, "fine", ""): each - hits}
    return cells


def test_fair_within_needs_each_stratum_to_be_shown() -> None:
    alike = {"young": (0.4, 0.4), "old": (0.4, 0.34)}
    cells = _predicted({"no": 0.4, "de": 0.4}) | _within(alike, {"young": (600, 600), "old": (2, 2)})
    said = _judge(_asked(cells), within="age")
    assert said.rate == "selected within age"
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert said.judgement.rows_needed


def test_the_pair_that_is_farthest_apart_within_is_shown_as_it_is_there_and_not_pooled() -> None:
    rates = {"young": (0.5, 0.5), "old": (0.2, 0.4)}
    cells = _predicted({"no": 0.4, "de": 0.4}) | _within(rates, {"young": (500, 100), "old": (100, 500)})
    said = _judge(_asked(cells), within="age")
    worst = said.judgement.worst
    assert worst is not None
    assert (said.judgement.verdict, worst.above, worst.stratum) == (Verdict.UNFAIR, "de", "old")
    assert worst.difference == pytest.approx(0.2, abs=0.02)
    assert said.reason == "no is beyond the limit against de, most within old"


def test_a_promise_that_is_judged_pooled_and_within_has_one_false_alarm_for_both() -> None:
    (alone,), (both,) = (_model(**more).fairness for more in ({}, {"within": "age"}))
    assert promises._settings(both).alpha == promises._settings(alone).alpha / 2


def test_fair_is_said_of_the_evidence_as_it_stands_and_not_of_what_it_once_was() -> None:
    rng = np.random.default_rng(8)
    hits = np.stack([rng.binomial(600, [0.4] * 60 + [0.4] * 40), rng.binomial(600, [0.4] * 60 + [0.28] * 40)])
    events = np.full((1, 2, BLOCKS), 600.0)
    settings = Settings(limit=Limit(difference=0.05))
    early = Counts(groups=("a", "b"), events=events[..., :60], hits=hits[None, :, :60].astype(float))
    assert verdict.judge(early, settings).verdict is Verdict.FAIR
    whole = Counts(groups=("a", "b"), events=events, hits=hits[None].astype(float))
    assert verdict.judge(whole, settings).verdict is not Verdict.FAIR


def test_the_interval_of_the_pair_that_was_chosen_holds_for_all_pairs_that_it_was_chosen_from() -> None:
    rates = {"no": 0.5, "de": 0.2}
    more = dict.fromkeys(("at", "dk", "es", "fr", "se"), 0.35)
    alone, among = (_judge(_asked(_predicted(of, 60))).judgement.worst for of in (rates, rates | more))
    assert alone is not None
    assert among is not None
    assert (alone.above, alone.below) == (among.above, among.below) == ("no", "de")
    assert among.difference_interval[0] < alone.difference_interval[0]
    assert among.difference_interval[1] > alone.difference_interval[1]


# Predictions without a group ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "rates", "left", "said"),
    [
        (0.005, (0.4, 0.4), Verdict.FAIR, "every pair of groups is within the limit"),
        (0.015, (0.4, 0.4), Verdict.FAIR, "every pair of groups is within the limit; 1.5% of the predictions have no"),
        (0.123, (0.4, 0.4), Verdict.UNKNOWN, "12.3% of the predictions have no country: they may be a group"),
        (0.95, (0.4, 0.4), Verdict.UNKNOWN, "95.0% of the predictions have no country"),
        (
            0.95,
            (0.4, 0.2),
            Verdict.UNFAIR,
            "de is beyond the limit against no; 95.0% of the predictions have no country",
        ),
    ],
)
@pytest.mark.parametrize("of_labels", [False, True], ids=["predicted", "labelled"])
def test_predictions_without_the_attribute_are_told_and_enough_of_them_are_not_shown_fair(
    without: float, rates: tuple[float, float], left: Verdict, said: str, of_labels: bool
) -> None:
    predicted, labelled = _predicted({"no": rates[0], "de": rates[1]}), _labelled("no", rates[0])
    labelled |= _labelled("de", rates[1])
    asked = _with_totals(predicted, labelled, _settled(labelled), without=without)
    found = _judge(asked, measure="equal_opportunity" if of_labels else "demographic_parity")
    assert found.judgement.verdict is left
    assert said in found.reason
    assert found.reason.count("have no country") == (without >= 0.01)
    assert document.document([found], WINDOW, [])["findings"][0]["without_group"] == pytest.approx(without)


def test_too_few_without_the_attribute_to_be_judged_are_no_group_that_matters() -> None:
    predicted = _predicted({"no": 0.4, "de": 0.4}, per_block=600)
    (every,) = _with_totals(predicted, without=0.02).totals["ml_predictions_total"][VERSION].values()
    lost = every.sum() * 0.02
    asked = _with_totals(predicted, without=0.02)
    assert _judge(asked, min_events=int(lost * 1.1)).judgement.verdict is Verdict.FAIR
    assert _judge(asked, min_events=int(lost * 0.9)).judgement.verdict is Verdict.UNKNOWN


def test_predictions_of_a_run_that_is_over_are_not_told() -> None:
    predicted = _predicted({"no": 0.4, "de": 0.4})
    early = np.where(np.arange(BLOCKS) < 20, 2.0, 1.0)
    every = {VERSION: {("", "", "", ""): _of_one_attribute(predicted) * early}}
    asked = replace(_asked(predicted), totals={"ml_predictions_total": every}, since={VERSION: -30 * WINDOW.block})
    assert _judge(asked).judgement.verdict is Verdict.FAIR


def test_without_a_count_of_all_predictions_nothing_is_shown_fair() -> None:
    rates = {"no": 0.4, "de": 0.4}
    found = _judge(replace(_asked(_predicted(rates)), totals={}))
    assert found.judgement.verdict is Verdict.UNKNOWN
    assert found.reason == (
        "ml_predictions_total is not in Prometheus, so nobody knows how many predictions have no country"
    )
    apart = _judge(replace(_asked(_predicted(rates | {"de": 0.2})), totals={}))
    assert apart.judgement.verdict is Verdict.UNFAIR


def test_a_version_none_of_whose_predictions_has_the_attribute_is_judged_not_known() -> None:
    everything = {VERSION: {("", "", "", ""): np.full(BLOCKS, 600.0)}}
    found = _judge(replace(_asked({}), totals={"ml_predictions_total": everything}))
    assert found.judgement.verdict is Verdict.UNKNOWN
    assert "100.0% of the predictions have no country" in found.reason


def test_a_version_that_lost_the_attribute_is_still_judged() -> None:
    predicted = {cell: row * (np.arange(BLOCKS) < 80) for cell, row in _predicted({"no": 0.4, "de": 0.4}).items()}
    everything = {VERSION: {("", "", "", ""): np.full(BLOCKS, 1200.0)}}
    found = _judge(replace(_asked(predicted), totals={"ml_predictions_total": everything}))
    assert found.judgement.verdict is Verdict.UNKNOWN
    assert "20.0% of the predictions have no country" in found.reason


@pytest.mark.parametrize(("came", "left"), [(30, Verdict.FAIR), (0, Verdict.UNKNOWN)], ids=["later", "at once"])
def test_what_a_version_predicted_before_the_attribute_came_is_not_counted(came: int, left: Verdict) -> None:
    has = np.where(np.arange(BLOCKS) < came, 0.0, 1.0)
    has[came] = 0.5
    has[came + 1 : came + 11] = 0.5 if came == 0 else 1.0
    predicted = {cell: row * has for cell, row in _predicted({"no": 0.4, "de": 0.4}).items()}
    everything = {VERSION: {("", "", "", ""): np.full(BLOCKS, 1200.0)}}
    found = _judge(replace(_asked(predicted), totals={"ml_predictions_total": everything}))
    assert found.judgement.verdict is left
    assert found.since == came * WINDOW.block
    assert ("have no country" in found.reason) is (came == 0)


def test_a_version_that_ended_is_not_judged_though_its_predictions_are_still_settled() -> None:
    labelled = _labelled("no", 0.6) | _labelled("de", 0.6)
    ended = {cell: row * (np.arange(BLOCKS) < 85) for cell, row in _predicted({"no": 0.6, "de": 0.6}).items()}
    asked = _asked(ended, labelled, _settled(labelled))
    assert promises.judge([_model(measure="equal_opportunity")], asked, WINDOW) == []
    lost = replace(
        asked, totals=asked.totals | {"ml_predictions_total": {VERSION: {("", "", "", ""): np.ones(BLOCKS)}}}
    )
    assert len(promises.judge([_model(measure="equal_opportunity")], lost, WINDOW)) == 1


def test_predictions_with_one_of_two_crossed_attributes_have_no_group() -> None:
    one = _predicted({"no": 0.4, "de": 0.4}, per_block=1200)
    both = _predicted({f"{name}{CROSS}young": 0.4 for name in ("no", "de")}, attribute=f"country{CROSS}age")
    found = _judge(_asked(one | both), crossed_with="age")
    assert found.judgement.verdict is Verdict.UNKNOWN
    assert "50.0% of the predictions have no country or no age" in found.reason


def test_a_share_of_few_people_without_the_attribute_is_not_shown() -> None:
    cells = {cell: row / 100 for cell, row in _predicted({"no": 0.4, "de": 0.4}, per_block=100).items()}
    found = _judge(_with_totals(cells, without=0.04))
    assert "some of the predictions have no country" in found.reason
    assert document.document([found], WINDOW, [])["findings"][0]["without_group"] is None


def test_two_rates_of_0_have_no_ratio_and_no_number_of_events_that_would_decide() -> None:
    labelled: Cells = {}
    for name in ("no", "de"):
        labelled |= {("country", name, "fine", "fraud"): np.full(BLOCKS, 20.0)}
        labelled |= {("country", name, "fraud", "fine"): np.full(BLOCKS, 20.0)}
    asked = _asked(_predicted({"no": 0.4, "de": 0.4}), labelled, _settled(labelled))
    found = _judge(asked, measure="equal_opportunity", difference=None, ratio="80%")
    assert found.judgement.verdict is Verdict.UNKNOWN
    assert found.judgement.rows_needed is None
    assert found.reason == "de and no both have a rate of 0, of which a ratio says nothing: promise a difference"
    assert view._worst(found, found.judgement.worst, ()) == ("no and de both have 0", "-")
    assert _judge(asked, measure="equal_opportunity").judgement.verdict is Verdict.FAIR, "a difference is known"


def _late(cells: Cells, group: str, rate: float) -> Cells:
    """The same, with another rate of a group in the last 20 blocks."""
    is_late = np.arange(BLOCKS) >= 80
    hits, misses = (("country", group, answer, "") for answer in ("fraud", "fine"))
    many = cells[hits] + cells[misses]
    late = np.where(is_late, np.round(many * rate), cells[hits])
    return cells | {hits: late, misses: many - late}


def test_who_is_worse_lately_is_named_beside_the_pair_that_is_apart_since_the_start() -> None:
    since = _predicted({"no": 0.5, "de": 0.3, "fr": 0.5})
    said = _judge(_asked(_late(_late(since, "de", 0.5), "fr", 0.2)))
    assert said.judgement.verdict is Verdict.UNFAIR
    assert said.judgement.became_unfair
    assert said.reason.startswith("de is beyond the limit against ")
    assert "; lately fr is beyond the limit against " in said.reason


def test_who_is_worse_lately_is_named_where_nothing_was_shown_before() -> None:
    said = _judge(_asked(_late(_predicted({"no": 0.4, "de": 0.4, "fr": 0.4}), "fr", 0.05)), difference="8%")
    assert said.judgement.became_unfair
    assert said.judgement.verdict is not Verdict.UNFAIR
    assert "; lately fr is beyond the limit against " in said.reason


def test_the_pair_that_is_apart_since_the_start_and_lately_is_named_once() -> None:
    said = _judge(_asked(_predicted({"no": 0.5, "de": 0.3})))
    assert said.judgement.became_unfair
    assert said.reason == "de is beyond the limit against no"


def test_labels_that_come_no_more_for_a_group_are_told_beside_the_events_that_would_decide() -> None:
    labelled = _labelled("no", 0.6) | _labelled("de", 0.58)
    ended = np.arange(BLOCKS) < 3
    seen = {cell: row * ended if cell[1] == "de" else row for cell, row in labelled.items()}
    said = _judge(_asked(_predicted({"no": 0.6, "de": 0.6}), seen, _settled(labelled)), measure="equal_opportunity")
    assert said.judgement.verdict is Verdict.UNKNOWN
    assert said.reason.endswith("more events would decide, if the rates stay; 97.0% of de have no label")
