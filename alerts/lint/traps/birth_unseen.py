"""An increase of a counter that is born at 1: of a new series it is 0, so the first event is never seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promql_parser import BinaryExpr, NumberLiteral

from alerts import expressions
from alerts.expressions import Selector
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "birth-unseen"

_OF_CHANGE = ("increase", "delta", "changes")
_PER_SECOND = ("rate", "irate")


def find(rules: Rules) -> Iterator[Finding]:
    """Alerts on any increase, where nothing looks at series that are new."""
    for entry, tree in rules.judged_here:
        placed = list(expressions.placed(tree))
        offset = {selector.metric for selector, around in placed if expressions.combines(around, "unless")}
        for selector, around in placed:
            fact = system_facts.find(selector.metric)
            is_any = _is_any(around, _events(selector, around))
            if fact is not None and fact.metric.born_at_one and is_any and selector.metric not in offset:
                message = (
                    f"{about(entry)}{selector.metric} is born at 1, and {selector.around[-1]} of a new series is 0"
                )
                yield entry.place, message, f"add `or ({selector.metric} unless {selector.metric} offset WINDOW)`"


def _events(selector: Selector, around: tuple[Any, ...]) -> float:
    """How many events the unit of a threshold is; 0 where nothing is counted."""
    if expressions.calls(around, *_PER_SECOND):
        return selector.range_seconds
    return 1.0 if expressions.calls(around, *_OF_CHANGE) else 0.0


def _is_any(around: tuple[Any, ...], events: float) -> bool:
    """Whether one event is to be seen: it is enough for the threshold, which is neither a ratio's nor a quantile's."""
    if expressions.combines(around, "/") or expressions.calls(around, "histogram_quantile"):
        return False
    compared = (_thresholds(node) for node in around if isinstance(node, BinaryExpr))
    return any(
        events >= 1 and (value * events < 1 or (value * events == 1 and operator == ">="))
        for one in compared
        for operator, value in one
    )


def _thresholds(node: BinaryExpr) -> Iterator[tuple[str, float]]:
    """The operator and the number that a side is compared with, as if the number stood on the right."""
    left, right, operator = expressions.bare(node.lhs), expressions.bare(node.rhs), str(node.op)
    if isinstance(left, NumberLiteral):
        right, operator = left, {"<": ">", "<=": ">="}.get(operator, operator if operator == "!=" else "")
    if isinstance(right, NumberLiteral) and operator in (">", ">=", "!="):
        yield operator, right.val
