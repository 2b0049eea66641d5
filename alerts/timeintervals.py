"""When an Alertmanager time interval is: the same arithmetic as its `timeinterval` package, location included."""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from midwatch.spec.routing import MONTHS, WEEKDAYS

Range = tuple[int, int]


class IntervalError(ValueError):
    """A time interval that Alertmanager does not read."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One alternative of a time interval. Ranges include their ends, but for minutes of the day; empty is always."""

    minutes: tuple[Range, ...] = ()
    days: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    location: tzinfo = field(default=UTC)

    def contains(self, at: datetime) -> bool:
        """Whether a time, with its zone, is inside."""
        local = at.astimezone(self.location)
        minute = local.hour * 60 + local.minute
        return (
            (not self.minutes or any(begin <= minute < end for begin, end in self.minutes))
            and (not self.days or any(_day_inside(local, one) for one in self.days))
            and _inside(self.months, local.month)
            and _inside(self.weekdays, (local.weekday() + 1) % 7)
            and _inside(self.years, local.year)
        )

    @property
    def is_always(self) -> bool:
        """Whether nothing is outside of it."""
        whole_day = not self.minutes or (0, 1440) in self.minutes
        week = {day for begin, end in self.weekdays for day in range(begin, end + 1)}
        year = {month for begin, end in self.months for month in range(begin, end + 1)}
        every_day = not self.days or any(begin in (1, -31) and end in (31, -1) for begin, end in self.days)
        return whole_day and every_day and not self.years and len(week) in (0, 7) and len(year) in (0, 12)


def _inside(ranges: Sequence[Range], value: int) -> bool:
    return not ranges or any(begin <= value <= end for begin, end in ranges)


def _day_inside(local: datetime, days: Range) -> bool:
    last = calendar.monthrange(local.year, local.month)[1]
    begin, end = (last + day + 1 if day < 0 else day for day in days)
    if begin > last:
        return False
    return min(max(begin, -last), last) <= local.day <= min(max(end, -last), last)


def parse(given: Mapping[str, Any]) -> Interval:
    """One alternative, as it stands in a configuration; IntervalError when a part cannot be read."""
    unknown = set(given) - {"times", "days_of_month", "months", "weekdays", "years", "location"}
    if unknown:
        raise IntervalError(f"unknown key {sorted(unknown)[0]!r}")
    try:
        return Interval(
            minutes=tuple((_minute(one["start_time"]), _minute(one["end_time"])) for one in given.get("times") or ()),
            days=tuple(_numbers(str(one)) for one in given.get("days_of_month") or ()),
            months=tuple(_named(str(one), MONTHS, 1) for one in given.get("months") or ()),
            weekdays=tuple(_named(str(one), WEEKDAYS, 0) for one in given.get("weekdays") or ()),
            years=tuple(_numbers(str(one)) for one in given.get("years") or ()),
            location=ZoneInfo(str(given.get("location") or "UTC")),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise IntervalError(f"cannot be read: {error}") from error


def _minute(text: object) -> int:
    if isinstance(text, int):  # YAML 1.1 reads 16:00 as 960: minutes, as it happens
        return text
    hour, _, minute = str(text).partition(":")
    found = int(hour) * 60 + int(minute)
    if not 0 <= found <= 1440:
        raise ValueError(f"{text!r} is not a time of day")
    return found


def _numbers(text: str) -> Range:
    begin, _, end = text.partition(":")
    return int(begin), int(end or begin)


def _named(text: str, names: Sequence[str], first: int) -> Range:
    def number(part: str) -> int:
        if part.lstrip("-").isdigit():
            return int(part)
        return names.index(part.lower()) + first

    begin, _, end = text.partition(":")
    return number(begin), number(end or begin)
