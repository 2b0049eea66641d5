"""An increase of a counter that is born at 1: of a new series it is 0, so the first event is never seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promql_parser import BinaryExpr, NumberLiteral

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "birth-unseen"

_OF_CHANGE = ("increase", "rate", "irate", "delta", "changes")


def find(rules: Rules) -> Iterator[Finding]:
    """Alerts on any increase, where nothing looks at series that are new."""
    for entry, tree in rules.judged_here:
        placed = list(expressions.placed(tree))
        offset = {selector.metric for selector, around in placed if expressions.combines(around, "unless")}
        for selector, around in placed:
            fact = system_facts.find(selector.metric)
            is_any = expressions.calls(around, *_OF_CHANGE) and _is_any(around)
            if fact is not None and fact.metric.born_at_one and is_any and selector.metric not in offset:
                message = (
                    f"{about(entry)}{selector.metric} is born at 1, and {selector.around[-1]} of a new series is 0"
                )
                yield entry.place, message, f"add `or ({selector.metric} unless {selector.metric} offset WINDOW)`"


def _is_any(around: tuple[Any, ...]) -> bool:
    """Whether one event is to be seen: more than a number below 1, and no ratio."""
    return not expressions.combines(around, "/") and any(
        isinstance(node, BinaryExpr)
        and str(node.op) in (">", ">=", "!=")
        and isinstance(number := expressions.bare(node.rhs), NumberLiteral)
        and number.val < 1
        for node in around
    )
