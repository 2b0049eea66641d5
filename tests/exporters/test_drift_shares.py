"""Shares by bin of the features that a verdict rests on: which are published, what their bins are called, how many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from exporters.drift import references, state
from exporters.drift.judge import Judge
from midwatch import metrics, scrape_size
from midwatch.client import events
from midwatch.spec import load
from midwatch.spec.drift import Feature
from monitors.drift import fitting, histograms, reference_file
from monitors.drift.counts import Counts, NumericGrid
from monitors.drift.quality import CHECKS

START = 1_700_000_000.0
CITIES = ["bern", "rome", "oslo", "wien"]
SAID = ["Dear Ms Smith, your card was declined", "jane@example.com"]
LONG = "declined, since the card is not valid"
NUMBERS = [f"n{number}" for number in range(6)]
KINDS = dict.fromkeys(NUMBERS, Feature.NUMERIC) | dict.fromkeys(("city", "said", "prediction"), Feature.CATEGORICAL)


def rows(seed: int, count: int, **shifts: float) -> list[dict[str, events.Value | None]]:
    """Rows of every feature; a shift moves a number, or has the first category come so much more often."""
    random = np.random.default_rng(seed)
    table: dict[str, list[events.Value | None]] = {}
    for name in NUMBERS:
        table[name] = random.normal(shifts.get(name, 0.0), 1, count).tolist()
    for name, values in (("city", CITIES), ("said", [*SAID, "yes"]), ("prediction", [LONG, "no"])):
        first = 1 / len(values) + shifts.get(name, 0.0)
        rest = (1 - first) / (len(values) - 1)
        table[name] = random.choice(values, count, p=[first, *[rest] * (len(values) - 1)]).tolist()
    return [dict(zip(table, one, strict=True)) for one in zip(*table.values(), strict=True)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = rows(1, 3000)
    columns = {
        name: np.array([row[name] for row in table]) if kind is Feature.NUMERIC else [r[name] for r in table]
        for name, kind in KINDS.items()
    }
    file = tmp_path_factory.mktemp("shares") / "r.npz"
    reference_file.save(fitting.fit(columns, KINDS, window_rows=300), file)
    return file


@pytest.fixture
def judge(tmp_path: Path, make_document, fitted: Path) -> Judge:
    document = make_document()
    features = {name: kind.value for name, kind in KINDS.items()}
    drift = {"reference": str(fitted), "window": "10s", "min_samples": 50, "features": features}
    document["models"][0]["drift"] = drift
    document["models"][0]["classes"] = [LONG, "no", "fraud"]
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    platform = load.load_platform(file)
    return Judge(platform, tmp_path, tmp_path, references.Unwatched(platform, tmp_path).usable(), state.Saved())


def judged(judge: Judge, at: float, count: int = 400, **shifts: float) -> dict[tuple[str, str], dict[str, float]]:
    """Shares by feature and side, each by the name of its bin, after a window from `at` on."""
    judge.take(
        [
            events.Prediction(
                id=f"{at}-{place}",
                model="fraud",
                version="v1",
                ts=at + 1,
                prediction=str(features["prediction"]),
                features=features,
            )
            for place, features in enumerate(rows(int(at), count, **shifts))
        ]
    )
    assert judge.close(at + 11.5)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, labels, value in judge.board.samples():
        if name == metrics.DRIFT_SHARE.name:
            assert set(labels) == set(metrics.DRIFT_SHARE.labels)
            found.setdefault((labels["feature"], labels["side"]), {})[labels["bin"]] = value
    return found


def test_the_features_that_vote_come_first_and_no_more_than_five_have_bins(judge: Judge) -> None:
    found = judged(judge, START, n2=3.0, city=0.5)
    features = {feature for feature, _ in found}
    assert {"n2", "city"} <= features
    assert len(features) == scrape_size.DRAWN_FEATURES
    for bins in found.values():
        assert len(bins) <= 12
        assert sum(bins.values()) == pytest.approx(1.0)
    assert found["city", "window"]["bern"] > 0.6
    assert found["city", "reference"]["bern"] == pytest.approx(0.25, abs=0.05)
    last = [name for name in found["n2", "window"] if name.startswith("> ")]
    assert found["n2", "window"][last[0]] > 0.5


def test_a_feature_that_is_no_longer_among_them_has_no_bins_any_more(judge: Judge) -> None:
    before = judged(judge, START, n0=3.0, n1=3.0, n2=3.0, n3=3.0, city=0.5)
    assert {feature for feature, _ in before} == {"n0", "n1", "n2", "n3", "city"}
    after = judged(judge, START + 10, said=0.5)
    assert "said" in {feature for feature, _ in after}
    assert len({feature for feature, _ in after}) == 5, "and those of the window before are gone"


def test_a_window_without_a_verdict_and_an_old_one_have_no_bins(judge: Judge) -> None:
    assert judged(judge, START, n2=3.0)
    assert judged(judge, START + 10, count=10) == {}
    assert judged(judge, START + 20, n2=3.0)
    judge.close(START + 200)
    assert not [name for name, _, _ in judge.board.samples() if name == metrics.DRIFT_SHARE.name]


def test_free_text_is_no_name_of_a_bin_and_a_declared_class_is(judge: Judge) -> None:
    found = judged(judge, START, said=0.5, prediction=0.4)
    assert set(found["said", "window"]) == {"yes", "other", "text"}
    assert found["said", "window"]["text"] > 0.9
    assert set(found["prediction", "window"]) == {LONG, "no", "other"}


def test_bins_stay_after_a_restart_until_the_next_window(judge: Judge, tmp_path: Path) -> None:
    found = judged(judge, START, n2=3.0)
    state.write(tmp_path / "windows.log", judge.saved())
    kept = state.read(tmp_path / "windows.log")
    shares = [entry for entry in kept.entries if entry.subject[0] == "shares"]
    assert sum(entry.detail_size for entry in shares) == sum(map(len, found.values()))


def test_the_budget_of_series_holds_what_a_version_publishes(judge: Judge) -> None:
    judged(judge, START, n2=3.0, city=0.5)
    drift = judge._watched["fraud"].drift
    said = Counter(name for name, labels, _ in judge.board.samples() if labels.get("version") == "v1")
    assert 5 < said[metrics.DRIFT_SHARE.name] <= scrape_size.DRAWN_FEATURES * scrape_size.OF_A_DRAWN_FEATURE
    assert sum(said.values()) <= scrape_size.drift_series(drift)
    assert scrape_size.OF_A_DRAWN_FEATURE == 2 * histograms.DRAWN_BINS
    assert {kind: sum(kind in one.features for one in CHECKS.values()) for kind in Feature} == scrape_size.CHECKS


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([5.0] * 10, ["≤ 5", "> 5"]),
        ([], ["none"]),
        ([np.inf] * 5, ["none"]),
        ([-np.inf, 1.0, 1.0, np.inf], ["≤ 1", "> 1"]),
    ],
    ids=["one value", "no value", "infinite", "finite and infinite"],
)
def test_odd_numbers_have_bins_with_names_of_their_own(values: list[float], bins: list[str]) -> None:
    grid = NumericGrid.fit(np.array(values))
    counts = grid.count(np.array(values)) if len(values) else Counts(cells=np.zeros(1, dtype=np.int64))
    names, places = histograms._numeric_bins(grid.edges, counts)
    assert names == bins
    assert len(places) == len(counts.cells)


def test_bounds_that_hardly_differ_are_told_apart() -> None:
    values = 1e9 + np.arange(1000) / 1000
    grid = NumericGrid.fit(values)
    names, _ = histograms._numeric_bins(grid.edges, grid.count(values))
    assert len(set(names)) == len(names) == 12
