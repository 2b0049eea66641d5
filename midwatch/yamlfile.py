"""YAML as it is written to files: keys in the order given, no aliases, long expressions on one line.

`dump` is written by hand because PyYAML takes two thirds of the time of rendering a thousand objectives; the rest is
PyYAML's. What people write is read by `spec.document`, which knows where everything stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][\w./-]*( [\w./-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"})
"""Texts that YAML 1.1 reads as something else."""
_ODD = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def dump(document: Mapping[str, Any]) -> str:
    """Text of a document of mappings, lists, texts, numbers and truth values."""
    lines: list[str] = []
    _write(document, "", lines)
    return "\n".join(lines) + "\n"


def dump_all(documents: Iterable[object]) -> str:
    """Text of several documents, as `kubectl apply` reads them."""
    return str(yaml.safe_dump_all(documents, sort_keys=False, width=2**20))


def dump_blocks(document: object) -> str:
    """Text of a document whose texts of several lines are blocks."""
    text = _blocks(document, _QuickDumper)
    if "\\U" not in text:
        return text
    readable = _blocks(document, _BlockDumper)  # LibYAML escapes characters of five digits, and the text they are in
    return readable if load(readable) == document else text


def _blocks(document: object, dumper: type[_BlockDumper | _QuickDumper]) -> str:
    return str(yaml.dump(document, Dumper=dumper, sort_keys=False, width=2**20, allow_unicode=True))


class _BlockDumper(yaml.SafeDumper):
    """Writes no aliases: the files are read by people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Never."""
        return True


class _QuickDumper(yaml.CSafeDumper):
    """The same by LibYAML: a dashboard takes a tenth of the time."""

    ignore_aliases = _BlockDumper.ignore_aliases


def _block(dumper: _BlockDumper | _QuickDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BlockDumper.add_representer(str, _block)
_QuickDumper.add_representer(str, _block)


def load(text: str) -> Any:
    """Values of a document that we ship or have rendered ourselves."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def load_all(text: str) -> list[Any]:
    """Values of each document that we have rendered ourselves."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one is not None]


def _write(value: Any, indent: str, lines: list[str]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _entry(f"{indent}{_scalar(key)}:", inner, indent, lines)
        return
    for inner in value:
        if isinstance(inner, (dict, list)) and inner:
            first = len(lines)
            _write(inner, indent + "  ", lines)
            lines[first] = f"{indent}- {lines[first][len(indent) + 2 :]}"
        else:
            _entry(f"{indent}-", inner, indent, lines)


def _entry(head: str, value: Any, indent: str, lines: list[str]) -> None:
    """A key or a dash, and its value beside or below it. A list stands under its key's own column."""
    if isinstance(value, str):
        if "\n" not in value or _needs_escapes(value):
            lines.append(f"{head} {_scalar(value)}")
            return
        lines.append(f"{head} |{'' if value.endswith(chr(10)) else '-'}")
        lines += [f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n")]
    elif isinstance(value, (dict, list)) and value:
        lines.append(head)
        _write(value, indent if isinstance(value, list) else indent + "  ", lines)
    else:
        lines.append(f"{head} {_scalar(value)}")


def _needs_escapes(text: str) -> bool:
    """Whether a block cannot hold a text: odd characters, several newlines at its end, a space at its begin."""
    return bool(_ODD.search(text)) or text.endswith("\n\n") or text[0] in " \n" or "\n" not in text.rstrip("\n")


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if "\n" in value or _ODD.search(value):
        quoted = json.dumps(value, ensure_ascii=False)
        return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return "'" + value.replace("'", "''") + "'"
