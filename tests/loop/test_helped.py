"""`midwatch loop helped`: what is read and asked for the verdict, and what is said of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import csv, parquet

from midwatch import prometheus
from midwatch.errors import InvalidInputError
from midwatch.spec.canary import Rollout
from midwatch.spec.model import Platform
from monitors.canary.question import Question
from monitors.loop import evaluation_file, rollback, traffic
from monitors.loop.paired import Pairs
from tests.canary.arms import START, STEP, Past
from tests.conftest import midwatch_here, platform_document

SIZE = 80


def rows(**columns: list[Any]) -> pa.Table:
    return pa.table(columns)


GOOD: dict[str, list[Any]] = {
    "actual": ["a", "a", "b", "b"],
    "old": ["a", "b", "b", "a"],
    "new": ["a", "a", "a", "b"],
}


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson"])
def test_rows_are_counted_from_every_kind_of_table(ending: str, tmp_path: Path) -> None:
    file, table = tmp_path / f"rows.{ending}", rows(**GOOD)
    if ending == "parquet":
        parquet.write_table(table, file)
    elif ending == "csv":
        csv.write_csv(table, file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    assert evaluation_file.load(file).sets == {"drifted": Pairs(rows=4, only_new=2, only_old=1)}


def written(folder: Path, **columns: list[Any]) -> Path:
    parquet.write_table(rows(**columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def test_sets_and_groups_are_compared_apart(tmp_path: Path) -> None:
    found = evaluation_file.load(
        written(tmp_path, **GOOD, set=["drifted", "drifted", "frozen", "drifted"], age=["y", "o", "y", "y"]),
        ["age", "town"],
    )
    assert found.sets == {
        "drifted": Pairs(rows=3, only_new=2, only_old=0),
        "frozen": Pairs(rows=1, only_new=0, only_old=1),
    }
    assert found.groups == {
        "age=o": Pairs(rows=1, only_new=1, only_old=0),
        "age=y": Pairs(rows=2, only_new=1, only_old=0),
    }
    assert found.notes == ("groups of town are not compared: the rows have no such column",)


def test_a_class_is_the_same_however_an_engine_writes_it(tmp_path: Path) -> None:
    file = written(tmp_path, actual=[1, 0], old=[1.0, 1.0], new=["1", "0"])
    assert evaluation_file.load(file).sets == {"drifted": Pairs(rows=2, only_new=1, only_old=0)}
    truth = written(tmp_path, actual=[True, False], old=["true", "true"], new=["true", "false"])
    assert evaluation_file.load(truth).sets == {"drifted": Pairs(rows=2, only_new=1, only_old=0)}


def test_of_a_regression_an_answer_within_the_bound_is_right(tmp_path: Path) -> None:
    file = written(tmp_path, actual=[10.0, 20.0], old=[11.0, 25.0], new=[14.0, 20.5])
    assert evaluation_file.load(file, within=2.0).sets == {"drifted": Pairs(rows=2, only_new=1, only_old=1)}


def test_a_label_that_is_no_number_is_none(tmp_path: Path) -> None:
    table = rows(actual=[1.0, math.nan], old=[1.0, math.nan], new=[1.0, 0.0])
    parquet.write_table(table, tmp_path / "rows.parquet")
    for within in (None, 0.5):
        with pytest.raises(InvalidInputError, match=r"only 50.0% of 2 rows have a label"):
            evaluation_file.load(tmp_path / "rows.parquet", within=within)


def test_few_rows_without_a_label_are_left_out_and_many_are_an_error(tmp_path: Path) -> None:
    many = {name: values * 10 for name, values in GOOD.items()}
    many["actual"] = [None, *many["actual"][1:]]
    found = evaluation_file.load(written(tmp_path, **many))
    assert found.sets["drifted"].rows == 39
    assert found.notes == ("1 rows without a label or a prediction of both are left out",)
    with pytest.raises(InvalidInputError, match="only 75"):
        evaluation_file.load(written(tmp_path, **{**GOOD, "new": ["a", "a", "a", None]}))


BAD: dict[str, tuple[str, str, str]] = {
    "no such file": ("gone.parquet", "", "cannot be read"),
    "no table": ("x.parquet", "text", "cannot be read"),
    "another ending": ("x.xlsx", "text", "no table that is read"),
    "a column lacks": ("x.csv", "actual,old\n1,1\n", "no column 'new'"),
    "no rows": ("x.csv", "actual,old,new\n", "no rows"),
    "names that differ": ("x.csv", "actual,old,new\n1,yes,yes\n0,no,no\n", "neither version is right on any row"),
    "labels that are empty": ("x.csv", "actual,old,new\na,a,b\n,a,a\n,b,a\n", "only 33.3% of 3 rows have a label"),
    "nothing but empty labels": ("x.csv", "actual,old,new\n,a,b\n,a,a\n", "only 0.0% of 2 rows have a label"),
    "a row twice": ("x.csv", "id,actual,old,new\n1,a,a,a\n1,a,a,a\n", "have an id that another row has"),
    "no counts": ("x.json", "[]", "no counts of an evaluation"),
    "impossible counts": ("x.json", '{"sets": {"drifted": {"rows": 1, "only_new": 2, "only_old": 0}}}', "cannot have"),
    "no set": ("x.json", '{"sets": {}}', "no set of rows"),
    "deep": ("x.json", "[" * 100_000, "no counts of an evaluation"),
}


@pytest.mark.parametrize(("name", "text", "said"), BAD.values(), ids=BAD)
def test_a_file_that_is_no_evaluation_is_one_clear_error(name: str, text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if text:
        file.write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        evaluation_file.load(file)


# Traffic -----------------------------------------------------------------------------------------------------------


def past(wrong_new: float, wrong_old: float = 0.1) -> Past:
    """Two versions that served at the same time, with labels that came at once."""
    generator = np.random.default_rng(3)
    found = Past(START + SIZE * STEP + 12)
    for version, rate, wrong in (("v6", 400, wrong_old), ("v7", 200, wrong_new)):
        answers = generator.poisson(rate, SIZE + 10)
        bad = generator.binomial(answers, wrong)
        of = {"model": "fraud", "version": version}
        first = {"first": START - 10 * STEP, "begin": 1000}
        found.grow("ml_requests_total", answers, **first, **of, outcome="ok")
        found.grow("ml_outcomes_total", bad, **first, **of, predicted="yes", actual="no")
        found.grow("ml_outcomes_total", answers - bad, **first, **of, predicted="yes", actual="yes")
    return found


@pytest.mark.parametrize(("wrong", "word"), [(0.05, "better"), (0.2, "worse")])
def test_settled_labels_of_both_versions_are_compared(wrong: float, word: str) -> None:
    platform = Platform.model_validate(platform_document())
    question = Question(model="fraud", baseline="v6", canary="v7", start=START, end=START + SIZE * STEP)
    querier = past(wrong)
    found = traffic.compared(querier, platform, platform.models[0], question, 0.05, clock=None)
    assert found.rows > 1000, found.doubts
    low, high = found.interval.low, found.interval.high
    assert (high is not None and high < 1) if word == "better" else (low is not None and low > 1)


def test_a_prometheus_that_is_away_is_a_doubt() -> None:
    class Away:
        def query(self, *_: object, **__: object) -> list[Any]:
            raise prometheus.QueryError("up", "no answer")

        query_range = samples = query

    platform = Platform.model_validate(platform_document())
    question = Question(model="fraud", baseline="v6", canary="v7")
    (doubt,) = traffic.compared(Away(), platform, platform.models[0], question, 0.05, clock=None).doubts
    assert "no answer" in doubt
    assert traffic.drift_goes_on(Away(), "fraud", "v7") is None


# The command -------------------------------------------------------------------------------------------------------


def file_of(folder: Path, **more: Any) -> Path:
    document = platform_document()
    document["models"][0] |= more
    observe = {"url": "http://mlflow:5000/", "served_as": "v{version}"}
    document["systems"] = {"mlflow": {"targets": ["mlflow:5000"], "owner": "ml", "observe": observe}}
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


CANARY = {"criteria": [{"metric": "errors"}], "rollout": {"name": "fraud-server", "namespace": "ml"}}


@pytest.mark.parametrize(
    ("only_new", "only_old", "code", "verdict"),
    [(700, 300, 0, "better"), (500, 500, 1, "no better"), (300, 700, 1, "worse"), (20, 15, 3, "not yet known")],
)
def test_the_exit_code_says_whether_it_helped(
    only_new: int, only_old: int, code: int, verdict: str, tmp_path: Path
) -> None:
    counts = tmp_path / "counts.json"
    rows = 40_000 if verdict == "no better" else 9000 if code < 3 else 300
    counts.write_text(json.dumps({"sets": {"drifted": {"rows": rows, "only_new": only_new, "only_old": only_old}}}))
    words = ("loop", "helped", "fraud", "-f", file_of(tmp_path, canary=CANARY), "--new", "v7", "--old", "v6")
    done = midwatch_here(*words, "--evaluation", counts, "--no-traffic", "--json")
    assert done.returncode == code, done.stderr
    said = json.loads(done.stdout)
    assert said["verdict"] == verdict
    lines = [one["line"] for one in said["rollback"]]
    if verdict == "worse":
        assert lines[0] == "kubectl argo rollouts abort fraud-server -n ml"
        assert lines[1] == "kubectl argo rollouts undo fraud-server -n ml"
        assert lines[2].startswith("midwatch canary promote -f ")
        assert lines[2].endswith(" fraud 6 --rollback")
        assert '"version": "6"' in lines[3]
    else:
        assert lines == []
    assert midwatch_here(*words, "--evaluation", counts, "--no-traffic").stdout.count(verdict)


def test_options_that_cannot_be_are_all_named_at_once(tmp_path: Path) -> None:
    words = ("loop", "helped", "fraud", "-f", file_of(tmp_path), "--new", "v7", "--old", "v7", "--no-traffic")
    done = midwatch_here(*words, "--start", "yesterday")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 3
    done = midwatch_here("loop", "helped", "frad", "-f", file_of(tmp_path), "--new", "v7", "--old", "v6")
    assert (done.returncode, "there is no model 'frad'" in done.stderr) == (2, True)


def test_a_version_that_the_registry_cannot_number_has_no_command_there(tmp_path: Path) -> None:
    from midwatch.spec import load

    platform = load.load_platform(file_of(tmp_path, canary=CANARY))
    found = rollback.commands(platform, platform.models[0], old="6f7d", new="8a1", file=Path("p.yaml"))
    assert [one.line.split()[0] for one in found] == ["kubectl", "kubectl"]
    assert Rollout.model_validate(CANARY["rollout"]).name in found[0].line
