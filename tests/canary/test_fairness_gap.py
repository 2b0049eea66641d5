"""Is the new version less fair? False alarms of equal versions, power, few events, missing labels, strata."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom

from midwatch.spec import canary as spec
from midwatch.spec.fairness import CROSS
from midwatch.spec.model import Platform
from monitors.canary import ask, counts_file, document, fairness_gap, halfspace, judge, report, view
from monitors.canary.counts import Counted, Counts, Missing
from monitors.canary.criteria import Evidence
from monitors.canary.judge import Judgement
from monitors.canary.question import Question
from tests.canary.arms import START, STEP, Past, settings
from tests.conftest import platform_document

CRITERION: dict[str, Any] = {
    "metric": "fairness",
    "attribute": "country",
    "measure": "demographic_parity",
    "positive": "yes",
}
QUESTION = Question(model="fraud", baseline="v6", canary="v7", start=START)


def _summed(groups: Mapping[str, Counted], **more: Any) -> Counted:
    every = list(groups.values())
    return Counted(
        channels=("fairness",),
        baseline_events=sum(one.baseline_events for one in every),  # type: ignore[arg-type]
        canary_events=sum(one.canary_events for one in every),  # type: ignore[arg-type]
        baseline_requests=sum(one.baseline_requests for one in every),  # type: ignore[arg-type]
        canary_requests=sum(one.canary_requests for one in every),  # type: ignore[arg-type]
        groups=groups,
        **more,
    )


def _counted(
    seed: int,
    baseline: Sequence[float],
    canary: Sequence[float],
    *,
    mix: Sequence[float] = (0.7, 0.3),
    intervals: int = 60,
    rate: float = 400.0,
    share: float = 0.3,
    alike: int = 1,
) -> Counted:
    """Selections of groups `a`, `b`, ... by interval; `alike` of them at a time come out the same."""
    rng = np.random.default_rng(seed)
    groups = {}
    for name, own, other, part in zip("abcdefgh", baseline, canary, mix, strict=False):
        sizes = [rng.poisson(rate * of * part / alike, intervals) for of in (1 - share, share)]
        hits = [rng.binomial(size, chance) for size, chance in zip(sizes, (own, other), strict=True)]
        groups[name] = Counted(
            channels=("fairness",),
            baseline_events=alike * hits[0][None],
            canary_events=alike * hits[1][None],
            baseline_requests=alike * sizes[0],
            canary_requests=alike * sizes[1],
        )
    return _summed(groups)


def _counts(counted: Counted) -> Counts:
    return Counts(
        model="fraud",
        baseline="v6",
        canary="v7",
        start=START,
        interval=STEP,
        baseline_requests=counted.baseline_requests,
        canary_requests=counted.canary_requests,
        counted={"fairness": counted},
    )


def _weighed(counted: Counted, **more: Any) -> Evidence:
    criterion = spec.Fairness.model_validate(CRITERION | more)
    return fairness_gap.weigh(criterion, counted, false_alarm=0.05, false_pass=0.05)


def _judged(counted: Counted, *others: Mapping[str, Any], two_sided: bool = False, **more: Any) -> Judgement:
    return judge.judge(_counts(counted), settings(CRITERION | more, *others), two_sided=two_sided)


# The test itself -----------------------------------------------------------------------------------------------------


def test_the_nearest_rates_are_those_of_a_general_optimiser() -> None:
    rng = np.random.default_rng(1)
    checked = 0
    while checked < 12:
        events, rates = rng.integers(1, 200, 4).astype(float), rng.uniform(0.05, 0.95, 4)
        weights, limit = fairness_gap.ARMS[checked % 2] * rng.choice([-1, 1]), rng.uniform(-0.4, 0.4)
        if (weights * rates).sum() <= limit:
            continue

        def distance(q: np.ndarray, events: np.ndarray = events, t: np.ndarray = rates) -> float:
            return float((events * (t * np.log(t / q) + (1 - t) * np.log((1 - t) / (1 - q)))).sum())

        found = halfspace.nearest(events[None], rates[None], weights[None], np.array([limit]))[0]
        keeps = {"type": "ineq", "fun": lambda q, w=weights, most=limit: most - (w * q).sum()}
        theirs = minimize(distance, np.full(4, 0.5), bounds=[(1e-6, 1 - 1e-6)] * 4, constraints=[keeps])
        assert (weights * found).sum() <= limit + 1e-7
        assert distance(found) == pytest.approx(theirs.fun, abs=1e-3)
        checked += 1


@pytest.mark.parametrize("place", [0, 1])
def test_the_expected_e_value_is_at_most_one_for_any_rates_within_the_limit(place: int) -> None:
    weights, limit = fairness_gap.ARMS[place], 0.1
    events, learned = np.array([3.0, 2.0, 2.0, 3.0]), np.array([0.8, 0.3, 0.5, 0.4])
    outcomes = np.array(list(itertools.product(*(range(int(n) + 1) for n in events))), dtype=float)
    e_values = np.exp(halfspace.log_e(np.broadcast_to(events, outcomes.shape), outcomes, learned, weights, limit))
    assert e_values.max() > 2, "it would win if the rates were as learned"
    worst = 0.0
    for rates in itertools.product(np.linspace(0.02, 0.98, 9), repeat=4):
        if (weights * rates).sum() <= limit:
            chances = binom.pmf(outcomes, events, rates).prod(axis=-1)
            worst = max(worst, float((chances * e_values).sum()))
    assert worst <= 1 + 1e-6
    nearest = halfspace.nearest(events[None], learned[None], weights[None], np.array([limit]))[0]
    there = float((binom.pmf(outcomes, events, nearest).prod(axis=-1) * e_values).sum())
    assert there == pytest.approx(1.0, abs=1e-5), "no test of the limit could win more"


def test_blocks_end_at_the_same_times_however_far_the_analysis_has_come() -> None:
    long = fairness_gap.edges(3000)
    assert long.size < 200
    for size in (1, 63, 64, 700, 2999):
        assert fairness_gap.edges(size).tolist() == [end for end in long.tolist() if end <= size]


# Verdicts ------------------------------------------------------------------------------------------------------------

EQUAL = {
    "fair and equal": ((0.4, 0.4), (0.4, 0.4)),
    "unfair and equal": ((0.5, 0.3), (0.5, 0.3)),
    "farther apart by what is tolerated": ((0.5, 0.3), (0.51, 0.29)),
    "the other way round": ((0.5, 0.3), (0.3, 0.5)),
    "both lower": ((0.5, 0.3), (0.3, 0.1)),
    "rare": ((0.02, 0.01), (0.02, 0.01)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_versions_that_are_as_fair_or_unfair_as_each_other_do_not_fail(name: str) -> None:
    alarms = sum(_weighed(_counted(seed, *EQUAL[name])).reached_fail >= math.log(20) for seed in range(20))
    assert alarms <= 3, "one of 20 is expected at most; four have a chance of 1.6%"


def test_many_groups_together_have_one_budget() -> None:
    rates = (0.4, 0.3, 0.35, 0.5)
    mix = (0.4, 0.3, 0.2, 0.1)
    alarms = sum(_weighed(_counted(seed, rates, rates, mix=mix)).reached_fail >= math.log(20) for seed in range(15))
    assert alarms <= 3


def test_selections_that_come_alike_by_twenties_are_no_evidence_of_twenty() -> None:
    rates = (0.4, 0.4)
    alarms = sum(_weighed(_counted(seed, rates, rates, alike=20)).reached_fail >= math.log(20) for seed in range(20))
    assert alarms <= 3


def test_a_version_that_is_less_fair_fails_with_the_pair_and_by_how_much() -> None:
    said = _judged(_counted(3, (0.5, 0.4), (0.55, 0.3)))
    assert said.verdict.value == "fail"
    gap = said.findings[0].evidence.gap  # type: ignore[union-attr]
    assert gap is not None
    assert (gap.above, gap.below) == ("a", "b")
    assert gap.interval[0] < gap.change < gap.interval[1]
    assert gap.change == pytest.approx(0.15, abs=0.04)
    assert "more than 2 points more than the baseline's" in said.reason


def test_a_version_that_is_as_unfair_passes_once_more_is_excluded_and_says_the_gap_of_both() -> None:
    said = _judged(_counted(4, (0.5, 0.3), (0.5, 0.3), intervals=200))
    assert said.verdict.value == "pass"
    assert "10 points more is excluded" in said.reason
    assert said.decided is not None


def test_a_gap_in_the_other_direction_counts_by_its_size() -> None:
    assert _judged(_counted(5, (0.45, 0.4), (0.3, 0.5), intervals=120)).verdict.value == "fail"


def test_few_events_are_undecided_and_say_how_many_more_would_decide() -> None:
    said = _judged(_counted(6, (0.5, 0.3), (0.5, 0.3), intervals=8))
    assert said.verdict.value == "inconclusive"
    assert said.needs is not None
    assert said.needs.requests > 0


def test_a_group_with_few_events_is_named_and_lets_nothing_pass() -> None:
    counted = _counted(7, (0.5, 0.3, 0.4), (0.5, 0.3, 0.4), mix=(0.6, 0.398, 0.002), intervals=200)
    said = _judged(counted)
    assert said.verdict.value == "inconclusive"
    assert "fewer events than are needed are of c" in said.reason


def test_a_group_with_few_events_keeps_no_other_from_failing() -> None:
    counted = _counted(8, (0.5, 0.4, 0.4), (0.6, 0.3, 0.4), mix=(0.6, 0.398, 0.002))
    assert _judged(counted).verdict.value == "fail"


def test_one_group_alone_is_compared_with_nothing() -> None:
    said = _judged(_counted(9, (0.5,), (0.2,), mix=(1.0,)))
    assert said.verdict.value == "inconclusive"


def test_compared_both_ways_a_fairer_version_differs() -> None:
    fairer = _counted(10, (0.6, 0.3), (0.45, 0.45), intervals=120)
    assert _judged(fairer).verdict.value == "pass"
    assert _judged(fairer, two_sided=True).verdict.value == "fail"


def test_the_budget_is_shared_with_the_other_criteria() -> None:
    counted = _counted(11, (0.5, 0.4), (0.53, 0.37))
    alone = judge.judge(_counts(counted), settings(CRITERION))
    errors = replace(_counts(counted), counted={"fairness": counted, "errors": replace(counted, groups={})})
    shared = judge.judge(errors, settings(CRITERION, {"metric": "errors", "weight": 9.0}))
    assert shared.log_fail[-1] < alone.log_fail[-1]


def test_who_is_served_where_makes_no_difference_within_strata() -> None:
    """In each region all are selected alike; the canary serves group b mostly where few are selected."""
    rng = np.random.default_rng(12)
    parts = {}
    for region, rate, canary in (("x", 0.6, {"a": 90, "b": 20}), ("y", 0.2, {"a": 20, "b": 90})):
        groups = {}
        for name, size in canary.items():
            sizes = [rng.poisson(200, 80), rng.poisson(size, 80)]
            hits = [rng.binomial(one, rate)[None] for one in sizes]
            groups[name] = Counted(
                channels=("fairness",),
                baseline_events=hits[0],
                canary_events=hits[1],
                baseline_requests=sizes[0],
                canary_requests=sizes[1],
            )
        parts[region] = _summed(groups)
    pooled = _summed({name: _summed({region: parts[region].groups[name] for region in parts}) for name in "ab"})
    pooled = replace(pooled, groups={name: replace(one, groups={}) for name, one in pooled.groups.items()})
    assert _judged(pooled).verdict.value == "fail"
    within = _judged(replace(pooled, strata=parts))
    assert within.verdict.value == "pass"
    assert "within 2 strata" in within.reason


# Labels --------------------------------------------------------------------------------------------------------------


def _unlabelled(counted: Counted, *, events: float, others: float) -> Counted:
    """With predictions without a label, as shares of the labelled ones."""
    groups = {
        name: replace(
            one,
            missing=Missing(
                baseline_events=(one.baseline_requests * events).astype(np.int64),
                baseline_others=(one.baseline_requests * others).astype(np.int64),
                canary_events=(one.canary_requests * events).astype(np.int64),
                canary_others=(one.canary_requests * others).astype(np.int64),
            ),
        )
        for name, one in counted.groups.items()
    }
    return replace(counted, groups=groups)


@pytest.mark.parametrize(
    ("canary", "complete", "verdict", "said"),
    [
        ((0.7, 0.5), True, "pass", "is excluded"),
        ((0.7, 0.5), False, "inconclusive", "with the labels that are missing"),
        ((0.8, 0.4), True, "fail", "more than 2 points"),
        ((0.8, 0.4), False, "inconclusive", "they may be as on the baseline"),
    ],
)
def test_missing_labels_leave_open_what_they_could_turn_over(
    canary: tuple[float, float], complete: bool, verdict: str, said: str
) -> None:
    counted = _counted(13, (0.7, 0.5), canary, intervals=120)
    given = counted if complete else _unlabelled(counted, events=0.1, others=0.2)
    judged = _judged(given, measure="equal_opportunity")
    assert judged.verdict.value == verdict
    assert said in judged.reason


def test_labels_only_for_the_selected_never_pass_a_version() -> None:
    """Every selected one is right, so the true positives' share is 1 in every group; of the others nothing is known."""
    counted = _counted(14, (1.0, 1.0), (1.0, 1.0), intervals=120)
    assert _judged(counted, measure="equal_opportunity").verdict.value == "pass"
    selected = _unlabelled(counted, events=0.0, others=1.0)
    assert _judged(selected, measure="equal_opportunity").verdict.value == "inconclusive"


