"""`or` binds weaker than arithmetic: `a + b or vector(0)` is 0 as soon as one of the two is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from promql_parser import BinaryExpr, Call

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch.spec.base import Finding

ID = "or-beside-arithmetic"

_COMPARISONS = frozenset({">", "<", ">=", "<=", "==", "!="})


def find(rules: Rules) -> Iterator[Finding]:
    """`or vector(…)` beside a sum or a difference without parentheses, or with one inside of it."""
    for entry, tree in rules.written:
        for node in expressions.walk(tree):
            if isinstance(node, BinaryExpr) and str(node.op) == "or" and _adds(node) and _fills(node):
                message = f"{about(entry)}`or vector(…)` stands for the whole sum, not for the part beside it"
                yield entry.place, message, "write parentheses, as in (a or vector(0)) + (b or vector(0))"


def _adds(node: BinaryExpr) -> bool:
    return any(_is_sum(side) or _begins_with_vector(side) for side in (node.lhs, node.rhs))


def _is_sum(node: object) -> TypeGuard[BinaryExpr]:
    return isinstance(node, BinaryExpr) and str(node.op) in ("+", "-")


def _begins_with_vector(side: Any) -> bool:
    """Whether a comparison's sum has `vector(…)` for a term: `a or vector(0) + b > 5`."""
    inner: object = side.lhs if isinstance(side, BinaryExpr) and str(side.op) in _COMPARISONS else side
    return _is_sum(inner) and any(
        isinstance(term, Call) and term.func.name == "vector" for term in (inner.lhs, inner.rhs)
    )


def _fills(node: Any) -> bool:
    return any(isinstance(one, Call) and one.func.name == "vector" for one in expressions.walk(node))
