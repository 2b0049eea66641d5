"""Time intervals as Alertmanager takes them: none crosses midnight, and once-only maintenance is days and times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from midwatch.spec import model as spec
from midwatch.spec.routing import MONTHS, WEEKDAYS, Maintenance, TimeInterval


def time_intervals(platform: spec.Platform, used: set[str]) -> list[dict[str, Any]]:
    """Those that routes use, by name."""
    found = {name: list(_recurring(one)) for name, one in platform.time_intervals.items()}
    found |= {one.name: list(_once(one)) for one in platform.maintenance if one.interval is None}
    return [{"name": name, "time_intervals": found[name]} for name in sorted(found) if name in used]


def _recurring(interval: TimeInterval) -> Iterator[dict[str, Any]]:
    """The interval's times of the same day; then what of them goes on after midnight, a weekday later."""
    same_day = [_range(one.from_, one.to) for one in interval.times if one.from_ < one.to]
    same_day += [_range(one.from_, "24:00") for one in interval.times if one.to < one.from_ != "24:00"]
    next_day = [_range("00:00", one.to) for one in interval.times if one.to < one.from_ and one.to != "00:00"]
    if same_day or not interval.times:
        yield _filled(interval, same_day, interval.weekdays)
    if next_day:
        yield _filled(interval, next_day, [_day_after(days) for days in interval.weekdays])


def _range(begin: str, end: str) -> dict[str, str]:
    return {"start_time": begin, "end_time": end}


def _day_after(days: str) -> str:
    return ":".join(WEEKDAYS[(WEEKDAYS.index(day) + 1) % 7] for day in days.split(":"))


def _filled(interval: TimeInterval, times: list[dict[str, str]], weekdays: list[str]) -> dict[str, Any]:
    split = [part for days in weekdays for part in _in_order(days)]
    found: dict[str, Any] = {
        "times": times,
        "weekdays": split,
        "days_of_month": interval.days_of_month,
        "months": interval.months,
        "years": interval.years,
    }
    kept = {key: value for key, value in found.items() if value}
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
            "times": [_range(f"{at:%H:%M}", until)],
            "days_of_month": [str(at.day)],
            "months": [MONTHS[at.month - 1]],
            "years": [str(at.year)],
        }
        at = midnight
