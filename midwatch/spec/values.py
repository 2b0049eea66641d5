"""Durations, percentages and sizes as people write them, parsed once into seconds, ratios and bytes."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
    "w": Decimal(604800),
}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+)\s*(B|kB|MB|GB|KiB|MiB|GiB)")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `250ms`, `15m` or `1h30m`; ValueError if it is not one.

    >>> parse_duration("1h30m")
    5400.0
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, such as 250ms, 15m or 30d")
    return float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def parse_percentage(text: str) -> Decimal:
    """Ratio from 0 to 1 of a percentage such as `99.9%`, exactly; ValueError if it is not one.

    >>> parse_percentage("99.9%")
    Decimal('0.999')
    """
    if not isinstance(text, str) or not text.endswith("%"):
        raise ValueError(f"{text!r} is not a percentage; write one with its sign, such as 99.9%")
    try:
        ratio = Decimal(text[:-1].strip()) / 100
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a percentage; write one with its sign, such as 99.9%") from error
    if not ratio.is_finite() or not 0 <= ratio <= 1:
        raise ValueError(f"{text} is not between 0% and 100%")
    return ratio


def parse_objective(text: str) -> Decimal:
    """Ratio of an objective such as `99.9%`, strictly between 0 and 1; ValueError otherwise."""
    ratio = parse_percentage(text)
    if not 0 < ratio < 1:
        raise ValueError(f"{text} is not between 0% and 100% (exclusive)")
    return ratio


def parse_size(text: str) -> int:
    """Bytes of a size such as `16MiB`; ValueError if it is not one.

    >>> parse_size("16MiB")
    16777216
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number and a unit, such as 512KiB or 16MiB")
    return int(match[1]) * _BYTES[match[2]]


def format_duration(seconds: float) -> str:
    """Shortest whole-unit duration that PromQL reads, such as `90s` or `1h`.

    >>> format_duration(3600.0), format_duration(0.25)
    ('1h', '250ms')
    """
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def describe_duration(seconds: float) -> str:
    """A duration as it is shown to people: its two largest units, or a number of seconds below a minute.

    >>> describe_duration(7783200.0), describe_duration(90.0), describe_duration(12.345), describe_duration(0.25)
    ('90d2h', '1m30s', '12.3 s', '250 ms')
    """
    if abs(seconds) < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds else "0 s"
    if abs(seconds) < 59.95:
        return f"{seconds:.3g} s"
    total = round(abs(seconds))
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    index = next(number for number, (_, size) in enumerate(units) if total >= size)
    (unit, size), (lesser, step) = units[index : index + 2]
    count, rest = divmod(round(total / step) * step, size)
    return ("-" if seconds < 0 else "") + f"{count}{unit}" + (f"{rest // step}{lesser}" if rest else "")


def format_percentage(ratio: Decimal) -> str:
    """A ratio as it is written in a platform file.

    >>> format_percentage(Decimal("0.9990"))
    '99.9%'
    """
    return f"{ratio * 100:f}".rstrip("0").rstrip(".") + "%" if ratio % 1 else f"{ratio * 100:.0f}%"


def format_size(size: int) -> str:
    """A size in the largest unit that divides it, such as `16MiB`.

    >>> format_size(16777216)
    '16MiB'
    """
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def _unless(kind: type, parse: Any, written: str) -> BeforeValidator:
    """Parse text of a pattern; let a value that is parsed already (a default) pass."""
    text = Annotated[str, Field(pattern=written)]
    return BeforeValidator(lambda value: value if type(value) is kind else parse(value), json_schema_input_type=text)


DURATION_PATTERN = f"^{_DURATION.pattern}$"
PERCENTAGE_PATTERN = r"^\d+(\.\d+)? ?%$"
SIZE_PATTERN = f"^{_SIZE.pattern}$"


def _ensure_some_duration(seconds: float) -> float:
    """The seconds; ValueError for none."""
    if seconds <= 0:
        raise ValueError("0s is no time; write more, such as 1s")
    return seconds


Duration = Annotated[float, _unless(float, parse_duration, DURATION_PATTERN)]
SomeDuration = Annotated[Duration, AfterValidator(_ensure_some_duration)]
"""A duration that cannot be none: something is done so often, or waited for so long."""
Ratio = Annotated[Decimal, _unless(Decimal, parse_percentage, PERCENTAGE_PATTERN)]
Objective = Annotated[Decimal, _unless(Decimal, parse_objective, PERCENTAGE_PATTERN)]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=Annotated[str, Field(pattern=SIZE_PATTERN)])]


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAMESPACED_NAME_PATTERN = rf"^{_LABEL}/{_LABEL}(\.{_LABEL})*$"
NamespacedName = Annotated[str, Field(max_length=317, pattern=NAMESPACED_NAME_PATTERN)]
"""NAMESPACE/NAME of an object in a cluster: 63 characters, and 253 (Kubernetes, "Object Names and IDs")."""
