"""Label matchers as Alertmanager reads them: classic syntax (0.25), UTF-8 names in quotes (0.27), RE2 patterns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import re2

_CLASSIC = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*(=~|=|!=|!~)\s*(.*?)\s*', re.DOTALL)
_QUIET = re2.Options()
_QUIET.log_errors = False
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


class MatcherError(ValueError):
    """A matcher that Alertmanager does not read."""


@dataclass(frozen=True)
class Matcher:
    """One condition on a label. A label that is missing has the empty value."""

    name: str
    operator: str
    value: str
    is_name_quoted: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'

    @cached_property
    def _pattern(self) -> Any:
        try:
            return re2.compile(f"^(?:{self.value})$", _QUIET)
        except re2.error as error:
            raise MatcherError(f"{self.value!r} is not a pattern of RE2: {error}") from error

    def ensure_valid(self) -> None:
        """Raise MatcherError when its pattern cannot be compiled."""
        if self.operator in ("=~", "!~"):
            _ = self._pattern

    def matches(self, value: str) -> bool:
        """Whether a label's value fulfils it."""
        if self.operator == "=":
            return value == self.value
        if self.operator == "!=":
            return value != self.value
        return (self._pattern.search(value) is not None) == (self.operator == "=~")


Matchers = tuple[Matcher, ...]


def all_match(matchers: Matchers, labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil every matcher."""
    return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)


def parse(text: str) -> Matchers:
    """Matchers of a text such as `a="b", c=~"d|e"`, in braces or not; MatcherError when one is not."""
    text = text.strip()
    inner = text.removeprefix("{").removesuffix("}")
    return tuple(_parse_one(part) for part in _split(inner) if part.strip() or not inner.strip())


def _split(text: str) -> list[str]:
    """Parts between commas that are outside of quotes; a comma at the end is let through."""
    parts, begin, quoted, escaped = [], 0, False, False
    for at, letter in enumerate(text):
        if letter == "," and not quoted:
            parts.append(text[begin:at])
            begin = at + 1
        if letter == '"' and not escaped:
            quoted = not quoted
        escaped = letter == "\\" and not escaped
    tail = text[begin:]
    return [*parts, tail] if tail.strip() else parts


def _parse_one(text: str) -> Matcher:
    match = _CLASSIC.fullmatch(text) or _QUOTED.fullmatch(text)
    if not match:
        raise MatcherError(f"bad matcher format: {text.strip()!r}")
    name, operator, raw = match.groups()
    matcher = Matcher(name, operator, _unquoted(raw, text), text.lstrip().startswith('"'))
    matcher.ensure_valid()
    return matcher


def _unquoted(raw: str, text: str) -> str:
    """A value without its quotes and escapes. Unknown escapes are literal, as Alertmanager takes them."""
    is_quoted = raw.startswith('"')
    body = raw[1:] if is_quoted else raw
    closed, value, at = not is_quoted, [], 0
    while at < len(body):
        letter = body[at]
        if letter == "\\" and at + 1 < len(body):
            value.append(_ESCAPES.get(body[at + 1], "\\" + body[at + 1]))
            at += 2
            continue
        if letter == '"':
            if not is_quoted or at < len(body) - 1:
                raise MatcherError(f"unescaped double quote in {text.strip()!r}")
            closed = True
        else:
            value.append(letter)
        at += 1
    if not closed:
        raise MatcherError(f"no closing double quote in {text.strip()!r}")
    return "".join(value)
