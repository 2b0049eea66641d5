"""Expressions are taken apart: selectors, the functions around them, their ranges, and subqueries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, ParenExpr, SubqueryExpr, VectorSelector

from midwatch import promql_syntax


@dataclass(frozen=True, kw_only=True)
class Selector:
    """One selector: metric name, matchers as (name, operator, value), range in seconds or 0, and what is around it.

    `around` are names of functions and aggregations from the outermost to the innermost; `step_seconds` is that of a
    subquery around, or 0.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    range_seconds: float = 0.0
    around: tuple[str, ...] = ()


_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def parse(text: str) -> Any:
    """Syntax tree; ValueError when it is none."""
    return promql_parser.parse(text)


def parse_or_none(text: str) -> Any:
    """Syntax tree, or None when it is none."""
    try:
        return parse(text)
    except ValueError:
        return None


def children(node: Any) -> list[Any]:
    """Nodes directly below."""
    return promql_syntax.children(node)


def selectors(node: Any, around: tuple[str, ...] = (), range_seconds: float = 0.0) -> Iterator[Selector]:
    """Every selector of an expression."""
    if isinstance(node, VectorSelector):
        matchers = tuple((one.name, _OPERATORS[str(one.op)], one.value) for one in node.matchers.matchers)
        # A pattern without anything special in it is a name as well.
        named = [
            value
            for name, operator, value in matchers
            if name == "__name__" and (operator == "=" or (operator == "=~" and value == re.escape(value)))
        ]
        name = node.name or (named[0] if named else "")
        yield Selector(metric=name, matchers=matchers, range_seconds=range_seconds, around=around)
        return
    if isinstance(node, Call):
        around = (*around, node.func.name)
    elif isinstance(node, AggregateExpr):
        around = (*around, str(node.op).lower())
    elif isinstance(node, MatrixSelector):
        range_seconds = node.range.total_seconds() if node.range else 0.0
    for child in children(node):
        yield from selectors(child, around, range_seconds)


def subqueries(node: Any) -> Iterator[tuple[float, float]]:
    """Range and step in seconds of every subquery; a step of 0 is the evaluation interval."""
    if isinstance(node, SubqueryExpr):
        yield node.range.total_seconds() if node.range else 0.0, node.step.total_seconds() if node.step else 0.0
    for child in children(node):
        yield from subqueries(child)


def placed(node: Any) -> Iterator[tuple[Selector, tuple[Any, ...]]]:
    """Every selector with the nodes around it, from the outermost in."""
    return zip(selectors(node), _around(node, ()), strict=True)


def _around(node: Any, around: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, VectorSelector):
        yield around
        return
    for child in children(node):
        yield from _around(child, (*around, node))


def calls(around: tuple[Any, ...], *names: str) -> bool:
    """Whether one of the functions is among the nodes around."""
    return any(isinstance(node, Call) and node.func.name in names for node in around)


def combines(around: tuple[Any, ...], *operators: str) -> bool:
    """Whether one of the operators is among the nodes around."""
    return any(isinstance(node, BinaryExpr) and str(node.op) in operators for node in around)


def walk(node: Any) -> Iterator[Any]:
    """A node and every node below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def bare(node: Any) -> Any:
    """A node without the parentheses around it."""
    while isinstance(node, ParenExpr):
        node = node.expr
    return node
