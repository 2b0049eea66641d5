"""Calibration, errors and exposure by group: from events through the exporter's sums to verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from exporters.events.state import State, Totals
from midwatch import metrics
from midwatch.client.events import Label, Prediction
from midwatch.spec.base import Place
from midwatch.spec.fairness import CROSS, Fairness, findings
from midwatch.spec.model import Exporter, Model
from monitors.fairness import measures, promises, sums, verdict
from monitors.fairness.fetch import SUMMED, Asked, Cell, Window
from monitors.fairness.promises import Finding
from monitors.fairness.verdict import Counts, Limit, Settings, Verdict
from tests.conftest import platform_document
from tests.fairness import published
from tests.fairness.published import NOW, VERSION
from tests.fairness.published import model as _model

ANSWERS = "ml_requests_total"
COUNTED_ONCE = (metrics.SETTLED_GROUP_SCORED.name, metrics.GROUP_RANKED.name)
GROUPS = ("a", "b", "c")
BLOCKS = 100


def _summed(model: Model, rows: Sequence[dict[str, Any]], attribute: str = "g") -> sums.Summed:
    found = published.asked(model, [rows])
    return sums.counted(model.fairness[0], attribute, VERSION, found, published.window(1))


def _rates(summed: sums.Summed) -> np.ndarray:
    return np.asarray(summed.counts.hits.sum(axis=(0, 2)) / summed.counts.events.sum(axis=(0, 2)))


# Equal to the libraries' values on the same rows ---------------------------------------------------------------------


def _amounts(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = rng.choice(GROUPS, size=300, p=(0.6, 0.3, 0.1))
    actual = rng.uniform(0, 100, size=300)
    return pd.DataFrame({"g": group, "actual": actual, "predicted": actual + rng.uniform(-20, 20, size=300)})


def _as_events(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"prediction": float(row.predicted), "label": float(row.actual), "groups": {"g": row.g}}
        for row in rows.itertuples()
    ]


def test_mean_absolute_errors_by_group_are_those_of_fairlearn_and_aif360() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    aif360 = pytest.importorskip("aif360.sklearn.metrics", reason="AIF360 is not installed")
    from sklearn.metrics import mean_absolute_error

    rows = _amounts(3)
    model = _model("mean_absolute_error_parity", error_bound=50)
    errors = _rates(_summed(model, _as_events(rows))) * 50
    given = {"y_true": rows.actual, "y_pred": rows.predicted, "sensitive_features": rows.g}
    frame = fairlearn.MetricFrame(metrics=mean_absolute_error, **given)
    assert measures.difference(errors) == pytest.approx(frame.difference(), abs=1e-12)
    assert measures.ratio(errors) == pytest.approx(frame.ratio(), abs=1e-12)
    overall = float(frame.overall)
    assert measures.difference_to(overall, errors) == pytest.approx(frame.difference(method="to_overall"), abs=1e-12)
    assert measures.ratio_to(overall, errors) == pytest.approx(frame.ratio(method="to_overall"), abs=1e-12)
    assert errors.max() == pytest.approx(fairlearn.mean_absolute_error_group_max(**given), abs=1e-12)
    pair = rows[rows.g != "c"].set_index("g")
    of = {"prot_attr": "g", "priv_group": "a"}
    theirs = aif360.difference(mean_absolute_error, pair.actual, pair.predicted, **of)
    assert errors[1] - errors[0] == pytest.approx(theirs, abs=1e-12)


def test_shares_within_a_bound_are_the_metric_frame_of_fairlearn() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    rows = _amounts(4)
    within = _rates(_summed(_model("within_bound_parity", error_bound=8.5), _as_events(rows)))
    frame = fairlearn.MetricFrame(
        metrics=lambda actual, predicted: float((np.abs(actual - predicted) <= 8.5).mean()),
        y_true=rows.actual,
        y_pred=rows.predicted,
        sensitive_features=rows.g,
    )
    assert within == pytest.approx(frame.by_group.to_numpy(dtype=float), abs=1e-12)
    assert measures.difference(within) == pytest.approx(frame.difference(), abs=1e-12)


def test_errors_beyond_the_bound_count_as_the_bound() -> None:
    rows = [{"prediction": 0.0, "label": error, "groups": {"g": "a"}} for error in (10.0, 50.0, 1e9)]
    model = _model("mean_absolute_error_parity", error_bound=50)
    assert _rates(_summed(model, rows))[0] * 50 == pytest.approx((10 + 50 + 50) / 3, abs=1e-12)


def _scored(seed: int, size: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group, score = rng.choice(GROUPS, size=size, p=(0.6, 0.3, 0.1)), rng.random(size)
    return pd.DataFrame({"g": group, "score": score, "actual": rng.random(size) < score})


def test_calibration_errors_by_group_are_those_of_the_rows_in_ten_bins() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")

    def calibration_error(actual: pd.Series, score: pd.Series) -> float:
        binned = pd.DataFrame({"actual": actual.astype(float), "score": score})
        grouped = binned.groupby(np.minimum((binned.score * 10).astype(int), 9))
        return float((grouped.actual.sum() - grouped.score.sum()).abs().sum() / len(binned))

    rows = _scored(5)
    events = [
        {
            "prediction": "yes" if row.score > 0.5 else "no",
            "score": row.score,
            "label": "yes" if row.actual else "no",
            "groups": {"g": row.g},
        }
        for row in rows.itertuples()
    ]
    errors = _summed(_model("calibration_within_groups"), events).calibration_errors()
    frame = fairlearn.MetricFrame(
        metrics=calibration_error, y_true=rows.actual, y_pred=rows.score, sensitive_features=rows.g
    )
    assert list(errors.values()) == pytest.approx(frame.by_group.to_numpy(dtype=float), abs=1e-12)
    found = np.array(list(errors.values()))
    assert measures.difference(found) == pytest.approx(frame.difference(), abs=1e-12)


def test_mean_exposure_and_shares_of_it_are_those_of_the_places() -> None:
    ranks = {"a": (1, 4, 7), "b": (2, 3, 1_000_000)}
    rows = [{"prediction": "yes", "rank": rank, "groups": {"g": group}} for group, own in ranks.items() for rank in own]
    summed = _summed(_model("exposure_parity"), rows)
    attention = {group: measures.exposure(np.array(own, dtype=float)) for group, own in ranks.items()}
    assert _rates(summed) == pytest.approx([own.mean() for own in attention.values()], abs=1e-12)
    total = sum(own.sum() for own in attention.values())
    shares = measures.exposure_shares(summed.counts.hits.sum(axis=(0, 2)))
    assert shares == pytest.approx([own.sum() / total for own in attention.values()], abs=1e-12)


# What the exporter counts, and what not ------------------------------------------------------------------------------


def test_intersections_and_strata_are_summed_like_attributes() -> None:
    model = _model("exposure_parity", within="h")
    rows = [{"prediction": "yes", "rank": 1, "groups": {"g": "a", "h": h}} for h in ("x", "y", "y")]
    summed = _summed(model, rows, f"g{CROSS}h")
    assert (summed.counts.groups, summed.counts.strata) == (("a",), ("x", "y"))
    assert summed.counts.events[:, 0, 0].tolist() == [1, 2]


def test_without_room_for_more_series_a_group_is_summed_as_other_and_nothing_is_shown() -> None:
    model = _model("calibration_within_groups", min_events=11)
    rows = [
        {"prediction": "yes", "score": 0.25, "label": "yes", "groups": {"g": f"group-{place}"}} for place in range(60)
    ]
    asked = published.asked(model, [rows], series=1000, groups=100)
    scored = asked.sums[metrics.SETTLED_GROUP_SCORED.name][VERSION]
    assert sum(float(row.sum()) for row in scored.values()) == 60
    assert float(scored["g", metrics.OTHER, "0.26", ""].sum()) > 1


def test_a_model_without_such_promises_has_none_of_the_sums() -> None:
    asked = published.asked(
        _model("demographic_parity"), [[{"prediction": "yes", "score": 0.5, "rank": 3, "groups": {"g": "a"}}]]
    )
    assert not any(asked.sums[metric.name][VERSION] for summed in SUMMED.values() for metric in summed)


# Verdicts ------------------------------------------------------------------------------------------------------------


def _calibrated(
    seed: int, gap: float, per_block: int = 400, inside: tuple[float, float] = (0.03, 0.07)
) -> Iterator[tuple[Cell, str, np.ndarray]]:
    """Two groups whose scores lie elsewhere within each bin; positives of b are `gap` rarer than its scores."""
    rng = np.random.default_rng(seed)
    for group, where, less in (("a", inside[0], 0.0), ("b", inside[1], gap)):
        for place in (2, 5, 7):
            score = place / 10 + where
            cell = ("g", group, f"{(place + 1) / 10:g}", "")
            positives = rng.binomial(per_block, score - less, size=BLOCKS).astype(float)
            everything = np.full(BLOCKS, float(per_block))
            yield cell, metrics.SETTLED_GROUP_SCORED.name, everything
            yield cell, metrics.SETTLED_GROUP_SCORED_OUTCOMES.name, everything
            yield cell, metrics.SETTLED_GROUP_POSITIVES.name, positives
            yield cell, metrics.SETTLED_GROUP_SCORE_SUM.name, everything * score


def _judged(model: Model, found: Iterator[tuple[Cell, str, np.ndarray]], labelled: float = 1.0) -> Finding:
    by_metric: dict[str, dict[Any, dict[Cell, Any]]] = {}
    unlabelled = {metrics.SETTLED_GROUP_SCORED.name, metrics.GROUP_RANKED.name, metrics.GROUP_EXPOSURE.name}
    for cell, name, row in found:
        by_metric.setdefault(name, {}).setdefault(VERSION, {})[cell] = row * (1 if name in unlabelled else labelled)
    predicted = {VERSION: {("g", group, "yes", ""): np.ones(BLOCKS) for group in ("a", "b")}}
    every = sum(
        row for cells in (by_metric.get(name, {}) for name in COUNTED_ONCE) for row in cells.get(VERSION, {}).values()
    )
    asked = Asked(
        predicted=predicted,
        labelled={},
        settled={},
        folded=frozenset(),
        queries=(),
        sums=by_metric,
        totals={name: {VERSION: {("", "", "", ""): every}} for name in ("ml_settled_predictions_total", ANSWERS)},
    )
    return promises.judge([model], asked, Window(start=0.0, block=1000.0, size=BLOCKS))[0]


def test_groups_that_are_calibrated_alike_are_fair_wherever_their_scores_lie_within_a_bin() -> None:
    said = _judged(_model("calibration_within_groups"), _calibrated(1, gap=0.0))
    assert said.judgement.verdict is Verdict.FAIR
    raw = [rate.rate for rate in said.judgement.rates]
    assert raw == pytest.approx([0.0, 0.0], abs=0.02)


def test_a_group_whose_scores_promise_too_much_is_shown_unfair_and_by_how_much() -> None:
    said = _judged(_model("calibration_within_groups"), _calibrated(2, gap=0.12))
    assert said.judgement.verdict is Verdict.UNFAIR
    worst = said.judgement.worst
    assert worst is not None
    assert (worst.above, worst.below) == ("a", "b")
    low, high = worst.difference_interval
    assert 0.0 < low < worst.difference < high
    assert said.calibration_errors["b"] == pytest.approx(0.12, abs=0.02)


def test_calibration_that_missing_labels_could_explain_is_not_shown_either_way() -> None:
    for gap in (0.0, 0.12):
        said = _judged(_model("calibration_within_groups"), _calibrated(3, gap=gap), labelled=0.8)
        assert said.judgement.verdict is Verdict.UNKNOWN
        assert "have no label" in said.reason
        assert said.labelled["a"] == pytest.approx(0.8)


def _errors(seed: int, means: dict[str, float], per_block: int = 300) -> Iterator[tuple[Cell, str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for group, mean in means.items():
        errors = np.minimum(rng.exponential(mean, size=(BLOCKS, per_block)), 100.0)
        far = (errors >= 100.0).sum(axis=1).astype(float)
        yield ("g", group, "100", "yes"), metrics.SETTLED_GROUP_ERRORS.name, per_block - far
        yield ("g", group, "100", "no"), metrics.SETTLED_GROUP_ERRORS.name, far
        yield ("g", group, "100", ""), metrics.SETTLED_GROUP_ABSOLUTE_ERROR.name, errors.sum(axis=1)


def _judge_errors(found: Iterator[tuple[Cell, str, np.ndarray]], lost: float = 0.0, **limit: Any) -> Finding:
    """With a share of predictions that have no label."""
    rows = list(found)
    by_metric: dict[str, dict[Any, dict[Cell, Any]]] = {}
    events: dict[str, Any] = {}
    for cell, name, row in rows:
        by_metric.setdefault(name, {}).setdefault(VERSION, {})[cell] = row
        if name == metrics.SETTLED_GROUP_ERRORS.name:
            events[cell[1]] = events.get(cell[1], 0.0) + row
    settled = {("g", group, metrics.AMOUNT, ""): row / (1 - lost) for group, row in events.items()}
    asked = Asked(
        predicted={VERSION: settled},
        labelled={},
        settled={VERSION: settled},
        folded=frozenset(),
        queries=(),
        sums=by_metric,
        totals={ANSWERS: {VERSION: {("", "", "", ""): sum(settled.values())}}},
    )
    model = _model("mean_absolute_error_parity", error_bound=100, **limit)
    return promises.judge([model], asked, Window(start=0.0, block=1000.0, size=BLOCKS))[0]


def test_mean_errors_that_are_apart_alike_or_of_unknown_labels_get_three_verdicts() -> None:
    assert _judge_errors(_errors(1, {"a": 10.0, "b": 25.0})).judgement.verdict is Verdict.UNFAIR
    assert _judge_errors(_errors(2, {"a": 20.0, "b": 20.0})).judgement.verdict is Verdict.FAIR
    assert _judge_errors(_errors(3, {"a": 20.0, "b": 20.0}), lost=0.3).judgement.verdict is Verdict.UNKNOWN
    ratio = _judge_errors(_errors(4, {"a": 10.0, "b": 25.0}), difference=None, ratio="80%")
    assert ratio.judgement.verdict is Verdict.UNFAIR
    assert ratio.judgement.worst is not None
    assert ratio.judgement.worst.above == "b", "the greater error is the higher rate"


@pytest.mark.parametrize(
    ("measure", "row", "lacks"),
    [
        ("exposure_parity", {"prediction": "x", "rank": 1}, "no rank or no g"),
        ("calibration_within_groups", {"prediction": "yes", "score": 0.55, "label": "yes"}, "no score or no g"),
        ("within_bound_parity", {"prediction": 10.0, "label": 11.0}, "no number or no g"),
    ],
)
def test_what_is_in_no_group_is_told_of_places_scores_and_errors(measure: str, row: dict[str, Any], lacks: str) -> None:
    more = {"error_bound": 20} if measure == "within_bound_parity" else {}
    grouped = [row | {"groups": {"g": group}} for group in ("a", "b", "b")]
    model = _model(measure, **more)
    (all_grouped,) = promises.judge([model], published.asked(model, [grouped * 20] * 2), published.window(2))
    (said,) = promises.judge([model], published.asked(model, [[*grouped, row] * 20] * 2), published.window(2))
    assert (all_grouped.ungrouped.number, all_grouped.ungrouped.total) == (0, 120)
    assert (said.ungrouped.number, said.ungrouped.total) == (40, 160)
    assert said.reason.endswith(f"25.0% of the predictions have {lacks}")


def test_means_of_values_between_0_and_1_are_called_unfair_in_at_most_alpha_of_the_runs() -> None:
    rng = np.random.default_rng(9)
    settings = Settings(limit=Limit(difference=0.05), alpha=0.05)
    runs = []
    for _ in range(60):  # on the limit, with values that vary as much as they can, and hardly at all
        n = rng.integers(5, 60, size=(1, 2, 60)).astype(float)
        values = rng.beta(0.05, 0.05, size=(60, 60)), rng.beta(40, 40, size=(60, 60)) - 0.05
        hits = np.array(
            [[row[: int(size)].sum() for row, size in zip(values[g], n[0, g], strict=True)] for g in range(2)]
        )
        runs.append(Counts(groups=("a", "b"), events=n, hits=np.clip(hits, 0, n[0])[None]))
    alarms = sum(one.verdict is Verdict.UNFAIR for one in verdict.judge_all(runs, settings))
    assert alarms <= 6, "3 of 60 are expected at most; more than 6 have a chance of 3%"


def test_calibration_on_the_limit_is_called_unfair_in_at_most_alpha_of_the_runs() -> None:
    rng = np.random.default_rng(10)
    runs = []
    for _ in range(60):
        events = rng.integers(5, 60, size=(3, 2, 60)).astype(float)
        scores = np.array([[0.22, 0.28], [0.52, 0.58], [0.77, 0.71]])[..., None]
        hits = rng.binomial(events.astype(int), scores + np.array([0.05, 0.0])[:, None]).astype(float)
        strata = ("low", "middle", "high")
        runs.append(Counts(groups=("a", "b"), events=events, hits=hits, strata=strata, expected=events * scores))
    settings = Settings(limit=Limit(difference=0.05), alpha=0.05)
    alarms = sum(one.verdict is Verdict.UNFAIR for one in verdict.judge_all(runs, settings))
    assert alarms <= 6, "3 of 60 are expected at most; more than 6 have a chance of 3%"


def test_exposure_in_rankings_that_favour_a_group_is_unfair_and_in_those_that_do_not_fair() -> None:
    def exposed(seed: int, favour: float) -> Iterator[tuple[Cell, str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        score = rng.random((BLOCKS, 80, 10)) + np.repeat([favour, 0.0], 5)
        attention = measures.exposure(1.0 + np.argsort(np.argsort(-score, axis=-1), axis=-1))
        for place, group in enumerate(("a", "b")):
            own = attention[..., 5 * place : 5 * place + 5].sum(axis=(1, 2))
            yield ("g", group, "", ""), metrics.GROUP_RANKED.name, np.full(BLOCKS, 400.0)
            yield ("g", group, "", ""), metrics.GROUP_EXPOSURE.name, own

    assert _judged(_model("exposure_parity"), exposed(1, 0.0)).judgement.verdict is Verdict.FAIR
    said = _judged(_model("exposure_parity"), exposed(2, 0.3))
    assert said.judgement.verdict is Verdict.UNFAIR
    assert said.labelled == {}


# The platform file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("promise", "said"),
    [
        ({"measure": "mean_absolute_error_parity"}, "needs error_bound"),
        ({"measure": "demographic_parity", "error_bound": 3}, "has no error_bound"),
        ({"measure": "calibration_within_groups", "difference": None, "ratio": "80%"}, "has no ratio"),
    ],
)
def test_a_promise_that_does_not_fit_its_measure_is_refused(promise: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fairness.model_validate({"attribute": "g", "difference": "5%", **promise})


@pytest.mark.parametrize(
    ("task", "promise", "place", "said"),
    [
        ("classification", {"measure": "within_bound_parity", "error_bound": 3}, "measure", "predicts none"),
        ("regression", {"measure": "calibration_within_groups"}, "measure", "has none"),
        ("regression", {"measure": "exposure_parity", "scores": True}, "scores", "no classes"),
    ],
)
def test_a_measure_of_what_the_model_does_not_answer_is_named(
    task: str, promise: dict[str, Any], place: str, said: str
) -> None:
    document = platform_document()["models"][0] | {"slos": [], "task": task, "groups": ["g"], "positive": None}
    given = {"attribute": "g", "difference": "5%", "public": True, **promise}
    model = Model.model_validate(document | {"fairness": [given]})
    found: list[tuple[Place, str, str]] = list(findings(model, [], []))
    assert any(at == ("fairness", 0, place) and said in message for at, message, _ in found)


def test_a_snapshot_keeps_the_sums_and_the_groups_that_have_series() -> None:
    model = _model("mean_absolute_error_parity", error_bound=50)
    state = State(Exporter(), [model])
    event = Prediction(id="1", model="m", version="v1", ts=NOW, prediction=3.0, groups={"g": "a"})
    state.apply(NOW, [event, Label(id="1", model="m", label=5.0, ts=NOW)])
    again = State(Exporter(), [model])
    again.restore_totals(state.totals())
    for one in (state, again):
        one.apply(NOW + 100.0, [])
    assert again.counters.series == state.counters.series
    kept: list[Totals] = [state.live(), again.live()]
    assert kept[0].settled == kept[1].settled
    assert kept[1].settled[0][2].sums.errors == {"g": {"a": {"50": [1.0, 0.0, 2.0, 4.0]}}}
