"""Cron schedules as systemd writes them (crontab(5), systemd.time(7)): five fields, in UTC."""

from __future__ import annotations

import re

from midwatch.errors import MidwatchError

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def calendar(schedule: str) -> str:
    """OnCalendar of a cron schedule.

    Cron runs when day of month *or* day of week fits where both are given, and systemd when both do: that is refused.

    >>> calendar("0 4 * * 1"), calendar("*/15 0-6 1,15 * *")
    ('Mon *-*-* 04:00:00 UTC', '*-*-01,15 00..06:00/15:00 UTC')
    """
    minute, hour, day, month, weekday = schedule.split()
    if day != "*" and weekday != "*":
        raise MidwatchError(f"schedule {schedule!r}: give a day of the month or a day of the week, not both")
    days = "" if weekday == "*" else re.sub(r"\d", lambda match: DAYS[int(match[0])], weekday).replace("-", "..") + " "
    return f"{days}*-{_field(month)}-{_field(day)} {_field(hour)}:{_field(minute)}:00 UTC"


def _field(text: str) -> str:
    spread = re.fullmatch(r"\*/(\d+)", text)
    if spread:
        return f"00/{spread[1]}"
    return re.sub(r"\d+", lambda match: match[0].zfill(2), text).replace("-", "..")
