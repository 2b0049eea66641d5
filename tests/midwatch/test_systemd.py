"""Timers: what systemd reads is when cron would run it."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from midwatch import systemd
from midwatch.spec import cron
from tests.conftest import need_program

TIME = re.compile(r"(?:Next elapse|Iter\. #\d+): \w+ (\S+) (\S+) UTC")


@pytest.mark.parametrize(
    "schedule",
    [
        "0 4 * * 1",
        "*/15 0-6 1,15 * *",
        "30 10 13 * fri",
        "0 0 * jan,mar,jul-sep sun-tue",
        "5-59/20 */6 * * 5-7",
        "1 2 29 2 *",
    ],
)
def test_systemd_reads_the_times_that_cron_means(schedule: str) -> None:
    program = need_program("systemd-analyze")
    begin, count = datetime(2027, 1, 1, tzinfo=UTC), 12
    base = f"--base-time={begin:%Y-%m-%d %H:%M:%S UTC}"
    found: set[datetime] = set()
    for event in systemd.calendars(schedule):
        command = [program, "calendar", event, base, f"--iterations={count}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"})
        found |= {datetime.fromisoformat(f"{one} {time}+00:00") for one, time in TIME.findall(done.stdout)}
    assert sorted(found)[:count] == expected(schedule, begin, count)


def expected(schedule: str, begin: datetime, count: int) -> list[datetime]:
    """The next times, found day by day."""
    told = cron.parse(schedule)
    found: list[datetime] = []
    day = begin.replace(hour=0, minute=0)
    while len(found) < count:
        by_month, by_week = day.day in told.days, day.isoweekday() % 7 in told.weekdays
        is_day = by_month or by_week if told.either_day else by_month and by_week
        if day.month in told.months and is_day:
            times = [
                day + timedelta(hours=hour, minutes=minute)
                for hour in sorted(told.hours)
                for minute in sorted(told.minutes)
            ]
            found += [one for one in times if one > begin]
        day += timedelta(days=1)
    return found[:count]
