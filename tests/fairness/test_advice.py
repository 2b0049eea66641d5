"""What is proposed against a gap, applied to data sets and held against fairlearn and AIF360."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from exporters.events.outcomes import bin_of
from midwatch import metrics
from midwatch.spec.fairness import Fairness
from monitors.fairness import measures
from monitors.fairness.advice import effect, reweighing, search, thresholds
from monitors.fairness.advice.scene import Late, Scene, Sent
from monitors.fairness.advice.scores import Scores
from monitors.fairness.bounds import Unlabelled
from monitors.fairness.measures import MEASURES, Cells, Share
from monitors.fairness.promises import Finding
from monitors.fairness.ungrouped import Ungrouped
from monitors.fairness.verdict import Judgement, Limit, Verdict

pd = pytest.importorskip("pandas", reason="pandas is not installed")
datasets = pytest.importorskip("sklego.datasets", reason="scikit-lego, whose data sets are used, is not installed")

GROUPS = ("Black", "White")
BINS = 50


@pytest.fixture(scope="module")
def arrests() -> pd.DataFrame:
    """5,226 arrests: who was released, and the score of a model that was trained on a third of them."""
    from sklearn.linear_model import LogisticRegression

    rows = datasets.load_arrests(as_frame=True).sample(frac=1, random_state=3).reset_index(drop=True)
    features = pd.get_dummies(rows[["employed", "citizen", "checks", "age", "sex", "colour"]], drop_first=True)
    rows["actual"] = (rows.released == "Yes").astype(int)
    training = slice(0, len(rows) // 3)
    model = LogisticRegression(max_iter=1000).fit(features[training].astype(float), rows.actual[training])
    rows["score"] = model.predict_proba(features.astype(float))[:, 1]
    return rows[len(rows) // 3 :].reset_index(drop=True)


def _scores(rows: pd.DataFrame, blocks: int = 0) -> Scores:
    """Histograms as the exporter counts them, in so many blocks, or in all."""
    place = np.minimum((rows.score * BINS).astype(int), BINS - 1)
    block = np.arange(len(rows)) * max(blocks, 1) // len(rows)
    counts = np.zeros((2, len(GROUPS), BINS, max(blocks, 1)))
    np.add.at(counts, (rows.actual.to_numpy(), rows.colour.map(GROUPS.index).to_numpy(), place.to_numpy(), block), 1)
    negatives, positives = counts if blocks else counts[..., 0]
    return Scores(positives=positives, negatives=negatives)


def _predicted(rows: pd.DataFrame, scores: Scores, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """What thresholds decide, row by row."""
    own = scores.edges[places][rows.colour.map(GROUPS.index).to_numpy()]
    return (rows.score.to_numpy() >= own).astype(np.intp)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("limit", [Limit(difference=0.05), Limit(ratio=0.9)], ids=["difference", "ratio"])
def test_no_other_thresholds_keep_the_limit_with_more_right_answers(measure: str, limit: Limit) -> None:
    rng = np.random.default_rng(5)
    scores = Scores(positives=rng.integers(1, 60, (3, 6)) * 1.0, negatives=rng.integers(1, 60, (3, 6)) * 1.0)

    def right(places: tuple[int, ...]) -> float:
        cells = scores.at(np.array(places))
        is_kept = (
            measures.measured_ratio(measure, cells) >= (limit.ratio or 0) - 1e-12
            if limit.ratio
            else measures.measured_difference(measure, cells) <= (limit.difference or 0) + 1e-12
        )
        return float((cells.true_positives + cells.true_negatives).sum()) if is_kept else -np.inf

    inner = range(1, 6)
    best = max(itertools.product(inner, repeat=3), key=right)
    found = search.by_group(scores, measure, limit)
    assert (found is None) == (right(best) == -np.inf)
    if found is not None:
        assert right(tuple(found)) == right(best)
    alone = max(((place,) * 3 for place in inner), key=right)
    found = search.for_all(scores, measure, limit)
    assert (found is None) == (right(alone) == -np.inf)
    if found is not None:
        assert right(tuple(found)) == right(alone)


def test_thresholds_do_on_new_rows_what_the_histogram_says(arrests: pd.DataFrame) -> None:
    half = len(arrests) // 2
    scores = _scores(arrests[:half])
    places = search.by_group(scores, "demographic_parity", Limit(difference=0.02))
    assert places is not None
    later = arrests[half:]
    decided = _predicted(later, scores, places)
    rates = [decided[(later.colour == group).to_numpy()].mean() for group in GROUPS]
    expected = effect.of_measure(
        "demographic_parity", Limit(difference=0.02), *[_scores(later, 20).at(places)] * 2, alpha=0.05
    )
    assert expected.expected == pytest.approx(abs(rates[0] - rates[1]), abs=1e-12)
    assert expected.interval[0] <= expected.expected <= expected.interval[1]
    one = _predicted(later, scores, np.full(2, BINS // 2))
    gap_now = abs(np.diff([one[(later.colour == group).to_numpy()].mean() for group in GROUPS])[0])
    assert abs(rates[0] - rates[1]) < gap_now / 2


def test_thresholds_are_nearly_as_right_as_fairlearns_random_ones(arrests: pd.DataFrame) -> None:
    postprocessing = pytest.importorskip("fairlearn.postprocessing", reason="fairlearn is not installed")

    from sklearn.base import BaseEstimator, ClassifierMixin

    class Scorer(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = np.array([0, 1])

        def fit(self, x: object, y: object) -> Scorer:
            return self

        def predict_proba(self, x: pd.DataFrame) -> NDArray[np.float64]:
            return np.stack([1 - x.score, x.score], axis=1)

    features = arrests[["score"]]
    peer = postprocessing.ThresholdOptimizer(
        estimator=Scorer(), constraints="demographic_parity", prefit=True, predict_method="predict_proba"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(features, arrests.actual, sensitive_features=arrests.colour)
    chances = peer._pmf_predict(features, sensitive_features=arrests.colour)[:, 1]
    theirs = np.where(arrests.actual == 1, chances, 1 - chances).mean()
    scores = _scores(arrests)
    places = search.by_group(scores, "demographic_parity", Limit(difference=0.01))
    assert places is not None
    ours = (_predicted(arrests, scores, places) == arrests.actual).mean()
    assert ours == pytest.approx(theirs, abs=0.01)


def test_weights_are_aif360s(arrests: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        aif = pytest.importorskip("aif360.datasets", reason="aif360 is not installed")
        from aif360.algorithms.preprocessing import Reweighing
    rows = pd.DataFrame({"colour": (arrests.colour == "White") * 1.0, "actual": arrests.actual * 1.0})
    dataset = aif.BinaryLabelDataset(df=rows, label_names=["actual"], protected_attribute_names=["colour"])
    theirs = Reweighing([{"colour": 0.0}], [{"colour": 1.0}]).fit(dataset)
    by_cell = arrests.groupby(["colour", "actual"]).size()
    positives, negatives = (np.array([by_cell[group, actual] for group in GROUPS], dtype=float) for actual in (1, 0))
    ours = reweighing.weights(positives, negatives)
    assert ours == pytest.approx(
        np.array([[theirs.w_up_unfav, theirs.w_up_fav], [theirs.w_p_unfav, theirs.w_p_fav]]), abs=1e-12
    )


def test_a_model_that_is_trained_with_the_weights_selects_groups_more_alike(arrests: pd.DataFrame) -> None:
    from sklearn.linear_model import LogisticRegression

    features = pd.get_dummies(arrests[["employed", "citizen", "checks", "age", "sex", "colour"]], drop_first=True)
    features = features.astype(float)
    by_cell = arrests.groupby(["colour", "actual"]).size()
    positives, negatives = (np.array([by_cell[group, actual] for group in GROUPS], dtype=float) for actual in (1, 0))
    weights = reweighing.weights(positives, negatives)[arrests.colour.map(GROUPS.index), arrests.actual]

    def gap(weight: NDArray[np.float64] | None) -> float:
        model = LogisticRegression(max_iter=1000).fit(features, arrests.actual, sample_weight=weight)
        scores = model.predict_proba(features)[:, 1]
        return abs(float(scores[arrests.colour == "White"].mean() - scores[arrests.colour == "Black"].mean()))

    assert gap(weights) < gap(None) / 3


def test_a_score_on_a_threshold_is_counted_above_it_however_it_is_rounded() -> None:
    bins = metrics.GROUP_SCORE_BINS
    assert [bin_of(place / bins, bins) for place in range(bins)] == list(range(bins))


def _scene(chosen_on: tuple[float, float], tested_on: tuple[float, float]) -> Scene:
    """Two groups of 1,000 events a block, such shares of which have a score of 0.6 and are positive."""
    positives, negatives = np.zeros((2, 2, 50, 10))
    for place, shares in enumerate((chosen_on, tested_on)):
        for group, share in enumerate(shares):
            positives[group, 30, place::2], negatives[group, 10, place::2] = 1000 * share, 1000 * (1 - share)
    nothing = np.zeros((2, 10))
    labelled = Cells(
        true_positives=positives.sum(axis=1),
        false_positives=nothing,
        false_negatives=nothing,
        true_negatives=negatives.sum(axis=1),
    )
    promise = Fairness.model_validate(
        {"attribute": "g", "measure": "demographic_parity", "difference": "10%", "public": True}
    )
    said = Judgement(verdict=Verdict.UNFAIR, became_unfair=False, worst=None, rates=(), left_out=(), rows_needed=None)
    finding = Finding(
        model="m",
        version="v1",
        promise=promise,
        rate="selected",
        judgement=said,
        labelled={},
        reason="",
        since=0.0,
        ungrouped=Ungrouped(number=0.0, total=1000.0, lacks=("g",), counter="ml_predictions_total"),
    )
    return Scene(
        findings=(finding,),
        positive="yes",
        groups=("a", "b"),
        labelled=labelled,
        missing=Unlabelled(positive=np.zeros(2), negative=np.zeros(2)),
        late=Late(unlabelled=0.0, came=0.0),
        sent=Sent(finding=finding, grouped=nothing[0], total=nothing[0], start=0.0, block=600.0),
        scores=Scores(positives=positives, negatives=negatives),
    )


@pytest.mark.parametrize(
    ("tested_on", "fits", "said"),
    [
        ((0.5, 0.5), True, ""),
        ((0.5, 0.41), True, thresholds.NOT_SURE),
        ((0.5, 0.35), False, thresholds.NOT_SURE),
    ],
)
def test_a_threshold_that_keeps_the_limit_only_where_it_was_chosen_does_not_fit(
    tested_on: tuple[float, float], fits: bool, said: str
) -> None:
    found = thresholds.propose_one(_scene((0.5, 0.45), tested_on))
    assert found.fits is fits
    assert found.why == (thresholds.CHOSEN if fits else thresholds.BEYOND)
    assert (thresholds.NOT_SURE in found.notes) is bool(said)


def test_a_small_group_does_not_hide_that_others_differ_in_their_positives() -> None:
    events = np.array([4000.0, 4000.0, 30.0])
    assert reweighing.are_apart(Share(events=events, hits=np.array([2000.0, 1600.0, 16.0])), 0.05)
    assert not reweighing.are_apart(Share(events=events, hits=np.array([2000.0, 1980.0, 16.0])), 0.05)