# From Prometheus -----------------------------------------------------------------------------------------------------


def _past(canary: Mapping[str, float], *, settle: bool, labelled: Mapping[str, float] | None = None) -> Past:
    """Selections of both versions by group; a share of them gets a label, and four of five labels say yes."""
    rng = np.random.default_rng(15)
    size = 60
    past = Past(START + size * STEP + 12)
    rates = {"v6": {"no": 0.5, "de": 0.4}, "v7": canary}
    for version, by_group in rates.items():
        labels = {"model": "fraud", "version": version}
        total = np.zeros(size, dtype=np.int64)
        for group, rate in by_group.items():
            where = {**labels, "attribute": "country", "group": group}
            asked = rng.poisson(300, size)
            yes = rng.binomial(asked, rate)
            total += asked
            kinds = ("group", "settled_group") if settle else ("group",)
            for predicted, made in (("yes", yes), ("no", asked - yes)):
                told = rng.binomial(made, (labelled or {}).get(predicted, 1.0))
                right = rng.binomial(told, 0.8)
                for kind in kinds:
                    past.grow(f"ml_{kind}_predictions_total", made, predicted=predicted, **where)
                    for actual, row in (("yes", right), ("no", told - right)):
                        past.grow(f"ml_{kind}_outcomes_total", row, predicted=predicted, actual=actual, **where)
        past.grow("ml_requests_total", total, outcome="ok", **labels)
        past.add("ml_unsettled_predictions", [(past.now - 10, 0.0)] if settle else [], **labels)
    if settle:
        past.add("ml_label_maturity_seconds", [(past.now - 10, 0.0)], model="fraud")
    return past


