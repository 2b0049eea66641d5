"""The pages of the reports, in a real browser: what they say, at three widths, in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from chaos import report as chaos_report
from dr import report as dr_report
from midwatch.app.judged_fairness import Judged, Names
from midwatch.app.report import fairness as fairness_report
from midwatch.app.report import month as months
from midwatch.html.intervals import Interval
from midwatch.spec.model import Platform
from tests.browser import pages
from tests.chaos.test_telling import result
from tests.conftest import midwatch_here, platform_document
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


def fairness(folder: Path) -> None:
    """A month in which one promise was broken, with a group named like markup, and one was never judged."""
    document = platform_document()
    promise = {"attribute": "age", "measure": "demographic_parity", "difference": "5%", "public": True}
    document["models"][0] |= {"groups": ["age"], "fairness": [promise]}
    (model,) = Platform.model_validate(document).models
    judged = Judged(
        model="fraud",
        version="v1",
        attribute="age",
        measure="demographic_parity",
        rate="selected",
        limit="ratio 80%",
        verdict=-1.0,
        promised=0.8,
        above="young",
        below="<b>blue</b>",
        ratio=(0.6, 0.7, math.inf),
        groups=tuple(Interval(name=name, low=0.2, estimate=0.3, high=0.4) for name in ("young", "<b>blue</b>")),
    )
    watched = fairness_report.Watched(hours=744, fair=700, unfair=20, broken_at=1_760_000_000.0)
    report = fairness_report.FairnessReport(
        platform="test",
        month=months.named("2026-10", ZoneInfo("UTC"), now=datetime(2026, 11, 2, tzinfo=UTC)),
        made_at=1_762_000_000.0,
        prometheus="http://127.0.0.1:9090",
        rates=(fairness_report.Rate(owner="ml", last=judged, watched=watched),),
        silent=((model, model.fairness[0]),),
        names=Names(),
        queries=("up",),
    )
    (folder / "page.html").write_text(fairness_report.html(report))


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


def check_fairness(page: Page) -> None:
    assert page.locator("h1").inner_text() == "Fairness of test, 2026-10"
    assert page.locator(".meaning").inner_text().startswith("Of 2 promised rates, 1 were shown broken")
    assert page.locator("#groups-1 svg rect").count() == 4
    assert page.locator("#gap-1 tbody td.number").all_inner_texts() == ["70%", "60% to ∞"]
    assert {"shown unfair", "not judged"} <= set(seen(page)["words"])


REPORTS: dict[str, tuple[Callable[[Path], None], Callable[[Page], None]]] = {
    "drift": (drift, check_drift),
    "canary": (canary, check_canary),
    "experiment": (experiment, check_experiment),
    "drills": (drills, check_drills),
    "fairness": (fairness, check_fairness),
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
