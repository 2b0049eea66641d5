"""Writes the time intervals of a platform for Alertmanager, and tells whether any time interval is now.

None that is written crosses midnight, and maintenance that happens once is days and times. Reading does the arithmetic
of Alertmanager's `timeinterval` package, location included.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from midwatch.spec.model import Platform
from midwatch.spec.routing import MONTHS, WEEKDAYS, Maintenance, TimeInterval

# Reading -------------------------------------------------------------------------------------------------------------

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
    minutes = int(hour) * 60 + int(minute)
    if not 0 <= minutes <= 1440:
        raise ValueError(f"{text!r} is not a time of day")
    return minutes


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


# Writing -------------------------------------------------------------------------------------------------------------


def of_platform(platform: Platform, used: set[str]) -> list[dict[str, Any]]:
    """Time intervals of the platform that its routes use, by name."""
    intervals = {name: list(_recurring(interval)) for name, interval in platform.time_intervals.items()}
    intervals |= {one.name: list(_once(one)) for one in platform.maintenance if one.interval is None}
    return [{"name": name, "time_intervals": intervals[name]} for name in sorted(intervals) if name in used]


def _recurring(interval: TimeInterval) -> Iterator[dict[str, Any]]:
    """The interval's times of the same day; then what of them goes on after midnight, a weekday later."""
    same_day = [_time_range(one.from_, one.to) for one in interval.times if one.from_ < one.to]
    same_day += [_time_range(one.from_, "24:00") for one in interval.times if one.to < one.from_ != "24:00"]
    next_day = [_time_range("00:00", one.to) for one in interval.times if one.to < one.from_ and one.to != "00:00"]
    if same_day or not interval.times:
        yield _filled(interval, same_day, interval.weekdays)
    if next_day:
        yield _filled(interval, next_day, [_day_after(days) for days in interval.weekdays])


def _time_range(begin: str, end: str) -> dict[str, str]:
    return {"start_time": begin, "end_time": end}


def _day_after(days: str) -> str:
    return ":".join(WEEKDAYS[(WEEKDAYS.index(day) + 1) % 7] for day in days.split(":"))


def _filled(interval: TimeInterval, times: list[dict[str, str]], weekdays: list[str]) -> dict[str, Any]:
    split = [part for days in weekdays for part in _in_order(days)]
    parts: dict[str, Any] = {
        "times": times,
        "weekdays": split,
        "days_of_month": interval.days_of_month,
        "months": interval.months,
        "years": interval.years,
    }
    kept = {key: value for key, value in parts.items() if value}
    return kept | ({"location": interval.time_zone} if interval.time_zone != "UTC" else {})


def _in_order(days: str) -> Iterator[str]:
    """A range of weekdays that ends before it begins, in two: Alertmanager's week begins on Sunday."""
    first, _, last = days.partition(":")
    if last and WEEKDAYS.index(last) < WEEKDAYS.index(first):
        yield first if first == WEEKDAYS[-1] else f"{first}:{WEEKDAYS[-1]}"
        yield last if last == WEEKDAYS[0] else f"{WEEKDAYS[0]}:{last}"
    else:
        yield days


def _once(maintenance: Maintenance) -> Iterator[dict[str, Any]]:
    """A day each, in UTC, with the times of that day."""
    if maintenance.from_ is None or maintenance.to is None:
        raise AssertionError("the spec gives a maintenance without interval both its times")
    at, end = maintenance.from_.astimezone(UTC), maintenance.to.astimezone(UTC)
    while at < end:
        midnight = datetime(at.year, at.month, at.day, tzinfo=UTC) + timedelta(days=1)
        until = f"{end:%H:%M}" if end < midnight else "24:00"
        yield {
            "times": [_time_range(f"{at:%H:%M}", until)],
            "days_of_month": [str(at.day)],
            "months": [MONTHS[at.month - 1]],
            "years": [str(at.year)],
        }
        at = midnight
