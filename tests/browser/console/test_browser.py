"""The console in a real browser: what it looks like to a reader of any kind, and what changes before their eyes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.browser import pages
from tests.browser.console.conftest import TOKEN, Running
from tests.browser.console.test_pages import ADDRESSES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = (360, 900, 1600)
ALERT = "/alerts/ModelErrorBudgetBurn?model=fraud"


LIKE_ANOTHER = {"/episodes/prices", "/episodes/fraud?episode=e1"}
EVERY = [
    *(one.replace("/models/fraud", "/models/fraud?span=15m") for one in ADDRESSES if one not in LIKE_ANOTHER),
    "/sign-in",
]


def test_pages_fit_every_screen_and_break_no_rule_of_their_policy(browser: Browser, running: Running) -> None:
    found = []
    with pages.opened(browser, running.url) as page:
        page.on("dialog", lambda one: found.append(f"a name was executed: {one.message}"))
        for address in EVERY:
            page.goto(running.url + address)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                found += [f"{address} at {width}: {one}" for one in pages.too_wide(page)]
    assert found == []


def test_pages_have_no_barrier_in_light_and_dark(browser: Browser, running: Running) -> None:
    found = []
    with pages.opened(browser, running.url, bypass_csp=True) as page:
        for address in EVERY:
            page.emulate_media(color_scheme="light")
            page.goto(running.url + address)
            found += [f"{address}: {one}" for one in pages.violations(page)]
            page.emulate_media(color_scheme="dark")
            found += [f"{address}, dark: {one}" for one in pages.violations(page, only=["color-contrast"])]
    assert found == []


def test_forms_have_no_barrier_either(browser: Browser, running: Running) -> None:
    with pages.opened(browser, running.url + "/sign-in", bypass_csp=True) as page:
        page.fill("input[name=token]", TOKEN.decode())
        page.keyboard.press("Enter")
        page.wait_for_url(f"{running.url}/")
        page.goto(running.url + ALERT)
        assert page.locator("form.card").count() == 2
        assert pages.violations(page) == []


def test_an_alert_is_acknowledged_and_the_page_says_so(browser: Browser, running: Running) -> None:
    with pages.opened(browser, f"{running.url}/sign-in?back={ALERT.replace('?', '%3F')}", width=360) as page:
        page.fill("input[name=token]", TOKEN.decode())
        page.click("main button")
        page.locator("form.card").first.locator("input[name=who]").fill("Ada")
        page.get_by_role("button", name="Acknowledge").click()
        page.get_by_role("cell", name="ack: somebody works on it").first.wait_for()
        page.get_by_role("button", name=re.compile("^End it")).first.click()
        page.get_by_text("No silence.").wait_for()


def test_what_changes_is_shown_without_losing_the_readers_place(browser: Browser, running: Running) -> None:
    with pages.opened(browser, running.url + "/models/fraud") as page:
        before = page.locator("#state-of-data time").get_attribute("datetime")
        page.locator("#traffic figure summary").first.click()
        page.locator("#traffic figure summary").first.focus()
        page.wait_for_function(
            "before => document.querySelector('#state-of-data time').dateTime !== before", arg=before
        )
        assert page.locator("#traffic figure details").first.get_attribute("open") is not None
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_charts_answer_a_pointer_under_the_policy(browser: Browser, running: Running) -> None:
    with pages.opened(browser, running.url + "/models/fraud") as page:
        chart = page.locator("#traffic figure.chart").first
        chart.locator(".uplot canvas").wait_for()
        reads_v1 = "(document.querySelector('#traffic .readout')?.textContent ?? '').includes('v1 ')"
        while not page.evaluate(reads_v1):  # a chart that is drawn anew has to be pointed at again
            chart.locator(".u-over").hover()


def test_nothing_needs_a_script(browser: Browser, running: Running) -> None:
    with pages.opened(browser, running.url + "/models/fraud", java_script_enabled=False) as page:
        assert page.locator("#traffic figure.chart svg path").count() >= 4
        page.locator("#traffic figure summary").first.click()
        assert page.locator("#traffic figure table").first.is_visible()
        page.get_by_role("link", name="latency").first.click()
        assert page.url == f"{running.url}/objectives/fraud/latency"


def test_the_keyboard_skips_to_the_content(browser: Browser, running: Running) -> None:
    with pages.opened(browser, running.url + "/") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
