"""Drift: methods against what is known of them, votes within the budget, references that can be trusted."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet
from scipy import stats

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import counts, fitting, reference, reference_file, verdict
from monitors.drift.local import LocalTable
from monitors.drift.methods import chi2, ks, psi
from tests.conftest import midwatch_here

NUMERIC, CATEGORICAL = Feature.NUMERIC, Feature.CATEGORICAL


def source(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


SAMPLES = {
    "equal": lambda one: (one.normal(size=20_000), one.normal(size=5_000)),
    "shifted": lambda one: (one.normal(size=20_000), one.normal(0.05, 1, 50_000)),
    "far": lambda one: (one.normal(size=2_000), one.normal(9, 1, 5_000)),
    "ties": lambda one: (one.integers(0, 50, 20_000) * 0.1, one.integers(0, 55, 30_000) * 0.1),
    "heavy tails": lambda one: (one.standard_cauchy(5_000), one.standard_cauchy(50_000)),
    "constants": lambda one: (np.ones(100), np.full(1_000, 2.0)),
    "infinities": lambda one: (
        np.append(one.normal(size=1000), [np.inf] * 3),
        np.append(one.normal(size=5000), [-np.inf] * 5 + [np.inf] * 9),
    ),
    "tiny": lambda one: (one.normal(size=1000) * 1e-300, one.normal(size=5000) * 1e-300),
    "huge": lambda one: (one.normal(size=1000) * 1e300, one.normal(size=5000) * 1e300),
    "one row": lambda one: (one.normal(size=1000), np.array([0.3])),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_ks_is_scipys_exactly(name: str) -> None:
    before, after = SAMPLES[name](source())
    grid = counts.NumericGrid.fit(before)
    ours = ks.compare(grid.count(before), grid.count(after))
    exact = stats.ks_2samp(before, after, method="asymp")
    assert ours.statistic == pytest.approx(exact.statistic, abs=1e-12)
    assert 0 < ours.p_value <= 1
    if name == "shifted":
        assert np.log10(ours.p_value) == pytest.approx(np.log10(exact.pvalue), rel=0.05)


@pytest.mark.parametrize("name", SAMPLES)
def test_ks_on_a_coarse_grid_is_at_most_a_thousandth_less(name: str) -> None:
    before, after = SAMPLES[name](source())
    made = fitting.fit({"x": before}, {"x": NUMERIC}, window_rows=500).features["x"].coarse
    ours = made.compare("ks", made.count(after))
    exact = stats.ks_2samp(before, after, method="asymp")
    assert exact.statistic - 0.0011 <= ours.statistic <= exact.statistic + 1e-12
    assert made.counts.total == len(before)


EDGES = {
    "one": lambda one: np.zeros(1),
    "infinite only": lambda one: np.array([-np.inf, np.inf]),
    "further apart than a number": lambda one: np.array([-1e308, 1e308]),
    "rounded": lambda one: one.normal(size=5000).round(2),
    "heavy tails": lambda one: one.lognormal(sigma=4, size=3000),
    "outliers": lambda one: np.append(one.normal(size=1000), [-1e300, 1e300, np.inf]),
}


@pytest.mark.parametrize("name", EDGES)
def test_many_values_are_counted_as_one_by_one(name: str) -> None:
    grid = counts.NumericGrid.fit(EDGES[name](source()))
    beside = [np.nextafter(grid.edges, np.inf), np.nextafter(grid.edges, -np.inf)]
    odd = [np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0]
    values = np.concatenate([grid.edges, *beside, odd, source(2).normal(size=3000).round(2)])
    by_one = sum((grid.count(np.array([value])).cells for value in values), start=np.zeros(1, np.int64))
    assert (grid.counter()(values).cells == by_one).all()
    assert (grid.count(np.tile(values, 3)).cells == 3 * by_one).all()


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


def test_what_is_no_number_is_missing_or_of_another_type() -> None:
    values, wrong = counts.numbers([1, None, "x", float("inf"), float("nan"), 2.5])
    assert np.isnan(values).tolist() == [False, True, True, False, True, False]
    assert wrong == 1
    of_texts = fitted().features["x"].count([0.5, "x", None])
    assert (of_texts.total, of_texts.missing, of_texts.wrong_type) == (1, 1, 1)


@cache
def fitted(window_rows: int = 500) -> reference.Reference:
    generator = source(4)
    columns = {"x": generator.normal(size=20_000), "colour": generator.choice(["red", "blue"], 20_000).tolist()}
    return fitting.fit(columns, {"x": NUMERIC, "colour": CATEGORICAL}, window_rows=window_rows)


def judged(made: reference.Reference, columns: dict, **changes) -> verdict.Judgement:
    settings = {"methods": ["ks", "psi"], "quorum": 2, "alpha": 1e-4, "min_samples": 100} | changes
    window = {name: made.features[name].count(values) for name, values in columns.items()}
    return verdict.judge(made.features, window, samples=len(columns["x"]), **settings)


def calm(seed: int, size: int = 500) -> dict:
    generator = source(seed)
    return {"x": generator.normal(size=size), "colour": generator.choice(["red", "blue"], size).tolist()}


def test_calm_windows_are_stable_and_within_the_budget() -> None:
    made = fitted()
    drifts = sum(judged(made, calm(seed)).verdict is verdict.Verdict.DRIFT for seed in range(300))
    assert drifts == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda window: {**window, "x": window["x"] + 1}, "x (higher)"),
        (lambda window: {**window, "x": window["x"] - 1}, "x (lower)"),
        (lambda window: {**window, "x": window["x"] * 1.4}, "x (wider)"),
        (lambda window: {**window, "x": window["x"] / 2}, "x (narrower)"),
        (lambda window: {**window, "x": window["x"] * 1e300}, "x (out of range: 100.0% of the rows)"),
        (lambda window: {**window, "x": [None] * 200 + list(window["x"][200:])}, "x (missing: 10.0% of the rows)"),
        (lambda window: {**window, "x": ["1"] * 200 + list(window["x"][200:])}, "x (wrong type: 10.0% of the rows)"),
        (lambda window: {**window, "colour": ["red"] * 1600 + ["blue"] * 400}, "colour (more red (50% to 80%))"),
        (lambda window: {**window, "colour": ["green"] * 2000}, "colour (new category: 100.0% of the rows)"),
    ],
    ids=["higher", "lower", "wider", "narrower", "unit", "missing", "type", "categories", "new category"],
)
def test_a_real_change_is_drift_and_what_changed_is_named(change, named: str) -> None:
    said = judged(fitted(), change(calm(1, 2000)), methods=["ks", "psi", "chi2"])
    assert said.verdict is verdict.Verdict.DRIFT
    assert said.reason.split("drifted: ")[1].startswith(named)


def test_a_quorum_of_methods_that_cannot_look_is_no_licence() -> None:
    columns = {"colour": source().choice(["red", "blue"], 20_000).tolist()}
    made = fitting.fit(columns, {"colour": CATEGORICAL}, window_rows=500)
    window = {"colour": made.features["colour"].count(["red"] * 450 + ["blue"] * 50)}
    said = verdict.judge(
        made.features, window, samples=500, methods=["ks", "psi"], quorum=2, alpha=1e-4, min_samples=100
    )
    assert (said.verdict, said.votes, said.needed) == (verdict.Verdict.DRIFT, 1, 1)


def test_a_significant_but_tiny_change_gets_no_vote() -> None:
    generator = source(9)
    window = {"x": generator.normal(0.04, 1, 200_000), "colour": generator.choice(["red", "blue"], 200_000).tolist()}
    said = judged(fitted(), window, alpha=0.02)
    assert said.verdict is verdict.Verdict.STABLE
    assert any(finding.result.p_value < said.alpha for finding in said.findings)


def test_too_few_samples_are_inconclusive_and_only_missing_ones_are_drift() -> None:
    assert judged(fitted(), calm(1, 99)).verdict is verdict.Verdict.INCONCLUSIVE
    empty = {"x": np.full(500, np.nan), "colour": [None] * 500}
    assert judged(fitted(), empty).verdict is verdict.Verdict.DRIFT
    never = fitting.fit({"x": np.full(500, np.nan)}, {"x": NUMERIC}, window_rows=100)
    window = {"x": never.features["x"].count([None] * 500)}
    said = verdict.judge(never.features, window, samples=500, methods=["ks"], quorum=1, alpha=1e-4, min_samples=100)
    assert said.verdict is verdict.Verdict.INCONCLUSIVE


@pytest.mark.parametrize("run", [1, 10, 100])
def test_rows_that_come_in_runs_are_worth_fewer(run: int) -> None:
    values = np.repeat(source(8).normal(size=200_000 // run), run)
    made = fitting.fit({"x": values}, {"x": NUMERIC}, window_rows=1000)
    inflation = made.features["x"].inflation("ks", 1000)
    assert inflation == pytest.approx(run, rel=0.6)
    assert (inflation == 1) == (run == 1)


def test_seasons_that_the_reference_has_are_calm() -> None:
    seasons = np.repeat([0.0, 3.0] * 5, 4_000) + source(5).normal(size=40_000)
    made = fitting.fit({"x": seasons}, {"x": NUMERIC}, window_rows=500)
    for season in (0.0, 3.0):
        assert judged(made, {"x": source(6).normal(season, 1, 500)}).verdict is verdict.Verdict.STABLE
    assert judged(made, {"x": source(6).normal(9.0, 1, 500)}).verdict is verdict.Verdict.DRIFT


def test_a_stream_in_runs_is_calm_as_long_as_it_goes_on_like_that() -> None:
    def stream(seed: int, rows: int) -> np.ndarray:
        return np.repeat(source(seed).normal(size=rows // 50), 50) + source(seed + 1).normal(size=rows)

    made = fitting.fit({"x": stream(1, 50_000)}, {"x": NUMERIC}, window_rows=1000)
    windows = [{"x": stream(seed, 1000)} for seed in range(100, 300, 2)]
    assert all(judged(made, window).verdict is verdict.Verdict.STABLE for window in windows)
    assert judged(made, {"x": windows[0]["x"] + 3}).verdict is verdict.Verdict.DRIFT


def test_the_budget_is_divided_over_windows() -> None:
    assert verdict.window_alpha("1 per 90d", 3600.0) == pytest.approx(1 / (90 * 24))
    assert verdict.window_alpha("100 per 1s", 3600.0) == 0.5


def test_a_reference_is_read_back_as_it_was(tmp_path: Path) -> None:
    made, path = fitted(), tmp_path / "r.npz"
    reference_file.save(made, path)
    again = reference_file.load(path)
    assert judged(again, calm(3)) == judged(made, calm(3))
    assert path.stat().st_size < 250_000


@pytest.mark.parametrize("place", [0, 100, -200])
def test_a_damaged_reference_is_refused(tmp_path: Path, place: int) -> None:
    path = tmp_path / "r.npz"
    reference_file.save(fitted(), path)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="fit"):
        reference_file.load(path)


def test_another_kind_of_file_is_no_reference_and_nothing_unsafe_is_advised(tmp_path: Path) -> None:
    (tmp_path / "r.npz").write_text("a text")
    with pytest.raises(InvalidInputError, match="not a drift reference: another kind of file; fit it again"):
        reference_file.load(tmp_path / "r.npz")


def test_a_reference_of_another_version_or_schema_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "r.npz"
    monkeypatch.setattr(reference_file, "VERSION", 99)
    reference_file.save(fitted(), path)
    monkeypatch.undo()
    with pytest.raises(InvalidInputError, match="of version 99; this Midwatch reads 5; fit it again"):
        reference_file.load(path)
    with pytest.raises(InvalidInputError, match=r"lacks colour \(numeric\), y \(numeric\)"):
        reference.ensure_schema(fitted(), {"x": NUMERIC, "y": NUMERIC, "colour": NUMERIC}, path)


WRITERS = {".parquet": parquet.write_table, ".csv": csv.write_csv, ".arrow": feather.write_feather}


@pytest.mark.parametrize("ending", WRITERS)
def test_tables_of_every_format_give_the_same_columns(tmp_path: Path, ending: str) -> None:
    table = pa.table({"x": [1.5, None, 3], "n": [1, 2, 3], "colour": ["a", "b", "c"]})
    path = tmp_path / f"t{ending}"
    WRITERS[ending](table, path)
    read = LocalTable(path)
    assert read.kinds == {"x": NUMERIC, "n": NUMERIC, "colour": CATEGORICAL}
    columns = read.columns(read.kinds).take(np.arange(3))
    assert columns["colour"].to_pylist() == ["a", "b", "c"]
    assert np.isnan(columns["x"]).tolist() == [False, True, False]


def drift(*arguments: object) -> subprocess.CompletedProcess[str]:
    done = midwatch_here("drift", *arguments)
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


@pytest.mark.parametrize("option", [("fit", "-o"), ("compare", "--html")])
def test_an_output_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path, option) -> None:
    command, name = option
    table = folder / "calm.parquet"
    given = (table,) if command == "fit" else ("--reference", folder / "r.npz", "--current", table)
    done = drift(command, *given, name, tmp_path / "absent" / "file")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "cannot be written: No such file or directory" in done.stderr