def _asked(past: Past, **more: Any) -> tuple[Counts, Judgement]:
    return ask.ask(past, QUESTION, settings(CRITERION | more), interval=STEP)


def test_counts_of_groups_are_read_from_the_exporters_counters() -> None:
    counts, said = _asked(_past({"no": 0.6, "de": 0.3}, settle=True))
    assert said.verdict.value == "fail"
    assert set(counts.counted["fairness"].groups) == {"no", "de"}
    assert any('attribute="country"' in query for query in counts.queries)
    alike, said = _asked(_past({"no": 0.5, "de": 0.4}, settle=True))
    assert said.verdict.value == "pass"
    assert alike.counted["fairness"].labels is None


@pytest.mark.parametrize("settle", [True, False])
@pytest.mark.parametrize("measure", ["equal_opportunity", "predictive_parity", "accuracy_parity"])
def test_measures_of_labels_read_labelled_predictions_and_those_without(measure: str, settle: bool) -> None:
    counts, said = _asked(_past({"no": 0.5, "de": 0.4}, settle=settle), measure=measure)
    group = counts.counted["fairness"].groups["no"]
    assert group.missing is not None
    assert not group.missing.canary_events.any()
    assert said.verdict.value == "pass"
    blind, said = _asked(_past({"no": 0.5, "de": 0.4}, settle=settle, labelled={"no": 0.1}), measure=measure)
    if measure == "predictive_parity":
        assert said.verdict.value == "pass", "of the positive ones every label is there"
    else:
        assert said.verdict.value == "inconclusive"
        assert blind.counted["fairness"].groups["no"].missing.canary_others.any()  # type: ignore[union-attr]


