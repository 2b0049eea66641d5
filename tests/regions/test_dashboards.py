"""Dashboards at the view ask about the region that is chosen, whatever a panel asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser
import pytest

from dashboards import check, reader
from midwatch import promql_syntax
from midwatch.app.render import rendered_files
from midwatch.promql_syntax import children
from midwatch.spec.model import Platform
from tests.regions.conftest import GLOBAL

At = Callable[..., Platform]


def documents(platform: Platform) -> dict[str, dict[str, Any]]:
    files = rendered_files(platform)
    return {name: json.loads(text) for name, text in files.items() if name.startswith("grafana/dashboards/")}


def selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for one in children(node):
        yield from selectors(one)


def test_every_selector_of_every_panel_variable_and_mark_has_the_region(at: At) -> None:
    asked = 0
    for document in documents(at(GLOBAL)).values():
        for place, expr in check.expressions(document):
            for selector in selectors(promql_parser.parse(expr)):
                asked += 1
                assert any(one.name == "region" for one in selector.matchers.matchers), (place, expr)
    assert asked > 300


def test_a_viewer_chooses_a_region_or_all_of_them_and_sees_one_first(at: At) -> None:
    for document in documents(at(GLOBAL)).values():
        (region,) = (one for one in document["templating"]["list"] if one["name"] == "region")
        assert {one["text"]: one["value"] for one in region["options"]} == {
            "all regions": "east|west",
            "east": "east",
            "west": "west",
            GLOBAL: GLOBAL,
        }
        assert [one["text"] for one in region["options"] if one["selected"]] == ["east"]


def test_a_regions_own_dashboards_name_no_region(at: At, make_platform: Callable[[], Platform]) -> None:
    alone = documents(make_platform())
    for name, document in documents(at("east")).items():
        assert [one["name"] for one in document["templating"]["list"] if one["name"] == "region"] == []
        assert [panel.queries for panel in reader.panels(document)] == [
            panel.queries for panel in reader.panels(alone[name])
        ]


@pytest.mark.parametrize(
    ("expr", "narrowed"),
    [
        ("up", 'up{r="x"}'),
        ("sum(up) by (job)", 'sum(up{r="x"}) by (job)'),
        ('a:b{x="}"} offset 5m', 'a:b{x="}", r="x"} offset 5m'),
        ("topk(3, x[5m:1m])", 'topk(3, x{r="x"}[5m:1m])'),
        ('{__name__=~"a|b"}', '{__name__=~"a|b", r="x"}'),
        ("a unless on (b) c or vector(1e3)", 'a{r="x"} unless on (b) c{r="x"} or vector(1e3)'),
        ("a * on (x) group_left (y, z) b{}", 'a{r="x"} * on (x) group_left (y, z) b{r="x"}'),
        ("rate(x[$__rate_interval]) > ${limit}", 'rate(x{r="x"}[$__rate_interval]) > ${limit}'),
        ('x{v=~"${v:regex}",}', 'x{v=~"${v:regex}", r="x"}'),
        ("sum without (a) (b) == bool 1", 'sum without (a) (b{r="x"}) == bool 1'),
        ("time() - x @ end()", 'time() - x{r="x"} @ end()'),
        ('label_replace(x, "a", "$1", "b", "(.*)")', 'label_replace(x{r="x"}, "a", "$1", "b", "(.*)")'),
        ("-Inf < x and NaN", '-Inf < x{r="x"} and NaN'),
        ("x # of y\n+ z", 'x{r="x"} # of y\n+ z{r="x"}'),
    ],
)
def test_a_matcher_is_added_to_every_selector_and_to_nothing_else(expr: str, narrowed: str) -> None:
    assert promql_syntax.with_matcher(expr, 'r="x"') == narrowed
