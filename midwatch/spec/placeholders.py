"""Placeholders in the texts of a shipped system: `<setting>`, arithmetic on one, and `<counted X over W>`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta

from midwatch.spec.values import format_duration, parse_duration

Value = str | float | timedelta
"""Text, a number, or a duration."""

STEP = timedelta(seconds=15)
"""Time between two samples of a proof's series."""

_PLACEHOLDER = re.compile(
    r"<(?P<name>[a-z][a-z0-9_]*)(?: (?P<sign>[+*]) (?P<operand>\d[\d.a-z]*))?(?::(?P<form>seconds|steps))?>"
)
_COUNTED = re.compile(r"<counted (?P<series>.+?) over (?P<window><[^<>]*>|[^<>]+)>", re.DOTALL)

_COUNTED_AS = (
    "(increase({series}[{window}])"
    " or label_replace("
    "group without () ({series}) unless group without () ({series} offset {window})"
    ' and on (job, instance) (up{{job="<job>"}} offset {window} == 1)'
    ', "born", "1", "", ""))'
)
"""Increase of counters that are born at 1, to be summed: `increase` of a new series is 0, so its birth counts for 1.

A series is new when its target was scraped a window ago and the series was not there.
"""


class PlaceholderError(ValueError):
    """A placeholder that cannot be filled in."""


def names(text: str) -> set[str]:
    """Names of a text's placeholders.

    >>> sorted(names('x{job="<job>"} > <limit:seconds>'))
    ['job', 'limit']
    """
    return {match["name"] for match in _PLACEHOLDER.finditer(_counted(text))}


def filled(text: str, values: Mapping[str, Value], *, quoted: bool = False) -> str:
    """Text with every placeholder replaced; `quoted` escapes values for a string of PromQL.

    Raises PlaceholderError for a name without a value, and for arithmetic or a form that does not fit the value.

    >>> filled("for <wait + 5m>, <wait:seconds> s", {"wait": timedelta(minutes=10)})
    'for 15m, 600 s'
    """

    def one(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in values:
            raise PlaceholderError(f"<{name}> is no setting")
        value = _computed(values[name], match["sign"], match["operand"], match[0])
        replacement = _text(value, match["form"], match[0])
        return replacement.replace("\\", "\\\\").replace('"', '\\"') if quoted else replacement

    return _PLACEHOLDER.sub(one, _counted(text))


def _counted(text: str) -> str:
    return _COUNTED.sub(lambda match: _COUNTED_AS.format(**match.groupdict()), text)


def _computed(value: Value, sign: str | None, operand: str | None, whole: str) -> Value:
    if sign is None or operand is None:
        return value
    try:
        if isinstance(value, timedelta):
            return value * float(operand) if sign == "*" else value + timedelta(seconds=parse_duration(operand))
        if isinstance(value, float):
            return value * float(operand) if sign == "*" else value + float(operand)
    except ValueError as error:
        raise PlaceholderError(f"{whole}: {error}") from error
    raise PlaceholderError(f"{whole}: a text cannot be computed with")


def _text(value: Value, form: str | None, whole: str) -> str:
    if form is not None and not isinstance(value, timedelta):
        raise PlaceholderError(f"{whole}: only a duration has {form}")
    if form == "steps" and isinstance(value, timedelta):
        return str(math.ceil(value / STEP))
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.12g}" if form else format_duration(value.total_seconds())
    return f"{value:.12g}" if isinstance(value, float) else value
