"""Proves any alert by trying: each series that its expression reads gets values that its numbers suggest.

An expression of a few selectors is fired, and kept silent, by some combination of "absent", "0", "above a number",
"growing fast" and the like. Which of them, promtool says: all combinations are one test file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from promql_parser import AggregateExpr, BinaryExpr, NumberLiteral, SubqueryExpr

from alerts import expressions
from alerts.expressions import Selector
from alerts.proofs import series as test_series
from alerts.proofs.case import Case, failures

MAX_COMBINATIONS = 512
STEP = 15.0
COUNTED = frozenset({"rate", "irate", "increase", "resets", "changes"})
ABSENT = ""


class NotFoundError(ValueError):
    """No combination fires the alert, or none keeps it silent."""


def cases(rule: Mapping[str, Any], wait: float) -> tuple[list[Case], float]:
    """Two cases and the time within which the first fires; NotFoundError or NoInstanceError when there are none."""
    try:
        tree = expressions.parse(rule["expr"])
    except ValueError as error:
        raise NotFoundError(f"the expression cannot be parsed: {error}") from error
    limit = wait + _longest(tree) + 4 * STEP
    steps = int(limit // STEP) + 8
    named = _series(tree)
    choices = [_behaviours(selector, tree, steps) for selector in named.values()]
    total = 1
    for choice in choices:
        total *= len(choice)
    if total > MAX_COMBINATIONS:
        raise NotFoundError(f"{len(named)} series have too many combinations; write a proof")
    tried = [
        Case(
            series={name: values for name, values in zip(named, picked, strict=True) if values != ABSENT},
            interval=STEP,
            evaluation=STEP,
            alert=rule["alert"],
            severity=rule["labels"].get("severity", ""),
            silent_at=[_whole(limit)],
        )
        for picked in itertools.product(*choices)
    ]
    group = {"name": "proof", "rules": [rule]}
    firing, said = failures(group, tried)
    if -1 in firing:
        raise NotFoundError(f"promtool rejects it: {' '.join(said.split())[:300]}")
    return _pair(tried, firing, limit), limit


def _pair(tried: Sequence[Case], firing: set[int], limit: float) -> list[Case]:
    """The first case that fires, and the silent one with the most series, so that silence is not for want of data."""
    silent = [case for number, case in enumerate(tried) if number not in firing]
    if not firing:
        raise NotFoundError("no series that was tried fires it; write a proof")
    fires = tried[min(firing)]
    if not silent and not tried[0].series:
        # An alert that reads no series always fires: there is nothing that could keep it silent.
        return [_again(fires, fires_at=[_whole(limit)])]
    if not silent:
        raise NotFoundError("every series that was tried fires it; write a proof")
    calm = max(silent, key=lambda case: len(case.series))
    return [_again(fires, fires_at=[_whole(limit)]), calm]


def _again(case: Case, fires_at: Sequence[float]) -> Case:
    return Case(
        series=case.series,
        interval=case.interval,
        evaluation=case.evaluation,
        alert=case.alert,
        severity=case.severity,
        fires_at=fires_at,
    )


def _whole(seconds: float) -> float:
    return -(-seconds // STEP) * STEP


def _longest(node: Any) -> float:
    """Longest look back, in seconds: ranges and subqueries, one inside the other, and offsets."""
    own = 0.0
    if isinstance(node, SubqueryExpr) or hasattr(node, "vector_selector"):
        own = node.range.total_seconds() if node.range else 0.0
    offset = getattr(node, "offset", None)
    if offset is not None:
        own += abs(offset.total_seconds())
    return own + max((_longest(child) for child in expressions.children(node)), default=0.0)


def _series(tree: Any) -> dict[str, Selector]:
    """A series for each selector, with the labels that aggregations and joins keep."""
    kept = sorted(set(_kept(tree)))
    series: dict[str, Selector] = {}
    for selector in expressions.selectors(tree):
        series.setdefault(test_series.instance(selector, more=kept), selector)
    return series


def _kept(node: Any) -> Iterator[str]:
    modifier = getattr(node, "modifier", None)
    if isinstance(node, AggregateExpr) and modifier is not None and str(modifier.type).endswith("By"):
        yield from modifier.labels
    if isinstance(node, BinaryExpr) and modifier is not None and getattr(modifier, "matching", None) is not None:
        yield from modifier.matching.labels
    for child in expressions.children(node):
        yield from _kept(child)


def _numbers(node: Any) -> Iterator[float]:
    if isinstance(node, NumberLiteral):
        yield node.val
    for child in expressions.children(node):
        yield from _numbers(child)


def _behaviours(selector: Selector, tree: Any, steps: int) -> list[str]:
    """Values to try for a series, as promtool reads them, calm ones first."""
    numbers = sorted(set(_numbers(tree)))
    if COUNTED & set(selector.around):
        speeds = dict.fromkeys([0.0, 1.0, 1000.0, *(2 * abs(number) + 1 for number in numbers)])
        return [*(f"0+{speed:.12g}x{steps}" for speed in speeds), ABSENT]
    values = dict.fromkeys(
        [0.0, 1.0, *(one for number in numbers for one in (number / 2, 2 * number + 1, -number - 1))]
    )
    return [*(f"{value:.12g}x{steps}" for value in values), f"0+{STEP:g}x{steps}", ABSENT]
