"""The methods that look at all features together: what only they can see, and how rarely they see what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from midwatch.spec.drift import Feature
from monitors.drift import fitting, joint, methods, reference, reference_file, sample, verdict
from monitors.drift.counts import CategoryGrid, NumericGrid
from monitors.drift.embedding import Embedding
from monitors.drift.methods import mmd


def embedded(columns, kinds) -> Embedding:
    fit = {Feature.NUMERIC: NumericGrid.fit, Feature.CATEGORICAL: CategoryGrid.fit}
    grids = {name: fit[kind](columns[name]) for name, kind in kinds.items()}
    return Embedding.fit({name: (grid, grid.count(columns[name])) for name, grid in grids.items()})


def rows(seed: int, count: int = 2000, width: int = 5, correlation: float = 0.0) -> np.ndarray:
    covariance = np.full((width, width), correlation) + np.eye(width) * (1 - correlation)
    return np.random.default_rng(seed).multivariate_normal(np.zeros(width), covariance, count).astype(np.float32)


def test_the_discrepancy_of_many_rows_is_that_of_all_pairs() -> None:
    one, other = rows(1, 3000), rows(2, 3000) + np.float32(0.3)
    exact = mmd.compare(one, other)
    many = mmd.compare(np.tile(one, (8, 1)), np.tile(other, (8, 1)))
    assert many.statistic == pytest.approx(exact.statistic, rel=0.35)


def test_an_embedding_clips_what_is_wild_and_centres_what_is_missing() -> None:
    kinds = {"x": Feature.NUMERIC, "c": Feature.CATEGORICAL}
    columns = {"x": np.array([1.0, 2.0, 3.0, np.nan, np.inf]), "c": ["a", "b", "a", "a", None]}
    made = embedded(columns, kinds)
    vectors = made.rows(columns)
    assert vectors.shape == (5, made.width) == (5, 3)
    assert vectors[3, 0] == 0
    assert vectors[4, 0] == 5
    assert np.linalg.norm(vectors[0, 1:] - vectors[1, 1:]) == pytest.approx(1.0)
    assert vectors[4, 1:].tolist() == [0, 0]


def test_a_vote_of_the_joint_methods_sees_what_no_feature_shows(tmp_path) -> None:
    kinds = dict.fromkeys("abcde", Feature.NUMERIC)
    made = fitting.fit(dict(zip("abcde", rows(1, 20_000).T.astype(float), strict=True)), kinds, window_rows=2000)
    reference_file.save(made, tmp_path / "r.npz")
    made = reference_file.load(tmp_path / "r.npz")

    def judged(correlation: float):
        columns = dict(zip("abcde", rows(2, correlation=correlation).T.astype(float), strict=True))
        counts = reference.count(made, columns)
        return verdict.judge(
            made.features,
            counts,
            samples=2000,
            methods=["ks", "psi", *methods.ROW],
            quorum=2,
            alpha=1e-4,
            min_samples=500,
            together=(made.joint, made.joint.embedding.rows(columns)),
        )

    assert judged(0.0).verdict is verdict.Verdict.STABLE
    found = judged(0.6)
    assert found.verdict is verdict.Verdict.DRIFT
    assert {finding.feature for finding in found.drifted} == {joint.FEATURE}
    assert found.votes >= 2
    assert joint.FEATURE in found.reason


def sampled(names: list[str]) -> sample.Sample:
    columns = {name: rows(3, 5000)[:, index] for index, name in enumerate("abcde")}
    embedding = embedded(columns, dict.fromkeys("abcde", Feature.NUMERIC))

    def of(places):
        return {name: column[[int(names[place][1:]) for place in places]] for name, column in columns.items()}

    hashed = np.fromiter(sample.hashes(names), np.uint64)
    return sample.Sample.empty(5).taking(hashed, embedding, of)


def test_samples_of_parts_add_up_to_that_of_the_whole() -> None:
    names = [f"n{index}" for index in range(5000)]
    whole, parts = sampled(names), sampled(names[:1500]) + sampled(names[3000:]) + sampled(names[1000:3500][::-1])
    assert len(whole.keys) == sample.SIZE
    assert (whole.keys == parts.keys).all()
    assert (whole.rows == parts.rows).all()


def test_a_sample_has_rows_from_everywhere_and_each_once() -> None:
    names = [f"n{index}" for index in range(5000)]
    twice = sampled([*names, *names[:100]])
    assert (twice.keys == sampled(names).keys).all()
    few = sampled(names[:10])
    assert len(few.keys) == 10
    assert abs(sampled(names).rows.mean()) < 0.05
