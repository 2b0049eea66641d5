"""Expressions of a system in the words of one version: names, labels and spellings of its metrics are put in by token.

A system's folder says everything by its newest name. What a version called otherwise, and what a scrape renames, is
exchanged here; which words those are, `SystemMetric` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from midwatch.metrics import Kind
from midwatch.spec.systems import SystemFile, SystemMetric

PARTS = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("", "_sum", "_count")}
"""Ends of the names of a metric's series; every other kind has the one name."""

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)|(?P<word>[A-Za-z_:][A-Za-z0-9_:]*)|(?P<other>.)""",
    re.DOTALL,
)
_GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_LABEL_OF_TEMPLATE = re.compile(r"((?:\$labels|\.Labels)\.)(\w+)")
_LABEL_OF_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Token:
    """A piece of an expression: its text and whether it is a word, and so a name or a label."""

    text: str
    is_word: bool


def tokens(expr: str) -> list[Token]:
    """The expression in pieces; a number's unit is no word.

    >>> [one.text for one in tokens('rate(a{b="c d"}[5m])') if one.is_word]
    ['rate', 'a', 'b']
    """
    found: list[Token] = []
    for match in _TOKEN.finditer(expr):
        after_digit = bool(found) and found[-1].text[-1:].isdigit() and not found[-1].is_word
        found.append(Token(match[0], match.lastgroup == "word" and not after_digit))
    return found


def words(expr: str) -> set[str]:
    """Every name, label and function in an expression."""
    return {token.text for token in tokens(expr) if token.is_word}


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a version of a system, as it is scraped, says what its folder says; `exported` labels are renamed."""

    described: SystemFile
    version: tuple[int, ...]
    exported: frozenset[str] = frozenset()

    def label(self, metric: SystemMetric, newest: str) -> str:
        """What a label of a metric is called."""
        name = metric.label_in(newest, self.version)
        return f"exported_{name}" if name in self.exported else name

    def labels(self, metric: SystemMetric) -> dict[str, str]:
        """Labels of a metric that are called otherwise, by their newest names."""
        named = {label: self.label(metric, label) for label in metric.labels}
        return {newest: name for newest, name in named.items() if name != newest}

    def read(self, expr: str) -> dict[str, SystemMetric]:
        """The system's metrics in an expression, by their newest names."""
        return {
            found[0]: self.described.metrics[found[0]]
            for token in tokens(expr)
            if token.is_word and (found := self._metric(token.text))
        }

    def labels_of(self, expr: str) -> dict[str, str]:
        """Labels in an expression's result that are called otherwise."""
        return {old: new for metric in self.read(expr).values() for old, new in self.labels(metric).items()}

    def expr(self, expr: str) -> str:
        """An expression in this dialect; a metric of several spellings is found under each."""
        return "".join(self._written(expr, every_spelling=True))

    def series(self, text: str) -> str:
        """A series of a proof in this dialect, under one name."""
        return "".join(self._written(text, every_spelling=False))

    def template(self, text: str, expr: str) -> str:
        """A text that Prometheus fills in with labels of the expression's result."""
        names = self.labels_of(expr)
        return _LABEL_OF_TEMPLATE.sub(lambda match: match[1] + names.get(match[2], match[2]), text)

    def legend(self, text: str, expr: str) -> str:
        """A text that Grafana fills in with labels of the expression's result."""
        names = self.labels_of(expr)
        return _LABEL_OF_LEGEND.sub(lambda match: f"{{{{{names[match[1]]}}}}}" if match[1] in names else match[0], text)

    def _metric(self, word: str) -> tuple[str, str] | None:
        """The newest name and the suffix that a word is made of."""
        for newest, metric in self.described.metrics.items():
            for suffix in PARTS.get(metric.kind, ("",)):
                if word == newest + suffix:
                    return newest, suffix
        return None

    def _written(self, expr: str, *, every_spelling: bool) -> Iterator[str]:
        pieces, of_result = tokens(expr), self.labels_of(expr)
        inside: Mapping[str, str] = {}  # labels of the selector whose braces are open
        in_braces, in_grouping, joined = False, False, False
        for place, piece in enumerate(pieces):
            following = _next(pieces, place)
            if piece.text == "{":
                in_braces = True
                if joined:  # the selector of several spellings has begun already
                    joined = False
                    yield ", " if following != "}" else ""
                    continue
            elif piece.text == "}":
                in_braces, inside = False, {}
            elif piece.text == ")" and in_grouping:
                in_grouping = False
            elif piece.is_word and in_braces:
                yield inside.get(piece.text, piece.text)
                continue
            elif piece.is_word and in_grouping:
                yield of_result.get(piece.text, piece.text)
                continue
            elif piece.is_word and piece.text in _GROUPINGS and following == "(":
                in_grouping = True
            elif piece.is_word and (found := self._metric(piece.text)):
                metric = self.described.metrics[found[0]]
                inside = self.labels(metric)
                names = [name + found[1] for name in metric.names_in(found[0], self.version)]
                if len(names) == 1 or not every_spelling:
                    yield names[0]
                    continue
                joined = following == "{"
                yield f'{{__name__=~"{"|".join(names)}"' + ("" if joined else "}")
                continue
            yield piece.text


def _next(pieces: list[Token], place: int) -> str:
    """The next piece that is no space."""
    return next((piece.text for piece in pieces[place + 1 :] if not piece.text.isspace()), "")
