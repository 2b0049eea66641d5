"""Trainings of the registry, runs of a pipeline, and releases: what is read of their owners and said of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.metrics import REGRESSION_VERDICT
from midwatch.prometheus import Line, QueryError
from midwatch.spec.model import Platform
from monitors.regression import histories, judged, releases
from monitors.regression.change import Verdict
from monitors.regression.releases import Release
from tests.conftest import midwatch_here, platform_document
from tests.promotion.conftest import SmallMlflow, loaded, mlflow, written  # noqa: F401 - a fixture

NOW = 1_800_000_000.0


class Answers:
    """A Prometheus that answers range queries by the words in them."""

    def __init__(self, lines: dict[str, list[Line]] | None = None) -> None:
        self.lines = lines

    def query_range(self, expr: object, **_: float) -> list[Line]:
        if self.lines is None:
            raise QueryError(str(expr), "no answer")
        return next((lines for word, lines in self.lines.items() if word in str(expr)), [])

    def query(self, expr: object, **_: Any) -> list[Any]:
        raise AssertionError(expr)

    samples = query


def release(version: str, requests: int, slow: int) -> Release:
    return Release(version=version, requests=requests, slow=slow)


def filled(registry: SmallMlflow, accuracies: list[Any]) -> None:
    registry.versions.clear()
    for number, accuracy in enumerate(accuracies, 1):
        registry.add(str(number), metrics={"accuracy": accuracy})


@pytest.mark.parametrize(("last", "verdict"), [(0.9, Verdict.STEADY), ("NaN", Verdict.UNDECIDED)])
def test_a_newest_training_without_the_metric_is_not_steady(
    last: Any,
    verdict: Verdict,
    mlflow: SmallMlflow,  # noqa: F811
    tmp_path: Path,
) -> None:
    filled(mlflow, [0.9 + 0.001 * (number % 5) for number in range(24)] + [last])
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    found = judged.judge(Answers({}), platform, platform.models[0], now=NOW)
    (said,) = (one for one in found if one.series == "accuracy")
    assert said.verdict is verdict


def test_a_fall_of_a_metric_is_found_with_the_version_since_which(mlflow: SmallMlflow, tmp_path: Path) -> None:  # noqa: F811
    filled(mlflow, [0.9 + 0.001 * (number % 5) for number in range(20)] + [0.8, 0.81, 0.79, 0.8])
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    found = judged.judge(Answers({}), platform, platform.models[0], now=NOW)
    (said,) = (one for one in found if one.series == "accuracy")
    assert (said.verdict, said.since) == (Verdict.REGRESSED, "21")
    assert judged.whole(found) is Verdict.REGRESSED


def with_regression(folder: Path, url: str, **regression: Any) -> Platform:
    file = written(folder, url)
    document = yaml.safe_load(file.read_text())
    document["models"][0]["regression"] = regression
    document["loop"] = {}
    if "pipeline" in regression:
        document["systems"]["tekton"] = {"targets": ["tekton:9090"], "owner": "ml", "observe": {"namespaces": ["ml"]}}
    file.write_text(yaml.safe_dump(document))
    return loaded(file)


def test_versions_that_did_not_log_a_number_are_left_out(mlflow: SmallMlflow, tmp_path: Path) -> None:  # noqa: F811
    filled(mlflow, [0.9, "NaN", 0.8])
    mlflow.add("4")
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    use = platform.systems["mlflow"].observe
    history = histories.of_metric(histories.trainings(use, "fraud"), "accuracy")  # type: ignore[arg-type]
    assert (history.of, list(history.values)) == (("1", "3"), [0.9, 0.8])


def test_owners_that_do_not_answer_leave_their_histories_undecided(mlflow: SmallMlflow, tmp_path: Path) -> None:  # noqa: F811
    mlflow.failing = True
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}}, pipeline="ml/train")
    found = judged.judge(Answers(None), platform, platform.models[0], now=NOW)
    assert {one.series for one in found} == {
        "training_duration_seconds",
        "accuracy",
        "pipeline_duration_seconds",
        "slow_requests_ratio",
    }
    assert {one.verdict for one in found} == {Verdict.UNDECIDED}
    assert judged.whole(found) is Verdict.UNDECIDED


def test_runs_of_a_pipeline_are_told_apart_by_their_ends() -> None:
    ends = Line(labels={}, points=tuple((60.0 * step, 100.0 * (step // 3)) for step in range(30)))
    durations = Line(labels={}, points=tuple((60.0 * step, 10.0 + step // 3) for step in range(30)))
    answers = Answers({"last_end": [ends], "last_duration": [durations]})
    history = histories.of_pipeline(answers, "ml/train", until=NOW, seconds=86400.0)
    assert list(history.values) == [10.0 + run for run in range(10)]


# Releases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([release("v1", 200_000, 2000), release("v2", 200_000, 2100)], Verdict.STEADY),
        ([release("v1", 200_000, 2000), release("v2", 200_000, 9000)], Verdict.REGRESSED),
        ([release("v1", 500, 5), release("v2", 500, 10)], Verdict.UNDECIDED),
        ([release("v1", 200_000, 2000)], Verdict.UNDECIDED),
        ([release("v1", 200_000, 2000), release("v2", 50, 50)], Verdict.UNDECIDED),
        ([], Verdict.UNDECIDED),
    ],
)
def test_the_newest_release_is_compared_with_those_before_it(found: list[Release], verdict: Verdict) -> None:
    assert releases.compare(found, tolerated=0.02, alpha=0.01).verdict is verdict


def test_releases_that_each_got_a_little_slower_are_found_out_together() -> None:
    found = [release(f"v{number}", 400_000, 4000 + 1500 * number) for number in range(8)]
    for earlier, later in itertools.pairwise(found):
        assert releases.compare([earlier, later], tolerated=0.015, alpha=0.01).verdict is Verdict.STEADY
    said = releases.compare(found, tolerated=0.015, alpha=0.01)
    assert said.verdict is Verdict.REGRESSED
    assert said.best is not None
    assert said.best.version == "v0"


def test_releases_are_read_in_the_order_in_which_they_were_first_seen() -> None:
    def line(version: str, first: float, count: float) -> Line:
        return Line(labels={"version": version}, points=((first, count / 2), (first + 60, count)))

    answers = Answers(
        {
            "_bucket": [line("v9", 0.0, 990), line("v10", 60.0, 480)],
            "_count": [line("v10", 60.0, 500), line("v9", 0.0, 1000), line("v11", 90.0, 10)],
        }
    )
    model = Platform.model_validate(platform_document()).models[0]
    found = releases.ask(answers, model, bound=0.1, until=NOW, seconds=86400.0)
    assert found == [release("v9", 1000, 10), release("v10", 500, 20)]


# The command ---------------------------------------------------------------------------------------------------------


def test_the_exit_code_says_whether_anything_regressed(mlflow: SmallMlflow, tmp_path: Path) -> None:  # noqa: F811
    filled(mlflow, [0.9] * 20 + [0.7] * 4)
    with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    words = ("loop", "regressions", "fraud", "-f", tmp_path / "platform.yaml")
    done = midwatch_here(*words, "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["verdict"] == "regressed"
    assert "21" in midwatch_here(*words).stdout
    mlflow.failing = True
    assert midwatch_here(*words).returncode == 3
    assert midwatch_here("loop", "regressions", "frad", "-f", tmp_path / "platform.yaml").returncode == 2


def test_each_series_publishes_one_verdict(mlflow: SmallMlflow, tmp_path: Path) -> None:  # noqa: F811
    filled(mlflow, [0.9] * 3)
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    found = judged.judge(Answers({}), platform, platform.models[0], now=NOW)
    told = [
        labels["series"]
        for metric, labels, value in judged.samples("fraud", found)
        if metric is REGRESSION_VERDICT and value
    ]
    assert sorted(told) == sorted(one.series for one in found)