def test_more_groups_than_are_allowed_are_undecided_and_say_so() -> None:
    _, said = _asked(_past({"no": 0.5, "de": 0.4, "fr": 0.4}, settle=True), max_groups=2)
    assert said.verdict.value == "inconclusive"
    assert "has 3 groups, of which max_groups allows 2" in said.reason


@pytest.mark.parametrize(
    ("group", "folded", "verdict", "said"),
    [
        ("other", 0.0, "pass", "is excluded"),
        ("other", 3.0, "inconclusive", "raise exporter.caps.groups"),
        ("text", 0.0, "inconclusive", "look like free text"),
    ],
)
def test_groups_that_are_counted_as_one_are_not_shown_alike(group: str, folded: float, verdict: str, said: str) -> None:
    past = _past({"no": 0.5, "de": 0.4}, settle=True)
    for key in [key for key in past.series if ("group", "de") in key]:
        renamed = tuple(("group", group) if pair == ("group", "de") else pair for pair in key)
        past.series[renamed] = past.series.pop(key)
    past.add("midwatch_exporter_folded_total", [(past.now - 12, folded)], label="group")
    _, found = _asked(past)
    assert found.verdict.value == verdict
    assert said in found.reason


def test_a_positive_class_that_nothing_has_is_undecided() -> None:
    _, said = _asked(_past({"no": 0.5, "de": 0.4}, settle=True), positive="ja")
    assert said.verdict.value == "inconclusive"
    assert "nothing was predicted ja on the baseline" in said.reason


