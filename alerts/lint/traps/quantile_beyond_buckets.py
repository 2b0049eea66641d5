"""A quantile compared with more than the histogram's last bound, beyond which it never goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promql_parser import AggregateExpr, BinaryExpr, Call, NumberLiteral, SubqueryExpr

from alerts import expressions
from alerts.expressions import Selector
from alerts.lint.ruleset import Rules, about
from midwatch.spec.base import Finding

ID = "quantile-beyond-buckets"

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
_WITHIN_THEIR_INPUT = frozenset({"max", "min", "avg", "max_over_time", "min_over_time", "avg_over_time"})
"""Functions and aggregations whose result is never more than the most of what they are given."""


def find(rules: Rules) -> Iterator[Finding]:
    """Comparisons that never hold."""
    for entry, tree in rules.unrecorded:
        for node in expressions.walk(tree):
            if not (isinstance(node, BinaryExpr) and str(node.op) in _MIRRORED):
                continue
            side, limit, operator = expressions.bare(node.lhs), expressions.bare(node.rhs), str(node.op)
            if isinstance(side, NumberLiteral):
                side, limit, operator = limit, side, _MIRRORED[operator]
            if not isinstance(limit, NumberLiteral) or operator not in (">", ">=", "=="):
                continue
            for selector, factor in _quantiles(side):
                last = max(rules.bounds_of(selector.metric), default=None)
                if last is not None and (limit.val > last * factor or (limit.val == last * factor and operator == ">")):
                    message = f"{about(entry)}a quantile of {selector.metric} is at most its last bound, {last:g}"
                    yield entry.place, message, "compare with less, or the share beyond a bound"


def _quantiles(node: Any, factor: float = 1.0) -> Iterator[tuple[Selector, float]]:
    """Selectors of the quantile that a side is, and by how much it is multiplied."""
    node = expressions.bare(node)
    if isinstance(node, Call) and node.func.name == "histogram_quantile":
        yield from ((selector, factor) for selector in expressions.selectors(node))
    elif isinstance(node, BinaryExpr):
        for side, scale in _scaled(node):
            yield from _quantiles(side, factor * scale)
    elif isinstance(node, AggregateExpr | Call | SubqueryExpr) and _name(node) in _WITHIN_THEIR_INPUT:
        for child in expressions.children(node):
            yield from _quantiles(child.expr if isinstance(child, SubqueryExpr) else child, factor)


def _scaled(node: BinaryExpr) -> Iterator[tuple[Any, float]]:
    """The side that is multiplied by a number, and that number."""
    left, right, operator = expressions.bare(node.lhs), expressions.bare(node.rhs), str(node.op)
    if isinstance(right, NumberLiteral) and right.val > 0 and operator in ("*", "/"):
        yield left, right.val if operator == "*" else 1 / right.val
    elif isinstance(left, NumberLiteral) and left.val > 0 and operator == "*":
        yield right, left.val


def _name(node: Any) -> str:
    return node.func.name if isinstance(node, Call) else str(getattr(node, "op", "")).lower()
