"""The pages of the four reports, in a real browser: what they say, at three widths, in light and in dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from chaos import report as chaos_report
from dr import report as dr_report
from tests.browser import pages
from tests.chaos.test_telling import result
from tests.conftest import midwatch_here
from tests.dr.reported import drilled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLATFORM = "examples/flights/platform.yaml"
CANARY = "examples/flights/canary-v2.json"
LONG = "a_feature_whose_name_is_longer_than_a_telephone_is_wide"


def drift(folder: Path) -> None:
    """A shifted feature, a new category with a name like markup, and two calm features."""
    generator = np.random.default_rng(5)
    for name, shift, colours in (("before", 0.0, ["red", "<b>blue</b>"]), ("now", 1.0, ["red", "<i>green"])):
        columns = {"x": generator.normal(shift, 1, 5000), LONG: generator.normal(size=5000)}
        parquet.write_table(pa.table(columns | {"colour": generator.choice(colours, 5000)}), folder / f"{name}.parquet")
    assert midwatch_here("drift", "fit", folder / "before.parquet", "-o", folder / "r.npz").returncode == 0
    options = ("--reference", folder / "r.npz", "--current", folder / "now.parquet", "--html", folder / "page.html")
    done = midwatch_here("drift", "compare", *options, "-f", PLATFORM, "--model", "flight-delay")
    assert done.returncode == 1, done.stderr


def canary(folder: Path) -> None:
    """The bad canary of the flights."""
    done = midwatch_here("canary", "judge", "--counts", CANARY, "-f", PLATFORM, "--html", folder / "page.html")
    assert done.returncode == 1, done.stderr


def experiment(folder: Path) -> None:
    """A run that deviated, with an activity named like markup."""
    chaos_report.write(folder / "page.html", result())


def drills(folder: Path) -> None:
    """Three drills of two stores."""
    log, document = drilled(folder)
    (folder / "page.html").write_text(dr_report.render(document, log, "Disaster-recovery drills"))


def seen(page: Page) -> dict[str, list[str]]:
    """What a reader sees first, and the titles of charts and tables."""
    listed = {"facts": ".facts > div", "headings": "h2", "charts": "figure h3", "words": ".words dt"}
    return {name: page.locator(selector).all_inner_texts() for name, selector in listed.items()}


def check_drift(page: Page) -> None:
    assert page.locator("h1").inner_text() == "Inputs of flight-delay: drift"
    assert seen(page)["charts"] == ["colour: ▲ differs", "x: ▲ differs", f"{LONG}: ● as before"]
    assert page.locator("#feature-2 rect").count() > 15
    assert {"vote", "floor", "psi", "ks"} <= set(seen(page)["words"])


def check_canary(page: Page) -> None:
    assert page.locator("h1").inner_text() == "Canary v2 against v1: fail"
    legend = page.locator("#evidence .legend li").all_inner_texts()
    assert [one.rsplit(" ", 1)[0] for one in legend] == [
        "against the canary, all criteria",
        "for the canary: errors",
        "for the canary: latency",
        "for the canary: accuracy",
        "decides, 20 to 1",
    ]
    assert page.locator("#evidence path").count() == 4
    assert (
        page.locator("#criterion-0").inner_text().endswith("none in 3,414 requests of v1, none in 748 requests of v2.")
    )
    assert page.locator("#criterion-0 svg").count() == 0


def check_experiment(page: Page) -> None:
    assert page.locator("h1").inner_text() == "Experiment kill-replica: deviated"
    assert page.locator("#activities svg rect").count() == 3
    assert page.locator("#activities th[scope=row]").first.inner_text() == "1. before <b>x</b>"


def check_drills(page: Page) -> None:
    assert page.locator(".overview tbody tr").count() == 3
    ledger = page.locator(".ledger").first.inner_text()
    assert "what the recovery cost" in ledger
    assert page.locator("figure svg path").count() == 3
    assert page.locator(".todo").inner_text().startswith("Read the first reason")


REPORTS: dict[str, tuple[Callable[[Path], None], Callable[[Page], None]]] = {
    "drift": (drift, check_drift),
    "canary": (canary, check_canary),
    "experiment": (experiment, check_experiment),
    "drills": (drills, check_drills),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_says_what_it_means_to_whom_it_belongs_and_fits_every_screen(
    name: str, tmp_path: Path, browser: Browser
) -> None:
    write, check = REPORTS[name]
    write(tmp_path)
    address = f"file://{tmp_path}/page.html"
    with pages.opened(browser, address) as page:
        facts = [one.split("\n")[0] for one in seen(page)["facts"]]
        assert {"Platform", "Owner", "Dates"} <= set(facts)
        assert len(page.locator(".meaning").inner_text()) > 20
        assert len(page.locator(".todo").inner_text()) > 5
        assert page.locator("b, i", has_text="blue").count() == 0
        check(page)
    assert pages.problems(browser, address) == []
