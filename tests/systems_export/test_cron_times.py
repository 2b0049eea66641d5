"""When CronJobs are due: the same times as the library that Kubernetes' controller reads schedules with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporters.systems import cron_times

RECORDED = Path(__file__).parent / "recorded" / "robfig-cron-3.0.1.json"
"""Schedule, zone, a time, and the next one by `cron.ParseStandard("TZ=ZONE SCHEDULE").Next` of robfig/cron 3.0.1.

The times are around changes of the clocks, ends of years and leap days.
"""


def test_next_times_are_those_of_the_controllers_library() -> None:
    cases = json.loads(RECORDED.read_text())
    found = [[schedule, zone, after, cron_times.schedule(schedule, zone)(after)] for schedule, zone, after, _ in cases]
    assert found == cases


def test_a_zone_in_the_schedule_wins() -> None:
    there = cron_times.schedule("TZ=Asia/Kolkata 30 5 * * *", "Europe/Berlin")(0.0)
    assert there == cron_times.schedule("30 5 * * *", "Asia/Kolkata")(0.0) == 86400.0
    assert cron_times.schedule("CRON_TZ=Asia/Kolkata 30 5 * * *", "Europe/Berlin")(0.0) == there


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * *",
        "@fortnightly",
        "@every soon",
        "0 0 31 2 *",
        "TZ=Mars/Olympus 0 0 * * *",
        "61 * * * *",
        "TZ=../etc 0 0 * * *",
    ],
)
def test_what_is_no_schedule_is_an_error_of_its_value(text: str) -> None:
    with pytest.raises(ValueError):
        cron_times.schedule(text, "Etc/UTC")(0.0)
