"""A calendar month in a time zone, its hours, its nights and its shifts of twelve hours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from midwatch.errors import MidwatchError

HOUR = 3600.0
NIGHT = 22, 7
"""A page from ten in the evening until seven in the morning wakes somebody."""
SHIFTS = 8, 20
"""Shifts change at eight and at twenty o'clock (Google counts pages per shift of twelve hours)."""


@dataclass(frozen=True, kw_only=True)
class Month:
    """From `start` to `end`, aware times; a month that runs ends now."""

    name: str
    start: datetime
    end: datetime
    zone: ZoneInfo
    is_over: bool = True

    @property
    def first(self) -> float:
        """Begin, in seconds since the epoch."""
        return self.start.timestamp()

    @property
    def last(self) -> float:
        """End, in seconds since the epoch."""
        return self.end.timestamp()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.last - self.first

    def local(self, at: float) -> datetime:
        """A moment by the clock of its zone."""
        return datetime.fromtimestamp(at, self.zone)

    def is_night(self, at: float) -> bool:
        """Whether a moment is at night there."""
        hour = self.local(at).hour
        return hour >= NIGHT[0] or hour < NIGHT[1]

    def shift(self, at: float) -> str:
        """The shift that a moment is in: its day and its first hour."""
        local = self.local(at)
        begins = SHIFTS[0] if SHIFTS[0] <= local.hour < SHIFTS[1] else SHIFTS[1]
        day = local.date() - timedelta(days=local.hour < SHIFTS[0])
        return f"{day.isoformat()} {begins:02d}"

    @property
    def shifts(self) -> int:
        """How many shifts it has, rounded to whole ones."""
        return max(1, round(self.seconds / (12 * HOUR)))

    def before(self) -> Month:
        """The whole month before it."""
        return named(_name(self.start - timedelta(days=1)), self.zone, now=datetime.now(UTC))


def _name(day: datetime) -> str:
    return f"{day:%Y-%m}"


def named(name: str, zone: ZoneInfo, *, now: datetime) -> Month:
    """The month of a name such as `2026-10`; MidwatchError for one that is none or has not begun."""
    match = re.fullmatch(r"(\d{4})-(\d{2})", name)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise MidwatchError(f"--month: {name!r} is not a month such as 2026-10")
    year, month = int(match[1]), int(match[2])
    if not 1970 <= year < 9999:
        raise MidwatchError(f"--month: nobody has measured anything in {name}")
    start = datetime(year, month, 1, tzinfo=zone)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    if start >= now:
        raise MidwatchError(f"--month: {name} has not begun")
    is_over = end <= now
    return Month(name=name, start=start, end=end if is_over else now.astimezone(zone), zone=zone, is_over=is_over)


def last(zone: ZoneInfo, *, now: datetime) -> Month:
    """The month that ended last."""
    return named(_name(now.astimezone(zone).replace(day=1) - timedelta(days=1)), zone, now=now)
