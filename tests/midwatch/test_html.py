"""The frame of every report."""

from __future__ import annotations

import base64
import hashlib
import html as html_module
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest

from midwatch import html
from midwatch.errors import MidwatchError
from midwatch.html import charts

ROOT = Path(__file__).parents[2]
FOLDERS = ("midwatch", "monitors", "chaos", "dr", "exporters", "dashboards", "alerts")
SERVED = ROOT / "midwatch" / "app" / "console" / "templates"
"""Pages of the console: they extend the frame through one of their own."""
TEMPLATES = sorted(
    template
    for folder in FOLDERS
    for template in (ROOT / folder).rglob("*.html")
    if template.parent not in (html.FRAME, SERVED)
)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_a_report_brings_no_page_of_its_own(template: Path) -> None:
    text = template.read_text()
    assert text.startswith('{% extends "frame.html" %}')
    assert re.search("<(html|head|body|style|footer)", text) is None
    assert {"title", "command", "content"} <= set(re.findall(r"{% block (\w+) %}", text))


@pytest.mark.parametrize("template", sorted(SERVED.glob("*.html")), ids=lambda path: path.stem)
def test_a_page_of_the_console_has_the_frame_and_nothing_that_its_policy_refuses(template: Path) -> None:
    text = template.read_text()
    extends = {"console": "frame.html", "parts": None, "episode_parts": None, "fairness_parts": None}.get(
        template.stem, "console.html"
    )
    assert extends is None or f'{{% extends "{extends}" %}}' in text
    assert re.search(r"<(html|head|body|style)\b|\sstyle=|\son[a-z]+=|javascript:|\| *safe", text) is None


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text('{% extends "frame.html" %}{% block content %}<h1>{{ name }}</h1>{% endblock %}')
    return path


def test_what_is_shown_is_escaped_and_nothing_is_fetched(template: Path, tmp_path: Path) -> None:
    html.write(tmp_path / "page.html", template, name="<script>")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<h1>&lt;script&gt;</h1>" in page
    assert re.search('https?:|src=|href="[^#]|@import|url\\(', page) is None


def test_a_value_that_is_missing_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="name"):
        html.render(template)


def test_a_page_that_cannot_be_written_says_so(template: Path, tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="cannot be written"):
        html.write(tmp_path / "absent" / "page.html", template, name="x")


# Charts ---------------------------------------------------------------------------------------------------------------


def _chart(*values: float | None, **more: Any) -> charts.Chart:
    times = [1767225600.0 + 60 * index for index in range(len(values))]
    return charts.Chart(title="Share", x=times, lines=[charts.Line(name="v1", values=values)], unit="ratio", **more)


def test_nothing_but_zeros_has_an_axis_to_one() -> None:
    assert _chart(0.0, 0.0).limits == (0.0, 1.0)


def test_an_axis_of_shares_ends_at_all_of_it() -> None:
    assert _chart(0.2, 1.0).y_labels[0] == "100%"
    assert _chart(0.2, 0.4).limits[1] > 0.4


def test_boundaries_are_named_on_the_axis_and_in_the_numbers() -> None:
    chart = charts.Chart(
        title="d",
        x=range(2),
        x_names=["0.1 s", "0.5 s"],
        x_unit="boundary",
        lines=[charts.Line(name="v1", values=[0.5, 1.0])],
    )
    assert (chart.x_labels, [row[0] for row in chart.rows]) == (["0.1 s", "0.5 s"], ["0.5 s", "0.1 s"])
    assert (chart.data["names"], chart.header[0]) == (["0.1 s", "0.5 s"], "boundary")


def test_an_axis_holds_every_value_and_the_objective() -> None:
    low, high = _chart(0.4, 0.5, rules=[charts.Rule(name="objective", at=0.9)], from_zero=False).limits
    assert low < 0.4
    assert high > 0.9


def test_a_gap_is_no_value() -> None:
    chart = _chart(0.1, None, float("nan"), 0.2)
    assert chart.paths[0].d.count("M") == 2
    assert [row[1] for row in chart.rows] == ["20%", "-", "-", "10%"]
    assert chart.data["lines"][0]["values"] == [0.1, None, None, 0.2]
    assert _chart(None, None).is_empty


def test_a_chart_says_in_words_what_it_shows() -> None:
    assert _chart(0.1, 0.25).summary == "Share: v1 25%"
    assert _chart(0.1, 0.25).rows[0] == ["2026-01-01 00:01:00Z", "25%"]


CHARTS = """{% extends "frame.html" %}{% from "macros.html" import line_chart, bar_chart %}
{% block title %}{{ chart.title }}{% endblock %}{% block command %}x{% endblock %}
{% block content %}{{ line_chart(chart, "one") }}{{ bar_chart(bars, "two") }}{% endblock %}"""


def test_a_page_with_charts_stands_alone_and_admits_only_what_is_inside_it(tmp_path: Path) -> None:
    (tmp_path / "charts.html").write_text(CHARTS)
    name = "</script><img src=x>policy-of-this-page"
    chart = _chart(0.1, 0.2, queries=['up{job="<b>"}'])
    bars = charts.Bars(title=name, names=[name, "b"], series=[charts.Line(name=name, values=[0.1, 0.2])])
    page = html.render(tmp_path / "charts.html", with_scripts=True, chart=replace(chart, title=name), bars=bars)
    assert "<img" not in page
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    inside = re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", page, re.DOTALL)
    assert len(inside) == 3
    for text in inside:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in html_module.unescape(policy[1])
    assert re.search(r"\sstyle=|\son\w+=", page) is None


def test_assets_of_others_are_as_their_packages_have_them() -> None:
    heads = {name: html.text_of(name)[:120] for name in html.ASSETS}
    assert "v1.6.32" in heads["uPlot.min.js"]
    assert "4.0.1" in html.text_of("htmx.min.js")
    assert not [name for name in html.ASSETS if "sourceMappingURL" in html.text_of(name)]
