"""Reads YAML that others wrote: every scalar is the text that stands there, anchors and merge keys work.

YAML 1.1 takes `yes` for true, `1.10` for 1.1 and `8:00` for 480. Alertmanager, Sloth and Pyrra decode into texts and
see what was written, so that is what is read here; whoever wants a truth value or a number asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from midwatch.errors import InvalidInputError
from midwatch.spec.base import Place
from midwatch.spec.document import MAX_BYTES, Builder, Document, compose

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_LOOKALIKES = frozenset({"yes", "no", "true", "false", "on", "off", "null", "~"})
"""Scalars that YAML 1.1 takes for no text, so that one that is a text was tagged as such."""
_MERGE = "<<"
_COMMENT = re.compile(r"#.*")


class Text(str):
    """A scalar as it is written; `is_plain` says that it has no quotes, so that it may stand for more than a text."""

    is_plain: bool

    def __new__(cls, value: str, is_plain: bool) -> Text:
        """Make a text of what is written."""
        made = super().__new__(cls, value)
        made.is_plain = is_plain
        return made


def truth(value: object) -> bool | None:
    """Truth value of a plain scalar such as `yes` or `false`; None when it is none."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, Text) or not value.is_plain:
        return None
    return True if value in _TRUE else False if value in _FALSE else None


def whole_number(value: object) -> int | None:
    """Whole number of a plain scalar such as `5`, `0x10` or `1_000`; None when it is none."""
    if not isinstance(value, Text) or not value.is_plain:
        return None
    text = value.replace("_", "").lower()
    digits = text.lstrip("+-")
    base = 8 if len(digits) > 1 and digits.startswith("0") and digits.isdigit() else 0
    try:
        return int(text, base)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def read(file: Path, text: str | None = None) -> list[Document]:
    """Read every document of a file, or of a text that stands for it; InvalidInputError when one is not a mapping."""
    if text is None:
        text = _text_of(file)
    try:
        return [_built(file, node) for node in compose(file, text)]
    except RecursionError as error:
        raise InvalidInputError.at(file, "nested too deeply") from error


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments and their lines: what stands between the tokens of YAML but is no space."""
    end = 0
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        for match in _COMMENT.finditer(text, end, token.start_mark.index):
            yield text.count("\n", 0, match.start()) + 1, match[0].rstrip()
        end = max(end, token.end_mark.index)
    for match in _COMMENT.finditer(text, end):
        yield text.count("\n", 0, match.start()) + 1, match[0].rstrip()


def _text_of(file: Path) -> str:
    if not file.is_file():
        raise InvalidInputError.at(file, "there is no such file")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InvalidInputError.at(file, error.strerror or "cannot be read") from error
    if len(raw) > MAX_BYTES:
        raise InvalidInputError.at(file, f"the file has {len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidInputError.at(file, "not UTF-8 text", line=line, remedy="save the file as UTF-8") from error


def _built(file: Path, node: yaml.Node) -> Document:
    if not isinstance(node, yaml.MappingNode):
        raise InvalidInputError.at(file, "not a mapping of keys to values", line=node.start_mark.line + 1)
    document = Document(marks={(): (str(file), 1)})
    document.values = _Texts(str(file), document).mapping(node, ())
    return document


class _Texts(Builder):
    """Texts as they are written, lists and mappings."""

    def scalar(self, node: yaml.ScalarNode, place: Place) -> Any:  # noqa: ARG002 - every text can be read
        """The text, None for what is null."""
        is_tagged = node.tag.endswith(":str") and node.value.lower() in _LOOKALIKES
        is_plain = not node.style and not is_tagged
        if is_plain and node.value in _NULLS:
            return None
        return Text(node.value, is_plain)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        """Values of a mapping. What a merge key brings is overwritten by keys after it, as in Alertmanager."""
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.wrong(key_node, place, "a key that is not a text")
                continue
            key = str(key_node.value)
            if key == _MERGE and not key_node.style:
                values |= self._merged(value_node, place)
                continue
            inside, line = (*place, key), key_node.start_mark.line + 1
            if key in first:
                self.wrong(key_node, inside, f"written twice, first on line {first[key]}", "keep one")
                continue
            first[key] = line
            values[key] = self.build(value_node, inside)
            self._document.marks[inside] = (self._file, line)
        return values

    def _merged(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        """Values of a merge key: of one mapping, or of several of which the first wins."""
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        values: dict[str, Any] = {}
        if isinstance(node, yaml.SequenceNode) and all(isinstance(one, yaml.MappingNode) for one in node.value):
            for one in reversed(node.value):
                values |= self.mapping(one, place)
        else:
            self.wrong(node, (*place, _MERGE), "a merge key takes a mapping, or a list of them")
        return values
