"""A window is compared with calm windows of its own phase, and many features that move a little are seen together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midwatch.spec.drift import Feature
from monitors.drift import fitting, reference, reference_file, seasons, verdict, widespread
from monitors.drift.columns import LocalColumns
from monitors.drift.seasons import Cycle
from tests.conftest import midwatch_here

HOUR_ROWS = 60
START = 1_700_006_400.0
"""A full hour, at midnight of a Wednesday."""

DRIFT, STABLE = verdict.Verdict.DRIFT, verdict.Verdict.STABLE


def hours(seed: int, count: int, features: int = 3, first: int = 0, shared: float = 0.0) -> np.ndarray:
    """Numbers with the time of the day in them, and a disturbance of each hour; shape (features, rows)."""
    generator = np.random.default_rng(seed)
    hour = first + np.repeat(np.arange(count), HOUR_ROWS)
    each = 0.1 * generator.normal(size=(features, count)) + shared * generator.normal(size=(1, count))
    wave = np.sin(2 * np.pi * hour / 24)
    return wave + np.repeat(each, HOUR_ROWS, axis=1) + generator.normal(size=(features, len(hour)))


def columns_of(values: np.ndarray) -> dict[str, Any]:
    return {f"x{index}": column for index, column in enumerate(values)}


def judged(made: reference.Reference, values: np.ndarray, phase: int | None = None, seconds: float = 3600.0):
    columns = columns_of(values)
    return verdict.judge(
        made.features,
        reference.count(made, columns),
        samples=values.shape[1],
        methods=["ks", "psi"],
        quorum=2,
        alpha=verdict.window_alpha("1 per 90d", seconds),
        min_samples=10,
        phase=phase,
    )


def times_of(hour_count: int) -> np.ndarray:
    return START + 3600 / HOUR_ROWS * np.arange(hour_count * HOUR_ROWS)


@pytest.fixture(scope="module")
def by_hour() -> reference.Reference:
    columns = columns_of(hours(1, 24 * 14))
    windows = seasons.by_times(times_of(24 * 14), 3600.0)
    kinds = dict.fromkeys(columns, Feature.NUMERIC)
    return fitting.fit_columns(LocalColumns(columns), kinds, window_rows=HOUR_ROWS, windows=windows, time="ts")


# Phases ------------------------------------------------------------------------------------------------------------


def test_the_finest_cycle_with_enough_windows_of_each_phase_is_taken() -> None:
    def cycle(days: int, seconds: float) -> Cycle:
        return seasons.by_times(START + 600.0 * np.arange(days * 144), seconds).cycle

    assert cycle(5, 3600.0) is Cycle.NONE
    assert cycle(14, 3600.0) is Cycle.HOUR_OF_DAY
    assert cycle(70, 3600.0) is Cycle.HOUR_OF_WEEK
    assert cycle(14, 86400.0) is Cycle.NONE
    assert cycle(70, 86400.0) is Cycle.DAY_OF_WEEK
    assert cycle(140, 7 * 86400.0) is Cycle.NONE


def test_rows_without_a_time_are_in_no_window() -> None:
    times = START + 60.0 * np.arange(600)
    times[100] = np.nan
    windows = seasons.by_times(times, 3600.0)
    assert windows.of_rows[100] == -1
    assert set(windows.of_rows[:60]) == {-1}, "the table may begin within its first window"
    assert len(windows.phases) == 8


def test_an_hour_is_compared_with_the_same_hour_of_other_days(by_hour: reference.Reference) -> None:
    noon = by_hour.phase(START + 6.5 * 3600, 3600.0)
    assert noon == 6
    calm = [judged(by_hour, hours(seed, 1, first=hour), hour).verdict for seed, hour in enumerate(range(24), start=50)]
    assert set(calm) == {STABLE}
    night_at_noon = judged(by_hour, hours(90, 1, first=18), noon)
    assert night_at_noon.verdict is DRIFT
    assert {finding.direction for finding in night_at_noon.drifted if finding.feature == "x0"} == {"lower"}
    assert judged(by_hour, hours(90, 1, first=18)).verdict is not DRIFT, "some hour of the day is like that"


def test_a_window_of_another_length_has_no_phase(by_hour: reference.Reference) -> None:
    assert by_hour.phase(START, 86400.0) is None
    assert by_hour.phase(START, 600.0) is None


def test_a_fine_grid_and_a_coarse_one_give_the_same_counts_by_phase(by_hour: reference.Reference) -> None:
    values = hours(7, 1)[0]
    fine = by_hour.features["x0"]
    assert len(fine.grid.edges) > len(fine.coarse.grid.edges)
    on_bins = [one.on_bins(one.count(values.tolist())).cells.tolist() for one in (fine, fine.coarse)]
    assert on_bins[0] == on_bins[1]
    assert sum(on_bins[0]) == len(values)


def test_calm_windows_are_read_back_as_they_were(by_hour: reference.Reference, tmp_path: Path) -> None:
    reference_file.save(by_hour, tmp_path / "r.npz")
    read = reference_file.load(tmp_path / "r.npz")
    assert (read.time, read.window_seconds, read.cycle) == ("ts", 3600.0, Cycle.HOUR_OF_DAY)
    window = hours(3, 1, first=6) + 0.3
    assert judged(read, window, 6) == judged(by_hour, window, 6)


def write(path: Path, values: np.ndarray, first_hour: int = 0) -> Path:
    times = times_of(values.shape[1] // HOUR_ROWS) + 3600 * first_hour
    stamps = pa.array((times * 1e6).astype(np.int64), pa.timestamp("us"))
    pq.write_table(pa.table({"ts": stamps, **columns_of(values)}), path)
    return path


def test_the_command_compares_with_the_hour_that_the_rows_are_of(tmp_path: Path) -> None:
    made = tmp_path / "r.npz"
    table = write(tmp_path / "before.parquet", hours(1, 24 * 14))
    done = midwatch_here("drift", "fit", table, "--time", "ts", "-o", made)
    assert (done.returncode, "compared by the hour of the day" in done.stderr) == (0, True)
    for first_hour, code in ((24 * 14 + 18, 0), (24 * 14 + 6, 1)):
        window = write(tmp_path / "now.parquet", hours(2, 1, first=18), first_hour)
        done = midwatch_here("drift", "compare", "--reference", made, "--current", window, "--min-samples", 50)
        assert done.returncode == code, done.stdout
        assert f"compared with windows of hour of the day {first_hour % 24}" in done.stderr


def test_a_window_without_any_time_cannot_be_compared_by_the_hour(tmp_path: Path) -> None:
    made, window = tmp_path / "r.npz", tmp_path / "now.parquet"
    table = write(tmp_path / "before.parquet", hours(1, 24 * 14))
    assert midwatch_here("drift", "fit", table, "--time", "ts", "-o", made).returncode == 0
    rows = pq.read_table(table).slice(0, 500)
    none = pa.nulls(500, rows.schema.field("ts").type)
    pq.write_table(rows.set_column(rows.schema.get_field_index("ts"), "ts", none), window)
    done = midwatch_here("drift", "compare", "--reference", made, "--current", window)
    assert (done.returncode, "no row has a time in ts" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(("column", "said"), [("missing", "no column missing"), ("text", "text is string, not a time")])
def test_a_column_that_is_no_time_is_bad_input(tmp_path: Path, column: str, said: str) -> None:
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0], "text": ["a", "b"]}), table)
    done = midwatch_here("drift", "fit", table, "--time", column, "-o", tmp_path / "r.npz")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


# Many features -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_day() -> reference.Reference:
    columns = columns_of(hours(1, 24 * 28, features=11))
    return fitting.fit(columns, dict.fromkeys(columns, Feature.NUMERIC), window_rows=24 * HOUR_ROWS)


def test_a_fifth_of_a_deviation_is_seen_in_every_day_and_no_calm_day_is_drift(by_day: reference.Reference) -> None:
    days = [hours(seed, 24, features=11) for seed in range(2, 10)]
    deviation = hours(1, 24).std()
    assert {judged(by_day, day, seconds=86400.0).verdict for day in days} == {STABLE}
    moved = [judged(by_day, day + 0.2 * deviation, seconds=86400.0) for day in days]
    assert {said.verdict for said in moved} == {DRIFT}
    assert any(any(one.feature == widespread.FEATURE for one in said.drifted) for said in moved)


def test_features_that_move_as_one_by_themselves_are_not_taken_for_many() -> None:
    columns = columns_of(hours(1, 24 * 28, features=8, shared=0.5))
    made = fitting.fit(columns, dict.fromkeys(columns, Feature.NUMERIC), window_rows=6 * HOUR_ROWS)
    windows = [hours(seed, 6, features=8, first=6 * seed, shared=0.5) for seed in range(2, 32)]
    assert DRIFT not in {judged(made, window).verdict for window in windows}


def test_a_feature_that_is_told_by_itself_is_not_also_many(by_day: reference.Reference) -> None:
    day = hours(2, 24, features=11)
    day[3] += 2
    said = judged(by_day, day, seconds=86400.0)
    assert {finding.feature for finding in said.drifted} == {"x3"}
