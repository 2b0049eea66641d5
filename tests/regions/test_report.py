"""The report of a month at a view: counts of all regions, of one, and of those that the view sees nothing of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from midwatch.errors import Exit
from tests.conftest import free_port, midwatch_here, need_program, platform_document, wait_for
from tests.regions.conftest import GLOBAL, plane, regions_section
from tests.report.conftest import TILE, at, series

BAD = {"east": 0, "west": 30}
HOURS = {"east": 24, "west": 12}
"""West was seen for half of the day."""


def exposition() -> Iterator[str]:
    """Of each five minutes east counted 1,000 events, and west 1,000 with 30 bad ones."""
    for name, events in (("slo:events:counted", dict.fromkeys(BAD, 1000)), ("slo:bad_events:counted", BAD)):
        yield f"# TYPE {name} gauge"
        for region, count in events.items():
            points = [(one + 7.0, float(count)) for one in range(at(1), at(1, HOURS[region]), TILE)]
            yield from series(name, f'model="fraud",slo="availability",region="{region}"', points)
    yield "# TYPE slo:objective:ratio gauge"
    for region, hours in HOURS.items():
        points = [(one + 7.0, 0.99) for one in range(at(1), at(1, hours), TILE)]
        yield from series(
            "slo:objective:ratio", f'model="fraud",slo="availability",region="{region}",owner="ml"', points
        )
    yield "# EOF"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("regions"), free_port()
    (folder / "day.om").write_text("\n".join([*exposition(), ""]))
    command = [need_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1000h"]
    subprocess.run([*command, str(folder / "day.om"), str(folder / "data")], check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("{}")
    command = [need_program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=10y"]
    with ExitStack() as ended:
        process = ended.enter_context(
            subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        )
        ended.callback(process.kill)
        wait_for(f"http://127.0.0.1:{port}/-/ready", 60)
        yield f"http://127.0.0.1:{port}"


def report(url: str, folder: Path, *words: str, more: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    section = regions_section(GLOBAL)
    section["view"]["query"] = url
    section["planes"] |= {name: plane("east") | apart(name) for name in more}
    models = platform_document()["models"]
    models[0]["slos"] = [{"name": "availability", "sli": "availability", "objective": "99%"}]
    (folder / "platform.yaml").write_text(yaml.safe_dump(platform_document(regions=section, models=models)))
    done = midwatch_here("report", "slo", "-f", folder / "platform.yaml", "--month", "2026-10", "--json", *words)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def apart(name: str) -> dict[str, str]:
    urls = {"prometheus": f"http://prometheus.{name}", "alertmanager": f"http://alertmanager.{name}"}
    return {"cluster": f"ml-{name}", "gossip": f"alertmanager.{name}:9094", **urls}


def test_a_month_over_all_regions_sums_their_counts(url: str, tmp_path: Path) -> None:
    """36 hours of 12,000 events, of which 12 x 12 x 30 are bad: exactly 1%, as is promised."""
    _, document = report(url, tmp_path)
    (promise,) = document["now"]["promises"]
    assert promise["good"]["of"] == 36 * 12 * 1000
    assert promise["good"]["of"] - promise["good"]["some"] == 12 * 12 * 30
    assert document["now"]["unseen_regions"] == []


@pytest.mark.parametrize(("region", "bad"), [("east", 0), ("west", 12 * 12 * 30)])
def test_a_month_of_one_region_is_that_regions(url: str, tmp_path: Path, region: str, bad: int) -> None:
    code, document = report(url, tmp_path, "--region", region)
    (promise,) = document["now"]["promises"]
    assert promise["good"]["of"] - promise["good"]["some"] == bad
    assert promise["good"]["of"] == HOURS[region] * 12 * 1000
    assert (code == Exit.FAIL) == (region == "west")


def test_hours_in_which_one_region_of_two_was_counted_are_half_counted(url: str, tmp_path: Path) -> None:
    _, of_all = report(url, tmp_path)
    _, of_east = report(url, tmp_path, "--region", "east")
    hours = 31 * 24
    assert of_east["now"]["covered"] == pytest.approx(24 / hours, abs=1e-3)
    assert of_all["now"]["covered"] == pytest.approx((12 + 12 / 2) / hours, abs=1e-3)


def test_a_region_that_the_view_has_nothing_of_leaves_the_month_undecided(url: str, tmp_path: Path) -> None:
    code, document = report(url, tmp_path, "--region", "north", more=("north",))
    assert document["now"]["unseen_regions"] == ["north"]
    assert code == Exit.INCONCLUSIVE
    assert "north: the view has nothing of it in this month" in document["now"]["missing"]


def test_a_region_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    code, document = report(url, tmp_path, "--region", "noth")
    assert code == Exit.USAGE
    assert "there is no region 'noth'; known: east, west" in document["error"]
