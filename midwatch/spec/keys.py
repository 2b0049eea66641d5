"""The tables of every key of the platform file, in Markdown, made from the schema: one for each section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from midwatch.spec import schema, values

Node = dict[str, Any]

_REF = "#/$defs/"
_PATTERNS = {values.DURATION_PATTERN: "duration", values.PERCENTAGE_PATTERN: "share", values.SIZE_PATTERN: "size"}
_FORMATS = {"path": "file", "date-time": "time"}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "null": "", "object": "mapping"}


def tables() -> str:
    """Every section with its sentence and its keys: kind of the value, default, what it says."""
    document = schema.document()
    named = {_REF + name: node for name, node in document["$defs"].items()}
    sections = {"": document, **{name: node for name, node in named.items() if "properties" in node}}
    places = _places(sections)
    order = list(document["properties"])
    inner = sorted((name for name in places if name), key=lambda name: order.index(_top(places[name][0])))
    return "\n".join(_section(named, sections[name], places[name]) for name in ("", *inner))


def by_section() -> dict[str, list[str]]:
    """Keys of each section by its place, such as `models[].slos[]`; the file's own by an empty one."""
    document = schema.document()
    sections = {"": document, **{_REF + name: one for name, one in document["$defs"].items() if "properties" in one}}
    found: dict[str, set[str]] = {}
    for name, places in _places(sections).items():
        for place in places:
            found.setdefault(place, set()).update(sections[name]["properties"])
    return {place: sorted(keys) for place, keys in sorted(found.items())}


def _top(place: str) -> str:
    return re.split(r"[.\[]", place)[0]


def _places(sections: dict[str, Node]) -> dict[str, list[str]]:
    """Where each section may stand, as they are met from the top."""
    places: dict[str, list[str]] = {"": [""]}
    waiting = [""]
    for name in waiting:
        for key, value in sections[name]["properties"].items():
            for target, suffix in _targets(value):
                if target not in sections:
                    continue
                if target not in places:
                    waiting.append(target)
                places.setdefault(target, []).append(f"{places[name][0]}.{key}{suffix}".removeprefix("."))
    return places


def _targets(node: Node, suffix: str = "") -> Iterator[tuple[str, str]]:
    """What a value refers to, and how its place is written: a list's with `[]`, a map's with `.NAME`."""
    if "$ref" in node:
        yield node["$ref"], suffix
    for shape in _shapes(node):
        yield from _targets(shape, suffix)
    if isinstance(items := node.get("items"), dict):
        yield from _targets(items, suffix + "[]")
    for entry in _entries(node):
        yield from _targets(entry, suffix + ".NAME")


def _shapes(node: Node) -> list[Node]:
    return [*node.get("anyOf", ()), *node.get("oneOf", ())]


def _entries(node: Node) -> list[Node]:
    """What the entries of a map are, whose keys are the reader's own."""
    nodes = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    return [entry for entry in nodes if isinstance(entry, dict)]


def _section(named: dict[str, Node], node: Node, places: list[str]) -> str:
    required = node.get("required", ())
    title = ", ".join(f"`{place}`" for place in dict.fromkeys(places) if place) or "The file"
    tags = [
        f" with `{key}: {value['const']}`" for key, value in node["properties"].items() if _is_tag(key, value, node)
    ]
    lines = [f"### {title}{''.join(tags)}", ""]
    if sentences := " ".join(node.get("description", "").split()):
        lines += [sentences, ""]
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    for key, value in node["properties"].items():
        default = "required" if key in required else _default(value)
        sentence = "The kind of this section." if _is_tag(key, value, node) else _sentence(named, value)
        lines.append(f"| `{key}` | {_kind(named, value)} | {default} | {sentence} |")
    return "\n".join([*lines, ""])


def _is_tag(key: str, value: Node, node: Node) -> bool:
    """Whether a key says which of several sections this one is."""
    return "const" in value and key in node.get("required", ()) and key != "apiVersion"


def _sentence(named: dict[str, Node], node: Node) -> str:
    """The first sentence on a key, else on the one section that stands under it."""
    referred = {target for target, _ in _targets(node)}
    inner = named[next(iter(referred))].get("description", "") if len(referred) == 1 else ""
    text = " ".join((node.get("description") or inner).split())
    return re.split(r"(?<=\.) (?=[A-Z`])", text)[0].replace("|", "\\|")


def _default(node: Node) -> str:
    default = node.get("default")
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return ", ".join(f"`{one}`" for one in (default if isinstance(default, list) else [default]))


def _kind(named: dict[str, Node], node: Node) -> str:
    """What a value is, in words."""
    if shapes := _shapes(node):
        return " or ".join(dict.fromkeys(kind for shape in shapes if (kind := _kind(named, shape))))
    if "$ref" in node:
        target = named[node["$ref"]]
        return "section" if "properties" in target else _kind(named, target)
    if "items" in node:
        return f"list: {_kind(named, node['items'])}"
    if entries := _entries(node):
        return " or ".join(f"`NAME:` {_kind(named, entry)}" for entry in entries)
    return _kind_of_scalar(node)


def _kind_of_scalar(node: Node) -> str:
    if "enum" in node:
        return "on or off" if True in node["enum"] else ", ".join(f"`{one}`" for one in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    known = _PATTERNS.get(node.get("pattern", "")) or _FORMATS.get(node.get("format", ""))
    return known or _TYPES.get(node.get("type", ""), "any")
