"""Moments as text: RFC 3339 in UTC, to and from seconds since the epoch."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from midwatch.errors import Problem

EARLIEST, LATEST = 0.0, datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Times that are told and understood: what is before 1970 or after the year 9998 is no time of an analysis."""


def moment(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond where there is one.

    >>> moment(0.5), moment(60.0)
    ('1970-01-01T00:00:00.500Z', '1970-01-01T00:01:00Z')
    """
    when = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    precision = "milliseconds" if when.microsecond else "seconds"
    return when.isoformat(timespec=precision).replace("+00:00", "Z")


def parse_moment(text: str) -> float:
    """Seconds since the epoch of RFC 3339 text with a time zone, or of a number; ValueError otherwise.

    It is between EARLIEST and LATEST, so that it can be told and computed with.
    """
    seconds = _seconds(text)
    if not EARLIEST <= seconds < LATEST:
        raise ValueError(f"{text!r} is not between the years 1970 and 9999")
    return seconds


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not a time")
        return number
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time; write one such as 2026-01-31T12:00:00Z") from error
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add Z for UTC")
    return when.timestamp()


def stretch(start: str | None, end: str | None) -> tuple[float | None, float | None, list[Problem]]:
    """Times of `--start` and `--end` where they are given, and what is wrong with them."""
    problems: list[Problem] = []
    times: dict[str, float | None] = {}
    for name, text in (("--start", start), ("--end", end)):
        try:
            times[name] = None if text is None else parse_moment(text)
        except ValueError as error:
            problems.append(Problem(file=name, message=str(error)))
    begin, until = times.get("--start"), times.get("--end")
    if begin is not None and until is not None and until <= begin:
        problems.append(Problem(file="--end", message="not after --start"))
    return begin, until, problems
