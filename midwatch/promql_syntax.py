"""The syntax of PromQL: nodes of its tree, as promql-parser gives it, and selectors in a text.

A text may hold variables of Grafana, which promql-parser does not read: selectors are found by their tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from promql_parser import BinaryExpr, Call, MatrixSelector


def children(node: Any) -> list[Any]:
    """Nodes directly below."""
    if isinstance(node, BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, Call):
        return list(node.args)
    if isinstance(node, MatrixSelector):
        return [node.vector_selector]
    inner = [getattr(node, name, None) for name in ("param", "expr")]
    return [one for one in inner if one is not None]


_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)"""
    r"""|(?P<comment>\#[^\n]*)"""
    r"""|(?P<range>\[[^\]]*\])"""
    r"""|(?P<variable>\$\{?[A-Za-z_]\w*(?::\w+)?\}?)"""
    r"""|(?P<labels>\{(?:[^{}"'`]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|\$\{\w+(?::\w+)?\})*\})"""
    r"""|(?P<number>[\d.][\w.]*)"""
    r"""|(?P<name>[A-Za-z_:][\w:]*)"""
)
_GROUPED = re.compile(r"\s*\([^()]*\)")
"""Labels in parentheses, behind the words that take them."""
_TAKE_LABELS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "atan2", "offset", "bool", "inf", "nan", *_TAKE_LABELS})
_CALLED = re.compile(r"\s*\(|\s+(?:by|without)\b")
"""What stands behind the name of a function or an aggregation."""


def with_matcher(expr: str, matcher: str) -> str:
    """The expression with a matcher, such as `region="eu"`, in every selector.

    >>> with_matcher('sum by (job) (rate(x_total{a="{"}[5m])) / on (job) y', 'r="eu"')
    'sum by (job) (rate(x_total{a="{", r="eu"}[5m])) / on (job) y{r="eu"}'
    """
    return "".join(_narrowed(expr, matcher))


def _narrowed(expr: str, matcher: str) -> Iterator[str]:
    place = 0
    while place < len(expr):
        token = _TOKEN.match(expr, place)
        if token is None:
            yield expr[place]
            place += 1
            continue
        text, place = token[0], token.end()
        if token.lastgroup == "labels":
            inside = text[1:-1].strip().rstrip(",")
            yield f"{{{inside}, {matcher}}}" if inside else f"{{{matcher}}}"
        elif token.lastgroup == "name" and text.lower() in _TAKE_LABELS:
            labels = _GROUPED.match(expr, place)
            yield text + (labels[0] if labels else "")
            place = labels.end() if labels else place
        elif token.lastgroup == "name" and text.lower() not in _WORDS and _is_selector(expr, place):
            yield f"{text}{{{matcher}}}"
        else:
            yield text


def _is_selector(expr: str, place: int) -> bool:
    """Whether the name that ends at a place is a series', without labels of its own behind it."""
    return not _CALLED.match(expr, place) and not expr[place:].lstrip().startswith("{")
