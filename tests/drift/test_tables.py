"""The same rows say the same in every format, and what is not compared is said."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import reference_file, times
from monitors.drift.local import LocalTable
from tests.conftest import midwatch_here

NUMERIC, CATEGORICAL = Feature.NUMERIC, Feature.CATEGORICAL


def drift(*arguments: object) -> Any:
    return midwatch_here("drift", *arguments)


def write_json_lines(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


WRITERS = {
    ".parquet": parquet.write_table,
    ".csv": csv.write_csv,
    ".arrow": feather.write_feather,
    ".jsonl": write_json_lines,
}


def customers(seed: int, rows: int, missing: float = 0.05) -> pa.Table:
    generator = np.random.default_rng(seed)
    colour = generator.choice(["red", "green", "blue"], rows).astype(object)
    colour[generator.random(rows) < missing] = None
    return pa.table(
        {
            "n": generator.normal(size=rows),
            "count": generator.integers(0, 9, rows),
            "colour": pa.array(colour.tolist(), pa.string()),
            "postcode": generator.choice(["10115", "20095", "80331"], rows),
            "day": generator.choice(["2026-01-01", "2026-01-02"], rows),
            "flag": generator.random(rows) < 0.3,
        }
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    parquet.write_table(customers(1, 4000), folder / "before.parquet")
    assert drift("fit", folder / "before.parquet", "-o", folder / "r.npz").returncode == 0
    return folder / "r.npz"


@pytest.mark.parametrize(("missing", "verdict"), [(0.05, "stable"), (0.4, "drift")], ids=["calm", "missing"])
def test_the_same_rows_give_the_same_verdict_in_every_format(
    reference: Path, tmp_path: Path, missing: float, verdict: str
) -> None:
    said = {}
    for ending, write in WRITERS.items():
        write(customers(2, 1500, missing), tmp_path / f"now{ending}")
        done = drift("compare", "--reference", reference, "--current", tmp_path / f"now{ending}", "--json")
        said[ending] = json.loads(done.stdout)
    assert said[".parquet"]["verdict"] == verdict
    assert all(one == said[".parquet"] for one in said.values())


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("True", "False"), ("TRUE", "FALSE")])
def test_the_words_true_and_false_are_the_same_rows_in_every_format(tmp_path: Path, yes: str, no: str) -> None:
    def answers(seed: int, rows: int) -> pa.Table:
        is_yes = np.random.default_rng(seed).random(rows) < 0.3
        return pa.table({"n": np.arange(rows, dtype=float) % 7, "answer": np.where(is_yes, yes, no).tolist()})

    for fitted in (".parquet", ".csv"):
        WRITERS[fitted](answers(1, 3000), tmp_path / f"before{fitted}")
        made = tmp_path / "r.npz"
        assert drift("fit", tmp_path / f"before{fitted}", "-o", made).returncode == 0
        for ending, write in WRITERS.items():
            write(answers(2, 1000), tmp_path / f"now{ending}")
            done = drift("compare", "--reference", made, "--current", tmp_path / f"now{ending}")
            assert done.returncode == 0, (fitted, ending, done.stdout)


def test_an_empty_field_of_a_text_is_missing_and_a_quoted_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('n,colour\n1,red\n2,\n3,""\n,blue\n')
    columns = LocalTable(tmp_path / "t.csv").columns({"colour": CATEGORICAL, "n": NUMERIC}).take(np.arange(4))
    assert columns["colour"].to_pylist() == ["red", None, "", "blue"]
    assert np.isnan(columns["n"]).tolist() == [False, False, False, True]


def test_digits_stay_a_text_where_they_begin_with_zeros_or_the_reference_knows_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("code,postcode,n\n0042,10115,0\n1234,20095,10\n")
    alone = LocalTable(tmp_path / "t.csv")
    assert alone.kinds == {"code": CATEGORICAL, "postcode": NUMERIC, "n": NUMERIC}
    known = LocalTable(tmp_path / "t.csv", {"postcode": CATEGORICAL})
    assert known.columns({"postcode": CATEGORICAL}).take(np.arange(2))["postcode"].to_pylist() == ["10115", "20095"]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
def test_whole_numbers_beyond_what_a_float_holds_are_rounded(tmp_path: Path, kind: pa.DataType) -> None:
    values = [2**53 + 1, 2**62 + 12345, 7]
    parquet.write_table(pa.table({"id": pa.array(values, kind)}), tmp_path / "t.parquet")
    column = LocalTable(tmp_path / "t.parquet").columns({"id": NUMERIC}).take(np.arange(3))["id"]
    assert column.tolist() == [float(value) for value in values]


def test_texts_in_views_are_texts_in_dictionaries_too(tmp_path: Path) -> None:
    view = pa.array(["a", "b", None, "a"], pa.string_view())
    coded = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None, 0], pa.uint32()), pa.array(["a", "b"], pa.string_view())
    )
    feather.write_feather(pa.table({"view": view, "coded": coded}), tmp_path / "t.arrow", compression="uncompressed")
    read = LocalTable(tmp_path / "t.arrow")
    assert read.kinds == {"view": CATEGORICAL, "coded": CATEGORICAL}
    for values in read.columns(read.kinds).take(np.arange(4)).values():
        assert values.to_pylist() == ["a", "b", None, "a"]


def odd(rows: int) -> dict[str, Any]:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return {
        "n": np.random.default_rng(1).normal(size=rows),
        "when": [start + dt.timedelta(minutes=30 * row) for row in range(rows)],
        "since": [start - dt.timedelta(days=row % 5) for row in range(rows)],
        "nested": [[1]] * rows,
        "nothing": pa.nulls(rows),
    }


def test_fit_and_compare_say_which_columns_they_leave_out_and_why(tmp_path: Path) -> None:
    parquet.write_table(pa.table(odd(2000)), tmp_path / "t.parquet")
    fitted = drift("fit", tmp_path / "t.parquet", "-o", tmp_path / "r.npz")
    for said in (
        "not compared: when (a time (timestamp[us, tz=UTC]); ask for --features when:hour or when:age)",
        "not compared: nested (its type, list<element: int64>, is not compared)",
        "not compared: nothing (it has no value)",
    ):
        assert said in fitted.stderr
    parquet.write_table(pa.table(odd(2000) | {"new": [1.0] * 2000}), tmp_path / "now.parquet")
    compared = drift("compare", "--reference", tmp_path / "r.npz", "--current", tmp_path / "now.parquet", "--json")
    found = json.loads(compared.stdout)["not_compared"]
    assert found["new"] == "the reference does not have it"
    assert set(found) == {"new", "when", "since", "nested", "nothing"}


def test_times_are_compared_as_hours_or_ages_where_they_are_asked_for(tmp_path: Path) -> None:
    parquet.write_table(pa.table(odd(100)), tmp_path / "t.parquet")
    wanted = dict.fromkeys(["when:hour", "since:age", "since:age:when"], NUMERIC)
    taken = LocalTable(tmp_path / "t.parquet").columns(wanted).take(np.arange(7))
    assert taken["when:hour"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert taken["since:age"].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert taken["since:age:when"][2] == pytest.approx(2 + 1 / 24)
    assert times.parse("when:minute") is None
    names = "n,when:hour,since:age"
    assert drift("fit", tmp_path / "t.parquet", "-o", tmp_path / "r.npz", "--features", names).returncode == 0
    done = drift("compare", "--reference", tmp_path / "r.npz", "--current", tmp_path / "t.parquet", "--json")
    assert done.returncode in (0, 3), done.stderr


def parts(folder: Path, *columns: pa.Array) -> Path:
    folder.mkdir()
    for place, column in enumerate(columns):
        parquet.write_table(pa.table({"n": [1.0] * len(column), "x": column}), folder / f"part-{place}.parquet")
    return folder


def test_a_column_that_is_empty_in_the_first_file_of_a_folder_is_that_of_the_others(tmp_path: Path) -> None:
    folder = parts(tmp_path / "t", pa.nulls(3), pa.array(["a", "b"]))
    read = LocalTable(folder)
    assert read.kinds == {"n": NUMERIC, "x": CATEGORICAL}
    assert read.columns(read.kinds).take(np.arange(5))["x"].to_pylist() == [None, None, None, "a", "b"]


def test_whole_numbers_in_one_file_and_fractions_in_another_are_one_column(tmp_path: Path) -> None:
    read = LocalTable(parts(tmp_path / "t", pa.array([1, 2**60]), pa.array([0.5])))
    assert read.columns({"x": NUMERIC}).take(np.arange(3))["x"].tolist() == [1.0, 2.0**60, 0.5]


def test_files_that_differ_in_what_a_column_is_are_named_with_it(tmp_path: Path) -> None:
    folder = parts(tmp_path / "t", pa.array([1.0]), pa.array(["a"]))
    with pytest.raises(InvalidInputError, match=r"x is double in part-0\.parquet and string in part-1\.parquet"):
        LocalTable(folder)


def test_a_reference_holds_nothing_of_a_field_that_names_a_person(tmp_path: Path, make_document) -> None:
    personal = {"drop": ["colour"], "hash": ["n", "day"], "key_file": "key"}
    (tmp_path / "platform.yaml").write_text(json.dumps(make_document(exporter={"personal": personal})))
    parquet.write_table(customers(1, 2000), tmp_path / "t.parquet")
    fit = ("fit", tmp_path / "t.parquet", "-o", tmp_path / "r.npz", "-f", tmp_path / "platform.yaml")
    done = drift(*fit)
    assert done.returncode == 0, done.stderr
    fitted = reference_file.load(tmp_path / "r.npz")
    assert {*fitted.features} == {"count", "postcode", "flag"}
    assert set(fitted.left_out) >= {"colour", "n", "day"}
    assert "not compared: colour (exporter.personal of the platform file names it)" in done.stderr
    for features in ("colour", "count,day:hour", "at:age:day"):
        done = drift(*fit, "--features", features)
        assert (done.returncode, "nothing of it may be stored" in done.stderr) == (2, True), features
    assert drift(*fit, "--features", "count").returncode == 0
    assert set(reference_file.load(tmp_path / "r.npz").left_out) >= {"colour", "n", "day", "postcode"}
