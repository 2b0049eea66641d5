"""PromQL that says which week, month or quarter it is in a time zone, and needs no data for it.

PromQL knows UTC only, so a zone's offset is the first of the years below plus a step at every change of its clocks,
from the IANA data. After the last of these years the clocks are taken to stay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from midwatch.promql import Expr
from midwatch.spec.slo import CalendarPeriod

FIRST_YEAR, LAST_YEAR = 2025, 2045
_MONDAY_SECONDS = 3 * 86400
"""1970 began on a Thursday: so far was the Monday of its week."""


@cache
def clock_changes(zone: str) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Offset from UTC at the first year's begin, and each change after: seconds since 1970, and seconds by which."""
    info = ZoneInfo(zone)

    def offset(second: int) -> int:
        shift = datetime.fromtimestamp(second, UTC).astimezone(info).utcoffset()
        return int((shift or timedelta()).total_seconds())

    begin = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp())
    changes = []
    for day in range(begin, end, 86400):
        before, after = offset(day), offset(day + 86400)
        if before != after:
            low, high = day, day + 86400
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if offset(middle) == after else (middle, high)
            changes.append((high, after - before))
    return offset(begin), tuple(changes)


def period_id(period: CalendarPeriod) -> Expr:
    """A number that every instant of the same week, month or quarter has, and no other.

    The instant at which one begins still counts to the one before: it stands for the five minutes up to it.
    """
    base, changes = clock_changes(period.time_zone)
    terms = ["time()", *([f"{base:+d}"] if base else [])]
    local = terms[0] + "".join(f" {term[0]} {term[1:]}" for term in terms[1:]) + " - 1"
    for at, by in changes:
        local += f" {'-' if by < 0 else '+'} {abs(by)} * (time() >= bool {at})"
    if period.calendar == "week":
        return Expr(f"floor((vector({local}) + {_MONDAY_SECONDS}) / 604800)")
    if period.calendar == "month":
        return Expr(f"year(vector({local})) * 12 + month(vector({local}))", 2)
    return Expr(f"year(vector({local})) * 4 + floor((month(vector({local})) - 1) / 3)", 2)
