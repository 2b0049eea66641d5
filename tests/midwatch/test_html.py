"""The frame of every report."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from midwatch import html
from midwatch.errors import MidwatchError

ROOT = Path(__file__).parents[2]
FOLDERS = ("midwatch", "monitors", "chaos", "dr", "exporters", "dashboards", "alerts")
TEMPLATES = sorted(
    template for folder in FOLDERS for template in (ROOT / folder).rglob("*.html") if template.parent != html.FRAME
)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_a_report_brings_no_page_of_its_own(template: Path) -> None:
    text = template.read_text()
    assert text.startswith('{% extends "frame.html" %}')
    assert re.search("<(html|head|body|style|footer)", text) is None
    assert {"title", "command", "content"} <= set(re.findall(r"{% block (\w+) %}", text))


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
    assert re.search("http|src=|@import|url\\(", page) is None


def test_a_value_that_is_missing_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="name"):
        html.render(template)


def test_a_page_that_cannot_be_written_says_so(template: Path, tmp_path: Path) -> None:
    with pytest.raises(MidwatchError, match="cannot be written"):
        html.write(tmp_path / "absent" / "page.html", template, name="x")
