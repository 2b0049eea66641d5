"""When a CronJob is due in its time zone, as the library of Kubernetes' controller reads it: robfig/cron 3.0.1."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from midwatch.spec import cron

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.+)", re.DOTALL)
_EVERY = re.compile(r"@every\s+((?:\d+(?:\.\d+)?(?:h|ms|m|s))+)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SEARCHED = timedelta(days=5 * 366)
"""A leap day comes once in eight years at worst; the controller gives up after five, and so does this."""

Next = Callable[[float], float]
"""The first time that is due after another, both in seconds since 1970."""


@lru_cache(maxsize=4096)
def schedule(text: str, zone: str) -> Next:
    """A schedule whose hours are those of `zone`, unless it names its own. ValueError for what is no schedule."""
    if own := _ZONE.fullmatch(text.strip()):
        zone, text = own.groups()
    if every := _EVERY.fullmatch(text.strip()):
        return partial(_after_pause, _seconds(every[1]))
    fields = _NAMED.get(text.strip(), text).split()
    days = [re.sub(r"^\?", "*", field) for field in fields]
    return partial(_next, cron.parse(" ".join(days)), _zone(zone))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def _seconds(text: str) -> float:
    """Seconds of a Go duration such as `1h30m`, rounded down and at least one (constantdelay.go, Every)."""
    total = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text))
    return max(1.0, float(int(total)))


def _after_pause(seconds: float, after: float) -> float:
    return float(int(after)) + seconds


def _next(told: cron.Schedule, zone: ZoneInfo, after: float) -> float:
    """The first minute of the schedule after a time. What the clocks repeat is due twice, what they skip never."""
    moment = float(int(after) // 60 * 60 + 60)
    end = after + _SEARCHED.total_seconds()
    while moment < end:
        local = datetime.fromtimestamp(moment, zone)
        if not told.is_day(local.date()):
            morrow = local.date() + timedelta(days=1)
            moment = max(moment + 60, datetime(morrow.year, morrow.month, morrow.day, tzinfo=zone).timestamp())
        elif local.hour not in told.hours:
            moment += 60 * (60 - local.minute)
        elif local.minute not in told.minutes:
            moment += 60
        else:
            return moment
    raise ValueError("it never is time, or not within five years")