@pytest.mark.parametrize(
    ("measure", "label", "version"),
    [
        ("demographic_parity", "predicted", "v7"),
        ("equal_opportunity", "predicted", "v6"),
        ("predictive_parity", "actual", "v7"),
        ("accuracy_parity", "actual", "v7"),
    ],
)
def test_a_version_that_spells_its_classes_otherwise_is_undecided(measure: str, label: str, version: str) -> None:
    past = _past({"no": 0.5, "de": 0.4}, settle=True)
    otherwise = {(label, name): (label, name.title()) for name in ("yes", "no")}
    for key in [key for key in past.series if ("version", version) in key and dict(key).get(label) is not None]:
        past.series[tuple(otherwise.get(pair, pair) for pair in key)] = past.series.pop(key)
    _, said = _asked(past, measure=measure)
    assert said.verdict.value == "inconclusive"
    assert f"on the {'canary' if version == 'v7' else 'baseline'}: are classes spelled alike?" in said.reason


def test_a_verdict_is_given_again_from_its_document_byte_for_byte(tmp_path: Path) -> None:
    counts, said = _asked(_past({"no": 0.6, "de": 0.3}, settle=True), measure="equal_opportunity")
    own = settings(CRITERION | {"measure": "equal_opportunity"})
    given = document.document(counts, own, said)
    file = tmp_path / "verdict.json"
    file.write_text(json.dumps(given))
    again, kept = counts_file.load(file)
    assert kept == own
    assert document.document(again, own, judge.judge(again, own)) == given
    (found,) = given["criteria"]
    assert set(found["gap"]) >= {"above", "below", "baseline", "canary", "interval", "possible"}


def test_people_see_points_and_not_a_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts, own = _counts(_counted(3, (0.5, 0.4), (0.55, 0.3))), settings(CRITERION)
    said = judge.judge(counts, own)
    view.show(counts, said)
    assert "points" in capsys.readouterr().out
    report.write(tmp_path / "page.html", counts, own, said)
    assert "points [" in (tmp_path / "page.html").read_text()
    small = document.answer(counts, own, said)["evidence"]["criteria"]["fairness"]
    assert small["verdict"] == "fail"
    assert small["farther_apart"] > 0.1


# The platform file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positive": None}, "needs positive"),
        ({"tolerated": "10%"}, "unacceptable is not above tolerated"),
        ({"min_events": 10}, "greater than or equal to 11"),
    ],
)
def test_a_criterion_that_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec.Fairness.model_validate(CRITERION | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attribute": "age"}, "age is not counted for fraud"),
        ({"crossed_with": "age"}, f"country{CROSS}age is not counted for fraud"),
        ({"positive": "ja"}, "ja is no class of fraud"),
    ],
)
def test_groups_that_nobody_counts_are_named(changes: dict[str, Any], said: str) -> None:
    given = platform_document()
    given["models"][0] |= {"slos": [], "classes": ["yes", "no"], "canary": {"criteria": [CRITERION | changes]}}
    found = list(spec.check(Platform.model_validate(given)))
    assert [message for _, message, _ in found] == [said]
