"""Canaries are compared within a region: at its own Prometheus, or by its label at the view; never across regions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from midwatch import http_server
from midwatch.app.render import rendered_files
from midwatch.errors import InvalidInputError
from midwatch.spec.model import Platform
from monitors.canary import ask
from monitors.canary.question import Question
from monitors.gate import parsing
from monitors.gate.refusals import QuestionError, Reason
from tests.canary.arms import STEP, Past, settings
from tests.canary.test_fetch import LOOSE, QUESTION, calm
from tests.regions.conftest import GLOBAL

At = Callable[..., Platform]


def both() -> Past:
    """The canary of east fails, that of west does not, and west has ten times the traffic."""
    together = calm()
    together.series.clear()
    for region, errors, scale in (("east", 0.05, 1), ("west", 0.0, 10)):
        for key, points in calm(canary_errors=errors).series.items():
            labels = tuple(sorted({**dict(key), "region": region}.items()))
            together.series[labels] = [(at, scale * value) for at, value in points]
    return together


def judged(past: Past, question: Question, **more: object) -> tuple[str, str]:
    said = ask.ask(past, question, settings(LOOSE, **more), interval=STEP)[1]
    return said.verdict.value, said.reason


def test_at_the_view_each_region_is_compared_with_itself(at: At) -> None:
    view = at(GLOBAL)
    assert judged(both(), ask.placed(QUESTION, view, "east"))[0] == "fail"
    assert judged(both(), ask.placed(QUESTION, view, "west"))[0] == "pass"


def test_series_of_several_regions_at_a_planes_own_prometheus_decide_nothing(at: At) -> None:
    verdict, reason = judged(both(), ask.placed(QUESTION, at("east"), None))
    assert verdict == "inconclusive"
    assert "of several regions, east, west: a canary is compared within one" in reason


def test_strata_by_region_may_be_asked_for_instead() -> None:
    verdict, reason = judged(both(), replace(QUESTION, region="east"), strata="region")
    assert verdict != "inconclusive", reason


@pytest.mark.parametrize(
    ("here", "region", "said"),
    [
        (GLOBAL, None, "missing: the view has the series of all regions; one of east, west"),
        (GLOBAL, "north", "not 'north' here; one of east, west"),
        (GLOBAL, GLOBAL, "not 'global' here; one of east, west"),
        ("east", "west", "not 'west' here; one of east"),
    ],
)
def test_a_region_that_cannot_be_judged_here_is_refused(at: At, here: str, region: str | None, said: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        ask.placed(QUESTION, at(here), region)
    assert said in str(refused.value)


def test_without_regions_there_is_none_to_name(make_platform: Callable[[], Platform]) -> None:
    assert ask.placed(QUESTION, make_platform(), None) == QUESTION
    with pytest.raises(InvalidInputError, match="the platform file has no regions"):
        ask.placed(QUESTION, make_platform(), "east")


def request(fields: str) -> http_server.Request:
    return http_server.Request(method=b"GET", path=b"/verdict", query=fields.encode(), headers={}, body=b"")


def test_the_gate_of_a_region_refuses_questions_of_another() -> None:
    asked = "model=fraud&baseline=v1&canary=v2"
    assert parsing.parse(request(asked), "test", "east").region == "east"
    assert parsing.parse(request(f"{asked}&region=east"), "test", "east").region == "east"
    for here in ("west", None):
        with pytest.raises(QuestionError, match="not of region 'east'") as refused:
            parsing.parse(request(f"{asked}&region=east"), "test", here)
        assert refused.value.reason is Reason.OTHER_REGION


def test_templates_of_a_region_ask_its_own_gate(at: At, make_document: Callable[[], dict]) -> None:
    models = make_document()["models"]
    models[0]["canary"] = {"criteria": [{"metric": "errors"}]}
    files = rendered_files(at("west", models=models))
    template = yaml.safe_load(files["argo-rollouts/analysis-template-fraud.yaml"])
    assert "region=`west`" in template["spec"]["metrics"][0]["provider"]["prometheus"]["query"]
