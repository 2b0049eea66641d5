"""Says which labels the result of an expression has, as Prometheus' engine keeps and drops them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    MatrixSelector,
    NumberLiteral,
    StringLiteral,
    VectorMatchCardinality,
)

from alerts import expressions
from alerts.expressions import Selector

SET_OPERATORS = frozenset({"and", "or", "unless"})
_KEEP_THEIR_INPUT = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
_WITHOUT_LABELS = frozenset({"scalar", "vector", "time", "pi"})


@dataclass(frozen=True)
class Labels:
    """Label names of a result: those in `names`, or with `is_all_but` whatever series have without those."""

    names: frozenset[str] = frozenset()
    is_all_but: bool = False

    def has(self, name: str) -> bool:
        """Whether a label can be there."""
        return (name in self.names) != self.is_all_but

    def keep(self, names: frozenset[str]) -> Labels:
        """Only these of them."""
        return Labels(frozenset(name for name in names if self.has(name)))

    def drop(self, names: frozenset[str]) -> Labels:
        """All but these of them."""
        return Labels(self.names | names if self.is_all_but else self.names - names, self.is_all_but)

    def add(self, names: frozenset[str]) -> Labels:
        """These beside them."""
        return Labels(self.names - names if self.is_all_but else self.names | names, self.is_all_but)

    def union(self, other: Labels) -> Labels:
        """What either has."""
        if self.is_all_but and other.is_all_but:
            return Labels(self.names & other.names, True)
        if other.is_all_but:
            return other.union(self)
        return self.add(other.names)


ANY = Labels(frozenset(), True)


def of(node: Any) -> Labels | None:
    """Labels of a result; None for a scalar or a text."""
    if isinstance(node, NumberLiteral | StringLiteral):
        return None
    if isinstance(node, AggregateExpr):
        return _of_aggregation(node)
    if isinstance(node, BinaryExpr):
        return _of_binary(node)
    if isinstance(node, Call):
        return _of_call(node)
    if isinstance(node, MatrixSelector) or not expressions.children(node):
        return ANY
    return of(expressions.children(node)[-1])


def _of_aggregation(node: AggregateExpr) -> Labels:
    inner = of(node.expr) or Labels()
    operator = str(node.op).lower()
    if operator in _KEEP_THEIR_INPUT:
        return inner
    if node.modifier is None:
        kept = Labels()
    elif str(node.modifier.type).endswith("By"):
        kept = inner.keep(frozenset(node.modifier.labels))
    else:
        kept = inner.drop(frozenset(node.modifier.labels))
    return kept.add(frozenset({_text(node.param)})) if operator == "count_values" else kept


def _of_binary(node: BinaryExpr) -> Labels | None:
    left, right = of(node.lhs), of(node.rhs)
    if left is None or right is None:
        return left or right
    operator, modifier = str(node.op), node.modifier
    if operator in SET_OPERATORS:
        return left.union(right) if operator == "or" else left
    if modifier is None:
        return left
    if modifier.card in (VectorMatchCardinality.ManyToOne, VectorMatchCardinality.OneToMany):
        many = left if modifier.card == VectorMatchCardinality.ManyToOne else right
        return many.add(frozenset(modifier.group_labels or ()))
    return _matched(left, modifier.matching)


def _matched(labels: Labels, matching: Any) -> Labels:
    """Labels of a side that is matched one to one: those matched on, or all but those ignored."""
    if matching is None:
        return labels
    names = frozenset(matching.labels)
    return labels.keep(names) if str(matching.type).endswith("Include") else labels.drop(names)


def _of_call(node: Call) -> Labels | None:
    name = node.func.name
    if name in _WITHOUT_LABELS:
        return None if name in ("time", "scalar", "pi") else Labels()
    if name in ("absent", "absent_over_time"):
        matchers = [one for selector in expressions.selectors(node) for one in selector.matchers]
        return Labels(frozenset(label for label, operator, _ in matchers if operator == "=" and label != "__name__"))
    vectors = [labels for argument in node.args if (labels := of(argument)) is not None]
    inner = vectors[0] if vectors else Labels()
    if name in ("label_replace", "label_join"):
        return inner.add(frozenset({_text(node.args[1])}))
    return inner.drop(frozenset({"le"})) if name.startswith("histogram_") else inner


def _text(node: Any) -> str:
    return str(getattr(node, "val", "")) if isinstance(node, StringLiteral) else ""


_STATE = re.compile(r"status|state|phase|condition|reason|health")


def states(tree: Any) -> Iterator[tuple[Selector, str]]:
    """Selectors that find several values of a state which is a label of the result too: each change is a new series."""
    labels = of(tree) or Labels()
    for selector in expressions.selectors(tree):
        for label, operator, value in selector.matchers:
            is_several = operator in ("!=", "!~") or (operator == "=~" and re.search(r"[|.\[]", value))
            if is_several and _STATE.search(label) and labels.has(label):
                yield selector, label
