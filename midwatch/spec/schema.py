"""The JSON schema of the platform file, for editors: form and kinds of values, as they are written in YAML.

What only several sections together show (names that lead nowhere, a quorum above the methods) is `midwatch check`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from midwatch.spec import values
from midwatch.spec.model import Platform

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TRUTH = [True, False, "on", "off", "yes", "no"]
"""Midwatch reads YAML 1.1, where `off` is false; an editor that reads YAML 1.2 sees a text."""

_WRITTEN: dict[str, Callable[[Any], str]] = {
    values.DURATION_PATTERN: values.format_duration,
    values.PERCENTAGE_PATTERN: lambda ratio: values.format_percentage(Decimal(ratio)),
    values.SIZE_PATTERN: values.format_size,
}
"""How a default is written, by the pattern of its texts."""


def document() -> dict[str, Any]:
    """The schema as JSON values."""
    schema = _as_written(Platform.model_json_schema(by_alias=True))
    return {"$schema": DIALECT, "title": "Midwatch platform file", **schema}


def _as_written(node: Any) -> Any:
    """A node of pydantic's schema, with defaults as people write them, and without titles made of keys."""
    if isinstance(node, list):
        return [_as_written(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    written = {key: _as_written(inner) for key, inner in node.items() if not _is_noise(key, inner)}
    if written.get("type") == "boolean":
        written = {"enum": _TRUTH} | {key: inner for key, inner in written.items() if key != "type"}
    if "default" in node and "default" in written:
        written["default"] = _default(node)
    return written


def _is_noise(key: str, inner: Any) -> bool:
    """Titles, and defaults that are a whole section: each of its keys says its own."""
    return (key == "title" and isinstance(inner, str)) or (
        key == "default" and (inner is None or isinstance(inner, dict))
    )


def _default(node: dict[str, Any]) -> Any:
    default = node["default"]
    for shape in (node, *node.get("anyOf", ())):
        write = _WRITTEN.get(shape.get("pattern", ""))
        if write is not None:
            return write(default)
    return default
