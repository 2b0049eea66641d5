"""Writes the time intervals of a platform for Alertmanager, and tells whether any time interval is now.

None that is written crosses midnight, and maintenance that happens once is days and times. Reading does the arithmetic
of Alertmanager's `timeinterval` package, location included.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from midwatch.spec.model import Platform
from midwatch.spec.routing import MONTHS, WEEKDAYS, Maintenance, TimeInterval

# Reading -------------------------------------------------------------------------------------------------------------

Range = tuple[int, int]

LOCAL = "Local"
"""Location that stands for the zone of the machine."""

SHORTEST_MONTH = 28
"""Days of a month that every range has to fit into."""

_NUMBER = re.compile(r"[-+]?\d+")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")


class IntervalError(ValueError):
    """A time interval that Alertmanager does not read."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One alternative of a time interval. Ranges include their ends, but for minutes of the day; empty is always.

    A `location` of None is the zone of the machine that Alertmanager runs on.
    """

    minutes: tuple[Range, ...] = ()
    days: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    location: tzinfo | None = UTC

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
    """One alternative, as it stands in a configuration; IntervalError when Alertmanager would not read a part."""
    location = str(given.get("location") or "UTC")
    return Interval(
        minutes=tuple(_times(one) for one in _listed(given, "times")),
        days=tuple(_days(str(one)) for one in _listed(given, "days_of_month")),
        months=tuple(_months(str(one)) for one in _listed(given, "months")),
        weekdays=tuple(_named(str(one), WEEKDAYS, "weekday") for one in _listed(given, "weekdays")),
        years=tuple(_years(str(one)) for one in _listed(given, "years")),
        location=None if location == LOCAL else _zone(location),
    )


def _listed(given: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = given.get(key)
    return [one for one in value if one is not None] if isinstance(value, list) else ()


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise IntervalError(f"there is no time zone {name!r}") from error


def _times(given: object) -> Range:
    """Minutes of the day; the end is not part of it."""
    times = given if isinstance(given, Mapping) else {}
    if not (times.get("start_time") and times.get("end_time")):
        raise IntervalError("start_time and end_time go together")
    begin, end = _minute(str(times["start_time"])), _minute(str(times["end_time"]))
    if begin >= end:
        raise IntervalError(
            f"{times['start_time']} to {times['end_time']} ends before it begins: write two, of which one ends at 24:00"
        )
    return begin, end


def _minute(text: str) -> int:
    if not _TIME.fullmatch(text):
        raise IntervalError(f"{text!r} is not a time of day: two digits, a colon and two digits, as in 08:00")
    return int(text[:2]) * 60 + int(text[3:])


def _ends(text: str) -> tuple[str, str]:
    """Begin and end of a range; of one value, twice the same."""
    parts = text.lower().split(":")
    if len(parts) > 2:
        raise IntervalError(f"{text!r} is not a range")
    return parts[0], parts[-1]


def _number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise IntervalError(f"{text!r} is not a {what}")
    return int(text)


def _days(text: str) -> Range:
    """Days of the month: from the first on, or with a minus from the last back."""
    begin, end = (_number(part, "day of the month") for part in _ends(text))
    for day in (begin, end):
        if not 1 <= abs(day) <= 31:
            raise IntervalError(f"{day} is not a day of the month")
    if begin < 0 < end:
        raise IntervalError(f"{text} begins before the month's end and ends after its begin")
    if begin > (end if (begin > 0) == (end > 0) else SHORTEST_MONTH + end):
        raise IntervalError(f"{text} ends before it begins")
    return begin, end


def _months(text: str) -> Range:
    """Months by name or number; Alertmanager does not say when there is no such number."""
    parts = _ends(text)
    begin, end = (int(part) if _NUMBER.fullmatch(part) else _index(part, MONTHS, "month") + 1 for part in parts)
    if begin > end:
        raise IntervalError(f"{text} ends before it begins: write two ranges")
    return begin, end


def _years(text: str) -> Range:
    begin, end = (_number(part, "year") for part in _ends(text))
    if begin > end:
        raise IntervalError(f"{text} ends before it begins")
    return begin, end


def _named(text: str, names: Sequence[str], what: str) -> Range:
    begin, end = (_index(part, names, what) for part in _ends(text))
    if begin > end:
        raise IntervalError(f"{text} ends before it begins: Alertmanager's week begins on Sunday; write two ranges")
    return begin, end


def _index(text: str, names: Sequence[str], what: str) -> int:
    if text not in names:
        raise IntervalError(f"{text!r} is not a {what}; they are named, as in {names[1]}")
    return names.index(text)


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
