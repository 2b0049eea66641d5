"""A real browser for tests: what is wrong with a page at three widths, in light and in dark, by axe-core too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import need_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NEEDS = "pip install -c constraints.txt -e '.[dev]'"

WIDTHS = (360, 600, 1280)
"""A telephone, half a screen, a screen; in CSS pixels."""

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]

TOO_WIDE = """() => [...document.querySelectorAll("body *")]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(one).position !== "absolute"
    && !one.closest(".scroll, .hidden, .skip, pre, thead"))
  .map(one => `${one.tagName.toLowerCase()} ends at ${Math.round(one.getBoundingClientRect().right)}: `
    + one.textContent.trim().slice(0, 40))
  .concat(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [])"""
"""Elements that reach beyond the screen, other than those that scroll by themselves; and the page itself."""

LONGEST = 120_000.0
"""Milliseconds that the browser may take to start or to do anything, on a busy machine."""
SETTLE_SECONDS = 20.0
"""Longest time that a page may take to fit a screen of another width."""


@contextmanager
def started() -> Iterator[Browser]:
    """The installed chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason=f"playwright is not installed: {NEEDS}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need_program("chromium"), args=ARGUMENTS, timeout=LONGEST)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, *, scheme: Any = "light", width: int = 1280, **context: Any) -> Iterator[Page]:
    """A page at a width, whose errors (its policy's too) end the test when it is closed."""
    made = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context)
    made.set_default_timeout(LONGEST)
    said: list[str] = []
    try:
        page = made.new_page()
        page.on("console", lambda one: said.append(one.text) if one.type in {"error", "warning"} else None)
        page.on("pageerror", lambda one: said.append(str(one)))
        page.goto(url)
        yield page
    finally:
        made.close()
    assert said == []


def problems(browser: Browser, url: str) -> list[str]:
    """What is wrong with a page: what is wider than a screen of each width, and what axe-core finds, light and dark."""
    found = []
    with opened(browser, url) as page:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            found += [f"{width}: {one}" for one in too_wide(page)]
    for scheme, width in (("light", WIDTHS[-1]), ("dark", WIDTHS[0])):
        # axe-core is put into the page, which a policy of the page would refuse
        with opened(browser, url, scheme=scheme, width=width, bypass_csp=True) as page:
            found += [f"{scheme} {width}: {one}" for one in violations(page)]
    return found


def too_wide(page: Page) -> list[str]:
    """What does not fit the screen, once charts had time: they are drawn anew some frames after its width changed."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := page.evaluate(TOO_WIDE)) and time.monotonic() < deadline:
        page.evaluate("new Promise(requestAnimationFrame)")
    return list(found)


def violations(page: Page, *, only: list[str] | None = None) -> list[str]:
    """What axe-core finds, by `only` some of its rules, each with the first element that it is about."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=f"axe-core is not installed: {NEEDS}")
    options: dict[str, Any] = {"resultTypes": ["violations"]}  # else what is good is described as well
    if only:
        options["runOnly"] = only
    return [
        f"{one['id']} ({one['help']}): {one['nodes'][0]['html'][:200]}"
        for one in axe.Axe().run(page, options=options).response["violations"]
    ]
