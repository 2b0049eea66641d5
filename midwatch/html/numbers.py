"""Numbers and moments as people read them, each by its unit; what is not known is said to be so."""

from __future__ import annotations

import math
from datetime import UTC, datetime

UNKNOWN = "not known"
_SPANS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
_THOUSANDS = (("G", 1e9), ("M", 1e6), ("k", 1e4))


def number(value: float | None, unit: str = "") -> str:
    """A value by its unit: ratio, seconds, per_second, count, or plain with another unit behind it.

    >>> number(0.99731, "ratio"), number(0.0423, "seconds"), number(5400, "seconds"), number(12345, "count")
    ('99.73%', '42.3 ms', '1 h 30 min', '12,345')
    >>> number(1234.5, "per_second"), number(0.25), number(3, "nodes"), number(None), number(float("nan"))
    ('1,234/s', '0.25', '3 nodes', 'not known', 'not known')
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "ratio":
        return _ratio(value)
    if unit == "seconds":
        return span(value)
    if unit == "per_second":
        return f"{_plain(value)}/s"
    text = _plain(value)
    return f"{text} {unit}" if unit and unit != "count" else text


def _ratio(value: float) -> str:
    """A share in percent; near 0 and near 1 with the digits that tell it from them."""
    percent = value * 100
    rest = min(abs(percent), abs(100 - percent))
    places = 0 if rest == 0 else min(6, max(1, 1 - math.floor(math.log10(rest)))) if rest < 1 else 1
    if 1 <= rest < 5:
        places = 2
    text = f"{percent:.{places}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def _plain(value: float) -> str:
    size = abs(value)
    if value == round(value) and size < 1e7:
        return f"{value:,.0f}"
    for sign, step in _THOUSANDS:
        if size >= step * (1 if sign != "k" else 10):
            return f"{value / step * (1 if sign != 'k' else 10):.3g} {sign}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def span(seconds: float | None) -> str:
    """A duration by its two largest units.

    >>> span(0), span(0.25), span(12.34), span(59.99), span(3725), span(200_000), span(-90)
    ('0 s', '250 ms', '12.3 s', '1 min', '1 h 2 min', '2 d 8 h', '-1 min 30 s')
    """
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if math.isinf(seconds):
        return "∞" if seconds > 0 else "-∞"
    size = abs(seconds)
    sign = "-" if seconds < 0 else ""
    if size < 0.9995:
        return f"{sign}{size * 1000:.3g} ms" if size else "0 s"
    if size < 59.95:
        return f"{sign}{size:.3g} s"
    total = round(size)
    index = next(place for place, (_, step) in enumerate(_SPANS) if total >= step)
    (unit, step), (lesser, part) = _SPANS[index : index + 2]
    count, rest = divmod(round(total / part) * part, step)
    return f"{sign}{count} {unit}" + (f" {rest // part} {lesser}" if rest else "")


def moment(at: float | None) -> str:
    """A moment in UTC, from unix seconds.

    >>> moment(1767225600.0)
    '2026-01-01 00:00:00Z'
    """
    if at is None or not math.isfinite(at):
        return UNKNOWN
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def iso(at: float) -> str:
    """A moment in UTC as the `datetime` of a `time` element wants it.

    >>> iso(1767225600.0)
    '2026-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: float, within: float) -> str:
    """A moment on an axis that spans `within` seconds: by the clock within a day and a half, else by the date.

    >>> clock(1767225600.0, 600), clock(1767225600.0, 3600), clock(1767225600.0, 864000)
    ('00:00:00', '00:00', '01-01')
    """
    pattern = "%H:%M:%S" if within <= 900 else "%H:%M" if within <= 129_600 else "%m-%d"
    return datetime.fromtimestamp(at, UTC).strftime(pattern)
