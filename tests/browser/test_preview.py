"""The pages of a preview, in a real browser: uPlot draws every chart, names are no markup, every screen is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dashboards import render
from tests.browser import pages
from tests.conftest import midwatch_here
from tests.dashboards.test_documents import whole, whole_document
from tests.dashboards.test_preview import SERIES, edited

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["SERIES"]
"""The past that Prometheus has."""

REGISTRY = {"mlflow": {"owner": "ml", "targets": ["mlflow:5000"], "observe": {"url": "http://mlflow:5000"}}}
"""Whom the loop of the platform asks."""


def test_a_preview_is_drawn_before_and_after_a_change(past, tmp_path: Path, browser: Browser) -> None:
    file, before, out = tmp_path / "platform.yaml", tmp_path / "before", tmp_path / "out"
    file.write_text(yaml.safe_dump(whole_document(systems=REGISTRY)))
    before.mkdir()
    document = next(one for one in render.documents(whole()) if one["uid"].endswith("drift"))
    (before / "drift.json").write_text(json.dumps(edited(document)))
    words = ("-f", file, "-o", out, "--prometheus", past.url, "--dashboard", "drift", "--against", before)
    done = midwatch_here("dashboards", "preview", *words, "--since", "10m")
    assert done.returncode == 0, done.stderr
    with pages.opened(browser, f"file://{out}/index.html") as page:
        page.get_by_role("link", name="Drift · test").first.click()
        page.wait_for_selector(".uplot canvas")
        assert page.locator("figure.chart .plot").count() == page.locator(".uplot").count()
        assert page.locator("b", has_text="v1").count() == 0, "a version's name is no markup"
        assert page.locator(".pair").count() >= 2
        assert page.locator(".pair .badge").all_inner_texts()[:2] == ["before", "after"]
        page.locator(".plot").first.hover()
        assert page.locator(".readout").first.inner_text() != ""
    for name in ("index", "midwatch-test-drift"):
        assert pages.problems(browser, f"file://{out}/{name}.html") == []
