"""Labels that come later than their rows are compared when as many have come as in the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import midwatch_here


def write(path: Path, seed: int, rows: int, *, right: float = 0.8, waiting: float = 0.0) -> Path:
    """Answers, and whether they were right; those of the newest rows are not known yet."""
    generator = np.random.default_rng(seed)
    labels: list[Any] = np.where(generator.random(rows) < right, "right", "wrong").tolist()
    known = round(rows * (1 - waiting))
    table = pa.table({"x": generator.normal(size=rows), "outcome": labels[:known] + [None] * (rows - known)})
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    made = folder / "r.npz"
    done = midwatch_here("drift", "fit", write(folder / "t.parquet", 1, 10_000), "--labels", "outcome", "-o", made)
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("right", [0.8, 0.3], ids=["as before", "worse"])
def test_labels_that_are_still_to_come_are_neither_drift_nor_stable(fitted: Path, tmp_path: Path, right: float) -> None:
    window = write(tmp_path / "w.parquet", 2, 2000, right=right, waiting=0.4)
    done = midwatch_here("drift", "compare", "--reference", fitted, "--current", window, "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["verdict"]) == (0, "stable"), "of x"
    assert {one["feature"] for one in said["findings"] if one["votes"]} == set()
    assert [one["feature"] for one in said["not_judged"]] == ["outcome"]
    assert "40.0% of the rows have no label yet, 0.0% in the reference" in said["reason"]


@pytest.mark.parametrize(("right", "code"), [(0.8, 0), (0.6, 1)], ids=["as before", "worse"])
def test_labels_that_have_come_are_compared(fitted: Path, tmp_path: Path, right: float, code: int) -> None:
    window = write(tmp_path / "w.parquet", 3, 2000, right=right)
    assert midwatch_here("drift", "compare", "--reference", fitted, "--current", window).returncode == code


def test_a_window_of_labels_alone_that_are_still_to_come_is_inconclusive(tmp_path: Path) -> None:
    made, table = tmp_path / "r.npz", write(tmp_path / "t.parquet", 1, 5000)
    fit = ("drift", "fit", table, "--features", "outcome", "--labels", "outcome", "-o", made)
    assert midwatch_here(*fit).returncode == 0
    window = write(tmp_path / "w.parquet", 2, 2000, waiting=0.2)
    done = midwatch_here("drift", "compare", "--reference", made, "--current", window)
    assert (done.returncode, "have no label yet" in done.stdout) == (3, True)


def test_a_label_that_is_no_column_is_bad_input(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", 1, 100)
    done = midwatch_here("drift", "fit", table, "--labels", "outcom", "-o", tmp_path / "r.npz")
    assert (done.returncode, "no column outcom is compared" in done.stderr) == (2, True)
