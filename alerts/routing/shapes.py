"""Checks the shape of an Alertmanager configuration: unknown keys, and values that are not what their field takes.

Which fields there are is `midwatch.spec.alertmanager_fields`; here stands what a value of each shape looks like.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import re2

from alerts import verbatim
from midwatch.spec.alertmanager_fields import NEWEST, STRUCTS, Version
from midwatch.spec.base import Finding, Place

_DURATION = re.compile(r"(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?")
_SECONDS = {"y": 31536000.0, "w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_GO_DURATION = re.compile(r"[-+]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+)")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*")
_QUIET = re2.Options()
_QUIET.log_errors = False


def seconds(text: str) -> float | None:
    """Seconds of a duration as Prometheus and Alertmanager write it, units from large to small; None when it is none.

    >>> seconds("1h30m"), seconds("0"), seconds("30m1h")
    (5400.0, 0.0, None)
    """
    if text == "0":
        return 0.0
    if not text or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)(ms|[ywdhms])", text))


# Scalars -------------------------------------------------------------------------------------------------------------


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        return f"{value!r} is not an address"
    if parts.scheme not in ("http", "https"):
        return f"{value!r} is not an http or https address"
    return "" if parts.netloc and not re.search(r"[\s<>]", parts.netloc) else f"{value!r} has no host"


def _any_address(value: str) -> str:
    """Whether Go's net/url reads a text, which may be a path: a colon in its first part ends a scheme, if it is one."""
    scheme, colon, _ = value.partition("/")[0].partition(":")
    return f"{value!r} is not an address" if colon and not _SCHEME.fullmatch(scheme) else ""


def _webhook_address(value: str) -> str:
    return "" if "{{" in value or value == "<secret>" else _address(value)


def _secret_address(value: str) -> str:
    return "" if value == "<secret>" else _address(value)


def _host_port(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not value or (colon and port and (":" not in host or (host.startswith("[") and host.endswith("]")))):
        return ""
    return f"{value!r} is not host:port"


def _pattern(value: str) -> str:
    try:
        re2.compile(f"^(?:{value})$", _QUIET)
    except re2.error as error:
        return f"{value!r} is not a pattern of RE2: {error}"
    return ""


def _truth(value: str) -> str:
    return "" if verbatim.truth(value) is not None else f"{value!r} is not true or false"


def _integer(value: str) -> str:
    return "" if verbatim.whole_number(value) is not None else f"{value!r} is not a whole number"


def _count(value: str) -> str:
    return _integer(value) if not value.startswith("-") else f"{value!r} is below zero"


def _duration(value: str) -> str:
    return "" if seconds(value) is not None else f"{value!r} is not a duration, such as 30s or 1h30m"


def _go_duration(value: str) -> str:
    is_number = verbatim.whole_number(value) is not None
    return "" if is_number or _GO_DURATION.fullmatch(value) else f"{value!r} is not a duration, such as 30s"


_SCALARS: dict[str, Callable[[str], str]] = {
    "text": lambda _: "",
    "secret": lambda _: "",
    "any_url": _any_address,
    "url": _address,
    "secret_url": _secret_address,
    "webhook_url": _webhook_address,
    "host_port": _host_port,
    "pattern": _pattern,
    "bool": _truth,
    "integer": _integer,
    "count": _count,
    "duration": _duration,
    "go_duration": _go_duration,
    "go_duration_text": lambda value: "" if _GO_DURATION.fullmatch(value) else f"{value!r} is not a duration",
}

MAY_BE_EMPTY = frozenset({"interval", "time_range", "inhibition"})
"""Mappings of a list that may be nothing; of others Alertmanager panics."""

MAY_BE_TEXT = frozenset({"jira_text"})
"""Mappings that may be a single text instead."""

NESTED_DETAILS: Version = (0, 31)
"""First Alertmanager whose details for PagerDuty may be lists and mappings."""


# The whole -----------------------------------------------------------------------------------------------------------


def problems(values: Mapping[str, Any], version: Version) -> Iterator[Finding]:
    """Everything in a configuration that is not the shape its field takes; fields of later versions are let through."""
    yield from _struct(values, "config", (), version)


def newer(values: Mapping[str, Any], version: Version) -> Iterator[tuple[Place, str, Version]]:
    """Keys of a configuration that came after a version: their place, name, and the version that brought them."""
    yield from _newer(values, "config", (), version)


def _newer(value: Any, shape: str, place: Place, version: Version) -> Iterator[tuple[Place, str, Version]]:
    if shape.startswith("[") and isinstance(value, list):
        for index, one in enumerate(value):
            yield from _newer(one, shape[1:-1], (*place, index), version)
    elif isinstance(value, Mapping) and shape in STRUCTS:
        for key, inner in value.items():
            field = STRUCTS[shape].get(key)
            if field is None or inner is None:
                continue
            if field.since > version:
                yield (*place, key), key, field.since
            else:
                yield from _newer(inner, field.shape, (*place, key), version)


def _struct(given: Any, name: str, place: Place, version: Version) -> Iterator[Finding]:
    if not isinstance(given, Mapping):
        yield place, "not a mapping", "write its keys and values"
        return
    fields = STRUCTS[name]
    for key, value in given.items():
        if key in fields:
            yield from _value(value, fields[key].shape, (*place, key), version)
        elif version <= NEWEST:
            yield (*place, key), "unknown key", _suggestion(key, fields)


def _suggestion(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"did you mean {close[0]}?" if close else "remove it, or correct its name"


def _value(value: Any, shape: str, place: Place, version: Version) -> Iterator[Finding]:
    if value is None:
        if shape == "pattern":
            yield place, "has no value", "write a pattern, or remove the key"
        return
    if shape == "details":
        shape = "any" if version >= NESTED_DETAILS else "{text}"
    if shape == "any":
        return
    if shape.startswith("["):
        yield from _list(value, shape[1:-1], place, version)
    elif shape.startswith("{"):
        yield from _map(value, shape[1:-1], place, version)
    elif shape in MAY_BE_TEXT and isinstance(value, str):
        return
    elif shape in STRUCTS:
        yield from _struct(value, shape, place, version)
    elif not isinstance(value, str):
        yield place, "not a text" if shape not in ("bool", "integer") else "not a single value", "write one value"
    elif said := _SCALARS[shape](value):
        yield place, said, "correct it"


def _list(value: Any, shape: str, place: Place, version: Version) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield place, "not a list", "write it as a list, in brackets or with dashes"
        return
    for index, one in enumerate(value):
        if one is None and shape not in MAY_BE_EMPTY and shape in STRUCTS:
            yield (*place, index), "has no value", "write one, or remove the dash"
        else:
            yield from _value(one, shape, (*place, index), version)


def _map(value: Any, shape: str, place: Place, version: Version) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        yield place, "not a mapping", "write its keys and values"
        return
    for key, one in value.items():
        yield from _value(one, shape, (*place, key), version)
