"""Servers of this machine at the addresses that the platform file has for them elsewhere, as an overlay over the file.

The file says where MLflow is in production; `midwatch up` starts one on a free port, and whoever reads the file has to
find that. Pure; writing the overlay is the stack's job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def overlay(values: Mapping[str, Any], here: Mapping[str, str]) -> dict[str, Any]:
    """What differs from a platform file's values when each HOST:PORT is the one of this machine; empty for nothing.

    >>> overlay({"systems": {"mlflow": {"observe": {"url": "http://mlflow:5000", "interval": "5s"}}}},
    ...         {"mlflow:5000": "127.0.0.1:2000"})
    {'systems': {'mlflow': {'observe': {'url': 'http://127.0.0.1:2000'}}}}
    """
    if not here:
        return {}
    named = "|".join(map(re.escape, sorted(here, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w.-])(?:{named})(?!\d)")
    # What is of this machine alone, such as the servers' commands, has its addresses already.
    found = {key: value for key, value in values.items() if key != "local"}
    changed = _changed(found, lambda text: pattern.sub(lambda match: here[match[0]], text))
    return changed if isinstance(changed, dict) else {}


_SAME = object()
"""A value in which nothing is replaced."""


def _changed(value: Any, replace: Any) -> Any:
    """The value with what is replaced in it, of sections and named entries only those parts; `_SAME` without any."""
    if isinstance(value, str):
        replaced = replace(value)
        return _SAME if replaced == value else replaced
    if isinstance(value, dict):
        parts = {key: changed for key, one in value.items() if (changed := _changed(one, replace)) is not _SAME}
        return parts or _SAME
    if isinstance(value, list):
        return _changed_list(value, replace)
    return _SAME


def _changed_list(entries: list[Any], replace: Any) -> Any:
    changed = [_changed(one, replace) for one in entries]
    if all(one is _SAME for one in changed):
        return _SAME
    if all(isinstance(one, dict) and "name" in one for one in entries):  # an overlay finds these by their names
        return [
            {"name": one["name"], **new} for one, new in zip(entries, changed, strict=True) if isinstance(new, dict)
        ]
    return [one if new is _SAME else _whole(one, replace) for one, new in zip(entries, changed, strict=True)]


def _whole(value: Any, replace: Any) -> Any:
    """A value with everything in it, replaced or not: an overlay replaces lists of what has no name."""
    if isinstance(value, str):
        return replace(value)
    if isinstance(value, dict):
        return {key: _whole(one, replace) for key, one in value.items()}
    return [_whole(one, replace) for one in value] if isinstance(value, list) else value
