"""Drift: methods against what is known of them, votes within the budget, references that can be trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet
from scipy import stats

from midwatch.errors import InvalidInputError
from midwatch.spec.model import Feature
from monitors.drift import chi2, counts, ks, psi, reference, verdict
from monitors.drift import table as tables

NUMERIC, CATEGORICAL = Feature.NUMERIC, Feature.CATEGORICAL


def source(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3, 2.0])
def test_ks_on_the_grid_is_scipys_within_a_thousandth(shift: float) -> None:
    before, after = source().normal(size=20_000), source(2).normal(shift, 1, 5_000)
    grid = counts.NumericGrid.fit(before)
    ours = ks.compare(grid.count(before), grid.count(after))
    exact = stats.ks_2samp(before, after)
    assert exact.statistic - 0.001 - 1e-9 <= ours.statistic <= exact.statistic + 1e-12
    assert 0 < ours.p_value <= 1
    if shift == 0.05:
        assert np.log10(ours.p_value) == pytest.approx(np.log10(exact.pvalue), rel=0.25)


def test_chi_squared_is_scipys_and_its_effect_is_cramers_v() -> None:
    table = np.array([[30, 40, 30], [10, 40, 50]])
    ours = chi2.compare(counts.Counts(cells=table[0]), counts.Counts(cells=table[1]))
    exact = stats.chi2_contingency(table, correction=False)
    assert ours.statistic == pytest.approx(exact.statistic)
    assert ours.p_value == pytest.approx(exact.pvalue)
    assert ours.effect == pytest.approx(stats.contingency.association(table, method="cramer"))


def test_psi_of_equal_windows_follows_its_null_distribution() -> None:
    generator = source(3)
    before = generator.normal(size=50_000)
    grid = counts.NumericGrid.fit(before)
    reference_counts = grid.count(before)
    p_values = [psi.compare(reference_counts, grid.count(generator.normal(size=500))).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_a_p_value_is_never_zero() -> None:
    grid = counts.NumericGrid.fit(source().normal(size=100_000))
    far = grid.count(np.full(100_000, 1e9))
    near = grid.count(source().normal(size=100_000))
    assert all(method.compare(near, far).p_value > 0 for method in (ks, psi))


@pytest.mark.parametrize("parts", [2, 7])
def test_counts_of_parts_add_up_to_those_of_the_whole(parts: int) -> None:
    values = source().normal(size=10_001)
    values[::13] = np.nan
    grid = counts.NumericGrid.fit(values)
    whole = grid.count(values)
    merged = sum(
        (grid.count(part) for part in np.array_split(values, parts)[1:]), grid.count(np.array_split(values, parts)[0])
    )
    assert (merged.cells == whole.cells).all()
    assert merged.missing == whole.missing > 0


def test_what_is_no_number_is_missing() -> None:
    values = counts.numbers([1, None, "x", float("inf"), float("nan"), 2.5])
    assert np.isnan(values).tolist() == [False, True, True, True, True, False]


def fitted(window_rows: int = 500) -> reference.Reference:
    generator = source(4)
    columns = {"x": generator.normal(size=20_000), "colour": generator.choice(["red", "blue"], 20_000).tolist()}
    return reference.fit(columns, {"x": NUMERIC, "colour": CATEGORICAL}, window_rows=window_rows)


def judged(made: reference.Reference, columns: dict, **changes) -> verdict.Judgement:
    settings = {"methods": ["ks", "psi"], "quorum": 2, "alpha": 1e-4, "min_samples": 100} | changes
    window = {name: made.features[name].count(values) for name, values in columns.items()}
    return verdict.judge(made, window, samples=len(columns["x"]), **settings)


def calm(seed: int, size: int = 500) -> dict:
    generator = source(seed)
    return {"x": generator.normal(size=size), "colour": generator.choice(["red", "blue"], size).tolist()}


def test_calm_windows_are_stable_and_within_the_budget() -> None:
    made = fitted()
    drifts = sum(judged(made, calm(seed)).verdict is verdict.Verdict.DRIFT for seed in range(300))
    assert drifts == 0


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda window: {**window, "x": window["x"] + 1}, "x"),
        (lambda window: {**window, "x": window["x"] * 3}, "x"),
        (lambda window: {**window, "x": window["x"] * 1e300}, "x"),
    ],
    ids=["mean", "spread", "unit"],
)
def test_a_real_change_is_drift_and_its_feature_is_named(change, feature: str) -> None:
    said = judged(fitted(), change(calm(1)))
    assert said.verdict is verdict.Verdict.DRIFT
    assert said.reason.endswith(f"drifted: {feature}")


def test_new_categories_are_seen() -> None:
    window = calm(1) | {"colour": ["green"] * 500}
    said = judged(fitted(), window, methods=["chi2", "psi"])
    assert said.verdict is verdict.Verdict.DRIFT
    assert "colour" in said.reason


def test_a_significant_but_tiny_change_gets_no_vote() -> None:
    generator = source(9)
    window = {"x": generator.normal(0.05, 1, 200_000), "colour": generator.choice(["red", "blue"], 200_000).tolist()}
    said = judged(fitted(), window)
    assert said.verdict is verdict.Verdict.STABLE
    assert any(finding.result.p_value < said.alpha for finding in said.findings)


def test_too_few_samples_or_only_missing_ones_are_inconclusive() -> None:
    assert judged(fitted(), calm(1, 99)).verdict is verdict.Verdict.INCONCLUSIVE
    empty = {"x": np.full(500, np.nan), "colour": [None] * 500}
    assert judged(fitted(), empty).verdict is verdict.Verdict.INCONCLUSIVE


def test_autocorrelated_references_raise_the_floor() -> None:
    steps = np.repeat(source(5).normal(size=40), 500)
    made = reference.fit({"x": steps}, {"x": NUMERIC}, window_rows=500)
    assert made.features["x"].floor("ks") > 0.5
    assert fitted().features["x"].floor("ks") == ks.FLOOR


def test_the_budget_is_divided_over_windows() -> None:
    assert verdict.window_alpha("1 per 90d", 3600.0) == pytest.approx(1 / (90 * 24))
    assert verdict.window_alpha("100 per 1s", 3600.0) == 0.5


def test_a_reference_is_read_back_as_it_was(tmp_path: Path) -> None:
    made, path = fitted(), tmp_path / "r.npz"
    reference.save(made, path)
    again = reference.load(path)
    assert judged(again, calm(3)) == judged(made, calm(3))
    assert path.stat().st_size < 50_000


@pytest.mark.parametrize("place", [0, 100, -200])
def test_a_damaged_reference_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "r.npz"
    reference.save(fitted(), path)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="fit"):
        reference.load(path)


def test_a_reference_of_another_version_or_schema_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "r.npz"
    monkeypatch.setattr(reference, "VERSION", 99)
    reference.save(fitted(), path)
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="of version 99; this Midwatch reads 1; fit it again"):
        reference.load(path)
    with pytest.raises(InvalidInputError, match=r"lacks colour \(numeric\), y \(numeric\)"):
        reference.ensure_schema(fitted(), {"x": NUMERIC, "y": NUMERIC, "colour": NUMERIC}, path)


WRITERS = {".parquet": parquet.write_table, ".csv": csv.write_csv, ".arrow": feather.write_feather}


@pytest.mark.parametrize("ending", WRITERS)
def test_tables_of_every_format_give_the_same_columns(tmp_path: Path, ending: str) -> None:
    table = pa.table({"x": [1.5, None, 3], "n": [1, 2, 3], "colour": ["a", "b", "c"]})
    path = tmp_path / f"t{ending}"
    WRITERS[ending](table, path)
    read = tables.read(path)
    assert tables.kinds(read) == {"x": NUMERIC, "n": NUMERIC, "colour": CATEGORICAL}
    columns = tables.columns(read, tables.kinds(read), path)
    assert columns["colour"] == ["a", "b", "c"]
    assert np.isnan(columns["x"]).tolist() == [False, True, False]


def drift(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "midwatch.cli", "drift", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("drift")
    generator = source(6)
    parquet.write_table(
        pa.table({"x": generator.normal(size=5000), "c": generator.choice(["a", "b"], 5000)}), made / "train.parquet"
    )
    for name, shift, size in (("calm", 0, 1000), ("moved", 2, 1000), ("few", 0, 10)):
        table = pa.table({"x": generator.normal(shift, 1, size), "c": generator.choice(["a", "b"], size)})
        parquet.write_table(table, made / f"{name}.parquet")
    parquet.write_table(pa.table({"y": [1.0]}), made / "other.parquet")
    parquet.write_table(
        pa.table({"x": pa.array([], pa.float64()), "c": pa.array([], pa.string())}), made / "empty.parquet"
    )
    (made / "cut.parquet").write_bytes((made / "calm.parquet").read_bytes()[:-10])
    assert drift("fit", made / "train.parquet", "-o", made / "r.npz").returncode == 0
    return made


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("calm", 0, "stable"), ("moved", 1, "drift"), ("few", 3, "inconclusive")],
)
def test_the_exit_code_and_the_document_say_the_verdict(folder: Path, name: str, code: int, said: str) -> None:
    arguments = ("compare", "--reference", folder / "r.npz", "--current", folder / f"{name}.parquet")
    done = drift(*arguments, "--json")
    assert done.returncode == code
    document = json.loads(done.stdout)
    assert document["verdict"] == said
    assert {"votes", "quorum", "findings"} <= set(document)
    assert said in drift(*arguments).stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other.parquet", "x is missing"),
        ("empty.parquet", "no row"),
        ("cut.parquet", "cannot be read"),
        ("nothing.parquet", "cannot be read"),
        ("table.xlsx", "cannot read .xlsx"),
    ],
)
def test_tables_that_cannot_be_judged_are_bad_input(folder: Path, name: str, said: str) -> None:
    done = drift("compare", "--reference", folder / "r.npz", "--current", folder / name)
    assert done.returncode == 2
    assert said in done.stderr


def test_wrong_settings_and_references_are_bad_input(folder: Path) -> None:
    calm_table = folder / "calm.parquet"
    for options in (["--methods", "magic"], ["--quorum", "3"], ["--false-alarms", "often"]):
        assert drift("compare", "--reference", folder / "r.npz", "--current", calm_table, *options).returncode == 2
    assert drift("compare", "--reference", calm_table, "--current", calm_table).returncode == 2
    assert drift("fit", folder / "train.parquet", "-o", folder / "x.npz", "--features", "zzz").returncode == 2
