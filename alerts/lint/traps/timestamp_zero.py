"""A time that is 0 until it first happened: its age is over fifty years at once, and its distance is long past."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from promql_parser import BinaryExpr, Call, NumberLiteral

from alerts import expressions
from alerts.expressions import Selector
from alerts.lint.ruleset import Rules, about
from midwatch import catalogue, system_facts
from midwatch.spec.base import Finding

ID = "timestamp-zero"

_LESS = frozenset({"<", "<=", ">", ">="})


def find(rules: Rules) -> Iterator[Finding]:
    """Differences from now of a time that nothing compares with 0."""
    for entry, tree in rules.judged_here:
        guarded = set(_compared_with_zero(tree))
        for node in expressions.walk(tree):
            for selector in _times(node):
                if selector.metric not in guarded:
                    message = f"{about(entry)}{selector.metric} may be 0 until it first happened, over fifty years ago"
                    yield entry.place, message, "write (TIME > 0) in its place, and an alert on its absence and on 0"


def _times(node: Any) -> Iterator[Selector]:
    """Times in a difference from now, or that have to be later: known ones, and what is called like one in an age."""
    if isinstance(node, BinaryExpr) and str(node.op) in _LESS:
        less, more = (node.lhs, node.rhs) if str(node.op).startswith("<") else (node.rhs, node.lhs)
        if _has_now(more) and not _has_now(less):
            yield from (one for one in expressions.selectors(less) if _is_known(one))
    if not (isinstance(node, BinaryExpr) and str(node.op) == "-"):
        return
    if _is_now(node.lhs):
        yield from (one for one in expressions.selectors(node.rhs) if _is_known(one) or _is_named_so(one))
    elif _has_now(node.rhs):
        yield from (one for one in expressions.selectors(node.lhs) if _is_known(one))


def _is_known(selector: Selector) -> bool:
    fact = system_facts.find(selector.metric)
    return fact is not None and fact.metric.zero_is_never


def _is_named_so(selector: Selector) -> bool:
    is_time = re.search(r"time|_at$|last_", selector.metric) and "timestamp" not in selector.around
    return bool(is_time) and catalogue.find(selector.metric) is None


def _has_now(node: Any) -> bool:
    return any(_is_now(one) for one in expressions.walk(node))


def _is_now(node: Any) -> bool:
    return isinstance(expressions.bare(node), Call) and expressions.bare(node).func.name == "time"


def _compared_with_zero(tree: Any) -> Iterator[str]:
    for node in expressions.walk(tree):
        if isinstance(node, BinaryExpr) and str(node.op) in (">", "!="):
            number = expressions.bare(node.rhs)
            side = expressions.bare(node.lhs)
            is_time_itself = not any(isinstance(one, BinaryExpr) for one in expressions.walk(side))
            if isinstance(number, NumberLiteral) and number.val == 0 and is_time_itself:
                yield from (selector.metric for selector in expressions.selectors(side))
