"""What is wrong with a dashboard is found before anybody loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dashboards import check, render
from midwatch.errors import MissingProgramError, Problem
from tests.conftest import need_program
from tests.dashboards.test_documents import panels, whole


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return render.render_files(whole())


def test_what_is_rendered_has_no_problem_not_even_by_promtool(files) -> None:
    need_program("promtool")
    assert check.check_files(files) == []


def broken(files: dict[str, str], change: Callable[[dict[str, Any]], None], page: str = "model") -> list[Problem]:
    path = f"grafana/dashboards/midwatch-test-{page}.json"
    document = json.loads(files[path])
    change(document)
    return check.check_files({**files, path: json.dumps(document)})


def target(document: dict[str, Any]) -> dict[str, Any]:
    return next(panels(document))["targets"][0]


def first(document: dict[str, Any]) -> dict[str, Any]:
    return next(panels(document))


CASES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown key": (lambda it: first(it).update(span=4), "Extra inputs are not permitted"),
    "an angular panel": (lambda it: first(it).update(type="graph"), "does not match any of the expected tags"),
    "no unit": (lambda it: first(it)["fieldConfig"]["defaults"].pop("unit"), "Field required"),
    "no note": (lambda it: first(it).update(description=""), "at least 1 character"),
    "a legend that Grafana would hide": (
        lambda it: first(it)["options"]["legend"].update(showLegend=False),
        "Input should be True",
    ),
    "thresholds out of order": (
        lambda it: first(it)["fieldConfig"]["defaults"]["thresholds"].update(
            steps=[
                {"color": "#000000", "value": None},
                {"color": "#000000", "value": 2.0},
                {"color": "#000000", "value": 1.0},
            ]
        ),
        "the others ascend",
    ),
    "a uid that is too long": (lambda it: it.update(uid="m" * 41), "at most 40 characters"),
    "another's uid": (lambda it: it.update(uid="midwatch-test-fleet"), "another dashboard is midwatch-test-fleet too"),
    "another's id": (lambda it: it["panels"][2].update(id=it["panels"][1]["id"]), "another panel has its id"),
    "a panel on another": (lambda it: it["panels"][2]["gridPos"].update(x=0), "overlaps"),
    "a panel beyond the grid": (lambda it: it["panels"][4]["gridPos"].update(x=23), "beyond the grid"),
    "no PromQL": (lambda it: target(it).update(expr="sum("), "does not parse"),
    "a metric nobody knows": (lambda it: target(it).update(expr="ml_request_total"), "ml_request_total is in no cat"),
    "a histogram without its suffix": (
        lambda it: target(it).update(expr="ml_request_duration_seconds"),
        "is in no catalogue",
    ),
    "a label it does not have": (
        lambda it: target(it).update(expr='ml_requests_total{modle="x"}'),
        "has no label modle",
    ),
    "a variable it does not have": (
        lambda it: target(it).update(expr='ml_requests_total{model="$modell"}'),
        "no such variable: ml_requests_total",
    ),
    "a link to a variable it does not have": (
        lambda it: it["links"][0].update(url="/x?a=${nothing}"),
        "no such variable: /x",
    ),
    "a megabyte": (lambda it: it.update(description="x" * 200_000), "at most 200000"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_a_problem_with_its_file_and_place(case: str, files) -> None:
    change, message = CASES[case]
    problems = broken(files, change)
    assert any(message in problem.message for problem in problems), problems
    assert all(problem.file.startswith("grafana/dashboards/midwatch-test-") for problem in problems)


def test_promtool_has_the_last_word(files) -> None:
    """The parser here takes a function that Prometheus 2.42 does not have."""
    need_program("promtool")
    (problem,) = broken(files, lambda it: target(it).update(expr="mad_over_time(ml_requests_total[5m])"))
    assert "promtool" in problem.message


def test_unchecked_is_not_right(files, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingProgramError, match="promtool"):
        check.check_files(files)
