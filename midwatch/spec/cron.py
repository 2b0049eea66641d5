"""Schedules in the five fields of cron, in UTC, as CronJobs of Kubernetes read them, and their longest gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator

_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_DAYS = 5 * 366
"""Five years: whatever comes at all, such as a leap day, comes twice."""


LATE_SHARE = 1.25
"""Of the longest time between two runs: after it the next one is overdue, and not only slow."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Minutes, hours, days of the month, months and days of the week (0 is Sunday) at which it is time.

    `either_day` says that a day that is right by the month or by the week is right, which is so when neither is `*`;
    `*/2` restricts (robfig/cron 3.0.1, which CronJobs are read with, parser.go, getRange).
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @cache  # noqa: B019 - schedules are few, and equal ones share what was found
    def longest_gap(self) -> float:
        """Seconds between two times at most; ValueError when it never is time."""
        times = sorted(60 * hour + minute for hour in self.hours for minute in self.minutes)
        within = max((later - sooner for sooner, later in pairwise(times)), default=0)
        over_night = 1440 - times[-1] + times[0]
        first = date(2024, 1, 1)
        days = [step for step in range(_DAYS) if self.is_day(first + timedelta(step))]
        if len(days) < 2:
            raise ValueError("it never is time, or less than once in four years")
        between = max(later - sooner for sooner, later in pairwise(days))
        return 60.0 * max(within, over_night + 1440 * (between - 1))

    def is_day(self, day: date) -> bool:
        """Whether it is time at some time of a day."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


def parse(text: str) -> Schedule:
    """Schedule of `0 4 * * 1`; ValueError when it is none.

    >>> parse("0 4 * * 1").longest_gap() / 86400
    7.0
    """
    fields = text.split()
    if len(fields) != len(_RANGES):
        raise ValueError(f"{text!r} does not have the five fields of cron: minute, hour, day, month, day of the week")
    values = {name: _field(name, field) for name, field in zip(_RANGES, fields, strict=True)}
    return Schedule(
        minutes=values["minute"],
        hours=values["hour"],
        days=values["day"],
        months=values["month"],
        weekdays=values["weekday"],
        either_day=not _is_every(fields[2]) and not _is_every(fields[4]),
    )


def _is_every(field: str) -> bool:
    return any(part in ("*", "*/1") for part in field.split(","))


def _field(name: str, text: str) -> frozenset[int]:
    lowest, highest = _RANGES[name]
    numbers: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        begin, dash, end = span.partition("-")
        if span == "*":
            first, last = lowest, highest
        else:
            first = _number(name, begin)
            last = _number(name, end) if dash else highest if step else first
        every = int(step) if step.isdigit() else 0 if step else 1
        if first > last or not every:
            raise ValueError(f"{part!r} is no {name} of a schedule")
        numbers.update(range(first, last + 1, every))
    return frozenset(number % 7 if name == "weekday" else number for number in numbers)


def _number(name: str, text: str) -> int:
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    lowest, highest = _RANGES[name]
    highest += name == "weekday"  # 7 is Sunday too
    if not text.isdigit() or not lowest <= int(text) <= highest:
        raise ValueError(f"{text!r} is no {name} of a schedule")
    return int(text)


def _checked(text: str) -> str:
    parse(text).longest_gap()
    return text


Cron = Annotated[str, AfterValidator(_checked)]
"""A schedule of the platform file, which comes round at least twice in four years."""
