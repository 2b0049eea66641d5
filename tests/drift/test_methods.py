"""What holds for every drift method: a new one is tried by being in the folder."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from midwatch.spec import drift as spec
from midwatch.spec.drift import Feature
from monitors.drift import methods
from monitors.drift.comparison import FeatureMethod, Result, RowMethod
from monitors.drift.counts import CategoryGrid, Counts, NumericGrid

ROOT = Path(__file__).parents[2]


def test_the_platform_file_knows_the_methods_that_there_are() -> None:
    folder = ROOT / "monitors" / "drift" / "methods"
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == {*spec.FEATURE_METHODS, *spec.ROW_METHODS}
    assert all(isinstance(method, FeatureMethod) for method in methods.FEATURE.values())
    assert all(isinstance(method, RowMethod) for method in methods.ROW.values())


@pytest.mark.parametrize("name", [*methods.FEATURE, *methods.ROW])
def test_the_guide_says_what_a_method_looks_at(name: str) -> None:
    table = [line for line in (ROOT / "docs" / "drift.md").read_text().splitlines() if line.startswith("| ")]
    assert any(f"`{name}`" in line.split("|")[1] for line in table)


# One feature -------------------------------------------------------------------------------------------------------


def numbers(seed: int, size: int, change: float) -> tuple[Counts, Counts]:
    generator = np.random.default_rng(seed)
    before = generator.normal(size=20_000)
    grid = NumericGrid.fit(before)
    return grid.count(before), grid.count(generator.normal(change, 1, size))


def categories(seed: int, size: int, change: float) -> tuple[Counts, Counts]:
    generator = np.random.default_rng(seed)
    before = generator.choice(["a", "b", "c"], 20_000)
    grid = CategoryGrid.fit(before)
    shares = np.array([1 + change, 1, 1]) / (3 + change)
    return grid.count(before), grid.count(generator.choice(["a", "b", "c"], size, p=shares))


SIDES: dict[Feature, Callable[[int, int, float], tuple[Counts, Counts]]] = {
    Feature.NUMERIC: numbers,
    Feature.CATEGORICAL: categories,
}
PAIRS = [
    pytest.param(method, SIDES[feature], id=f"{name} of {feature.value}")
    for name, method in methods.FEATURE.items()
    for feature in sorted(method.features)
]


@pytest.mark.parametrize(("method", "sides"), PAIRS)
def test_equal_features_are_rarely_told_apart(method: FeatureMethod, sides) -> None:
    results = [method.compare(*sides(seed, 1000, 0.0), 1.0) for seed in range(100)]
    assert sum(result.p_value < 0.05 for result in results) <= 12  # 100 at 5%: more happens once in 600 times
    assert all(0 < result.p_value <= 1 for result in results)
    assert min(result.effect for result in results) >= 0


@pytest.mark.parametrize(("method", "sides"), PAIRS)
def test_a_change_of_a_feature_is_seen_and_runs_say_less(method: FeatureMethod, sides) -> None:
    result = method.compare(*sides(1, 2000, 0.5), 1.0)
    assert result.p_value < 1e-6
    assert result.effect > method.floor
    assert result.p_value <= method.compare(*sides(1, 2000, 0.5), 10.0).p_value


# Rows --------------------------------------------------------------------------------------------------------------


def rows(seed: int, count: int = 2000, width: int = 5, correlation: float = 0.0) -> np.ndarray:
    covariance = np.full((width, width), correlation) + np.eye(width) * (1 - correlation)
    return np.random.default_rng(seed).multivariate_normal(np.zeros(width), covariance, count).astype(np.float32)


def compared(method: RowMethod, before: np.ndarray, now: np.ndarray, inflation: float = 1.0, seed: int = 0) -> Result:
    return method.prepare(before, inflation=inflation, seed=seed)(now)


row_methods = pytest.mark.parametrize("method", methods.ROW.values(), ids=list(methods.ROW))


@row_methods
def test_equal_rows_are_rarely_told_apart(method: RowMethod) -> None:
    p_values = [compared(method, rows(seed, 600), rows(1000 + seed, 400), seed=seed).p_value for seed in range(40)]
    assert sum(p_value < 0.05 for p_value in p_values) <= 7  # 40 at 5%: more than 7 happens once in 300 times
    assert min(p_values) > 1e-5


@row_methods
def test_a_change_of_dependence_with_equal_margins_is_seen(method: RowMethod) -> None:
    result = compared(method, rows(1), rows(2, correlation=0.8))
    assert result.p_value < 1e-4
    assert result.effect > method.floor


@row_methods
def test_rows_that_come_in_runs_say_less(method: RowMethod) -> None:
    before, now = rows(1), rows(2, correlation=0.3)
    assert compared(method, before, now, 20.0).p_value >= compared(method, before, now).p_value


@row_methods
def test_one_row_or_constants_are_no_evidence(method: RowMethod) -> None:
    assert compared(method, rows(1), rows(2)[:1]).p_value == pytest.approx(1.0)
    assert compared(method, rows(1)[:1], rows(2)).p_value == pytest.approx(1.0)
    constant = np.zeros((50, 3), np.float32)
    assert compared(method, constant, constant).p_value > 0.05


@row_methods
def test_one_preparation_serves_every_window_alike(method: RowMethod) -> None:
    prepared = method.prepare(rows(1, 500), inflation=1.0, seed=3)
    windows = [rows(seed, 300) for seed in (2, 3, 2)]
    first, second, third = (prepared(window) for window in windows)
    assert first == third == compared(method, rows(1, 500), rows(2, 300), seed=3)
    assert first != second


# The recipe --------------------------------------------------------------------------------------------------------


def test_the_method_that_the_recipe_writes_is_one() -> None:
    text = (ROOT / "docs" / "contributing" / "detectors.md").read_text()
    _, module = re.findall(r"```python\n(.*?)```", text, re.S)
    written: dict[str, object] = {}
    exec(textwrap.dedent(f"   {module.strip()}"), written)
    method = written["METHOD"]
    assert isinstance(method, FeatureMethod)
    for feature in method.features:
        assert method.compare(*SIDES[feature](1, 2000, 0.5), 1.0).effect > method.floor
        assert method.compare(*SIDES[feature](1, 2000, 0.0), 1.0).p_value > 0.001
