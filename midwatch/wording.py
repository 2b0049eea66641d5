"""Values as people read them in reports: never the representation of a programming language, and never cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_words(value: Any) -> str:
    """A value of a JSON document in words.

    >>> in_words({"met": True, "short": ["availability", 0.25], "alert": None})
    'met: yes, short: availability; 0.25, alert: nothing'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], {}, ()):
        return "nothing"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_inside(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return "; ".join(_inside(inner) for inner in value)
    return str(value)


def _inside(value: Any) -> str:
    """A value inside another: what has parts of its own is set apart."""
    return f"({in_words(value)})" if isinstance(value, Mapping) and value else in_words(value)
