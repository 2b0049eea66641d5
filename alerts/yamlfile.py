"""YAML as it is written to files: one document, keys in the order given, no aliases, long expressions on one line.

Written by hand because PyYAML takes two thirds of the time of rendering a thousand objectives; reading is PyYAML's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][\w./-]*( [\w./-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"})
"""Texts that YAML 1.1 reads as something else."""
_ODD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def dump(document: Mapping[str, Any]) -> str:
    """Text of a document of mappings, lists, texts, numbers and truth values."""
    return "".join(f"{line}\n" for line in _lines(document, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{indent}{_scalar(key)}:", inner, indent)
        return
    for inner in value:
        if isinstance(inner, (Mapping, list)) and inner:
            first, *rest = _lines(inner, indent + "  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", inner, indent)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    """A key or a dash, and its value beside or below it. A list stands under its key's own column."""
    if isinstance(value, (Mapping, list)) and value:
        yield head
        yield from _lines(value, indent if isinstance(value, list) else indent + "  ")
    elif isinstance(value, str) and "\n" in value.rstrip("\n") and not _needs_escapes(value):
        yield f"{head} |{'' if value.endswith(chr(10)) else '-'}"
        yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _needs_escapes(text: str) -> bool:
    """Whether a block cannot hold a text: odd characters, several newlines at its end, a space at its begin."""
    return bool(_ODD.search(text)) or text.endswith("\n\n") or text[0] in " \n"


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if "\n" in value or _ODD.search(value):
        quoted = json.dumps(value, ensure_ascii=False)
        return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return "'" + value.replace("'", "''") + "'"
