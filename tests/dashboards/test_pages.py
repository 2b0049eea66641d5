"""A page is a module of `dashboards/pages`; whoever links to a page, or lists the pages, finds the modules' own."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashboards import check, pages, render
from dashboards.page import Page
from dashboards.panels import PanelFactory
from midwatch import grafana
from tests.conftest import need_program
from tests.dashboards.test_documents import whole

RECIPE = Path("docs/contributing/pages.md")

TWO_PAGES = """
from dashboards.page import Page

def build_pages(factory):
    return [
        Page(name=name, title=name, order=order, description="", variables=[], annotations=[], sections=[])
        for name, order in (("capacity", 25), ("cost", 35))
    ]
"""


def every_page() -> list[Page]:
    return pages.every_page(PanelFactory(platform=whole()))


@pytest.fixture
def add_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Puts one more module among the pages."""
    names = []

    def add(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)

    monkeypatch.setattr(pages, "__path__", [*pages.__path__, str(tmp_path)])
    yield add
    for name in names:
        del sys.modules[f"dashboards.pages.{name}"]


def test_a_module_is_all_that_new_pages_need(add_module) -> None:
    add_module("capacity", TWO_PAGES)
    names = [document["uid"].removeprefix("midwatch-test-") for document in render.documents(whole())]
    assert names[:5] == ["fleet", "model", "capacity", "objectives", "cost"]
    assert {f"grafana/dashboards/midwatch-test-{name}.json" for name in names} <= set(render.render_files(whole()))


def test_the_page_of_the_recipe_is_built_and_has_no_problem(add_module) -> None:
    need_program("promtool")
    (code,) = re.findall(r"^ +```python\n(.*?)^ +```$", RECIPE.read_text(), re.M | re.S)
    add_module("servers", textwrap.dedent(code))
    files = render.render_files(whole())
    assert "grafana/dashboards/midwatch-test-servers.json" in files
    assert check.check_files(files) == []


def test_a_page_that_alerts_link_to_is_built() -> None:
    assert {page.value for page in grafana.Page} <= {page.name for page in every_page()}


def test_names_are_unique_and_say_the_uid() -> None:
    names = [page.name for page in every_page()]
    assert len(set(names)) == len(names)
    assert [document["uid"] for document in render.documents(whole())] == [f"midwatch-test-{name}" for name in names]


def test_the_guide_names_every_page() -> None:
    guide = Path("docs/dashboards.md").read_text()
    assert [page.title for page in every_page() if f"| {page.title} |" not in guide] == []
