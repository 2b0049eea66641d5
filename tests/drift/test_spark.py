"""Spark and this machine say the same of the same rows, to the byte."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from midwatch.errors import InvalidInputError
from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, reference_file, table
from monitors.drift.counts import EXACT
from monitors.drift.local import LocalTable
from monitors.drift.spark import session as spark
from monitors.drift.spark.table import SparkTable
from tests.conftest import midwatch_here, need_program

ROWS = EXACT + 10_000
"""More distinct values than are kept, so that quantiles are looked for."""


def write(folder: Path, seed: int, rows: int) -> Path:
    """Parquet files of unequal sizes with row groups, in time order by their names."""
    one = np.random.default_rng(seed)
    continuous = one.normal(size=rows) + np.sin(np.arange(rows) / 5000)
    continuous[::97] = np.nan
    columns = {
        "continuous": continuous,
        "few": one.integers(0, 50, rows),
        "category": pa.array(one.choice(["a", "b", None], rows)),
        "flag": one.random(rows) < 0.3,
        "not compared": [[1]] * rows,
    }
    whole = pa.table(columns)
    folder.mkdir()
    for part, (start, end) in enumerate([(0, rows // 4), (rows // 4, rows // 2), (rows // 2, rows)]):
        parquet.write_table(whole.slice(start, end - start), folder / f"part-{part}.parquet", row_group_size=30_000)
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick_java() -> Iterator[None]:
    """What a JVM compiles for the long run never pays here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        yield


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Spark on this machine, as the command starts it."""
    need_program("java")
    pytest.importorskip("pyspark")
    with spark.session() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("spark") / "train", 1, ROWS)


def fitted(opened: table.Table) -> reference.Reference:
    return fitting.fit_columns(opened.columns(opened.kinds), opened.kinds, window_rows=1000)


def test_both_engines_fit_and_count_the_same(session, folder: Path, tmp_path: Path) -> None:
    made = {"local": fitted(LocalTable(folder)), "spark": fitted(SparkTable(session, folder))}
    for name, one in made.items():
        reference_file.save(one, tmp_path / name)
    assert (tmp_path / "local").read_bytes() == (tmp_path / "spark").read_bytes()
    assert set(made["spark"].features) == {"continuous", "few", "category", "flag"}
    window = write(tmp_path / "window", 2, 20_000)
    seen: list[int] = []
    here = LocalTable(window).scan(made["local"], with_rows=True, progress=seen.append)
    there = SparkTable(session, window).scan(made["local"], with_rows=True, progress=seen.append)
    assert sum(seen) == 2 * 20_000 * len(made["local"].features)
    assert (here.rows == there.rows).all()
    for name, counts in here.counts.items():
        assert (counts.cells == there.counts[name].cells).all()
        assert counts.missing == there.counts[name].missing


def test_what_spark_cannot_read_is_bad_input(session, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        SparkTable(session, tmp_path / "absent")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.parquet").write_bytes((folder / "part-0.parquet").read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        SparkTable(session, tmp_path / "cut")
    other = {"few": Feature.CATEGORICAL, "zzz": Feature.NUMERIC}
    with pytest.raises(InvalidInputError, match="few is numeric, not categorical; zzz is missing"):
        SparkTable(session, folder).columns(other)


def test_rows_of_very_long_windows_are_sampled_alike_everywhere() -> None:
    rows = np.arange(3_000_000)
    whole = table.is_sampled(rows, len(rows))
    assert abs(whole.mean() - table.WHOLE_ROWS / len(rows)) < 0.002
    assert (table.is_sampled(rows[1000:2000], len(rows)) == whole[1000:2000]).all()
    assert abs(whole.reshape(-1, 1000).mean(axis=1) - 1 / 3).max() < 0.1
    assert table.is_sampled(rows[:10], 10).all()


def test_without_pyspark_it_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    block = "import sys; sys.modules['pyspark'] = None; from midwatch.app import cli; cli.main(sys.argv[1:])"
    arguments = ["drift", "fit", str(folder), "-o", str(tmp_path / "r.npz"), "--engine", "spark"]
    done = subprocess.run([sys.executable, "-c", block, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "midwatch[spark]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_runs_on_spark(session, tmp_path: Path) -> None:
    small = write(tmp_path / "small", 3, 4000)
    session.sparkContext.setJobGroup("fit", "")
    assert midwatch_here("drift", "fit", small, "-o", tmp_path / "r.npz", "--features", "few,category").returncode == 0
    session.sparkContext.setJobGroup("compare", "")
    compare = ("drift", "compare", "--reference", tmp_path / "r.npz", "--current", small, "--engine", "spark")
    done = midwatch_here(*compare, "--json")
    assert json.loads(done.stdout)["verdict"] == "stable"
    assert done.returncode == 0
    jobs = session.sparkContext.statusTracker().getJobIdsForGroup
    assert jobs("compare")
    assert not jobs("fit"), "without --engine it is this machine's"
