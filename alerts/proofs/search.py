"""Proves any alert by trying: each series that its expression reads gets values that its numbers suggest.

An expression of a few selectors is fired, and kept silent, by some combination of "absent", "0", "above a number",
"growing fast" and the like. Which of them, promtool says: all combinations are one test file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from promql_parser import AggregateExpr, BinaryExpr, NumberLiteral, SubqueryExpr

from alerts import expressions, result_labels
from alerts.expressions import Selector
from alerts.proofs import reality
from alerts.proofs import series as test_series
from alerts.proofs.case import Case, Grid, NotFoundError, failures
from alerts.result_labels import Labels
from midwatch import catalogue, promql

MAX_COMBINATIONS = 512
MAX_EVALUATIONS = 500
"""Of a proof: what has to hold for a week is looked at every twenty minutes."""
LONGEST_STEP = 120.0
"""Seconds between samples at most: Prometheus takes a series for gone after five minutes."""
COUNTED = frozenset({"rate", "irate", "increase", "resets", "changes"})
Bounds = Mapping[str, Sequence[float]]
"""Buckets by the name of a histogram."""


def cases(
    rule: Mapping[str, Any], wait: float, grid: Grid | None = None, bounds: Bounds | None = None
) -> tuple[list[Case], float]:
    """Two cases and the time within which the first fires; NotFoundError or NoInstanceError when there are none.

    `bounds` are buckets of histograms that the platform file sets.

    Samples are half a scrape beside the evaluations, as those of a real Prometheus are somewhere between them.
    """
    try:
        tree = expressions.parse(rule["expr"])
    except ValueError as error:
        raise NotFoundError(f"the expression cannot be parsed: {error}") from error
    grid = _coarser(grid or Grid(), tree, wait)
    limit = wait + _longest(tree) + 4 * grid.longest
    steps = int(limit // grid.scrape) + 8
    reality.ensure_exposed(tree, bounds or {})
    named = _series(tree)
    choices = [_choices(name, selector, tree, steps, grid.scrape, bounds) for name, selector in named.items()]
    if math.prod(map(len, choices)) > MAX_COMBINATIONS:
        raise NotFoundError(f"{len(named)} series have too many combinations; write a proof")
    make = partial(
        Case,
        interval=grid.scrape / 2,
        evaluation=grid.evaluation,
        alert=rule["alert"],
        severity=rule["labels"].get("severity", ""),
    )
    at = _whole(limit, grid.evaluation)
    tried = [
        make(series={name: values for one in picked for name, values in one.items()}, silent_at=[at])
        for picked in itertools.product(*choices)
    ]
    group = {"name": "proof", "rules": [rule]}
    firing, said = failures(group, tried)
    if -1 in firing:
        raise NotFoundError(f"promtool rejects it: {' '.join(said.split())[:300]}")
    pair = _pair(tried, firing, at)
    _ensure_apart(rule, tree, pair[0])
    _ensure_real(rule, tree, pair[0], wait)
    return pair, limit


def _coarser(grid: Grid, tree: Any, wait: float) -> Grid:
    """A grid for what takes long: as many evaluations as it takes to tell, and samples that every range still sees."""
    seconds = wait + _longest(tree)
    ranges = [selector.range_seconds for selector in expressions.selectors(tree) if selector.range_seconds]
    steps = [step or length / 10 for length, step in expressions.subqueries(tree)]
    evaluation = min([seconds / MAX_EVALUATIONS, *steps])
    scrape = min([seconds / MAX_EVALUATIONS, LONGEST_STEP, *(length / 4 for length in ranges), *steps])
    return Grid(
        scrape=max(1, scrape // grid.scrape) * grid.scrape,
        evaluation=max(1, evaluation // grid.evaluation) * grid.evaluation,
    )


def _pair(tried: Sequence[Case], firing: set[int], at: float) -> list[Case]:
    """The first case that fires, and the silent one with the most series, so that silence is not for want of data."""
    silent = [case for number, case in enumerate(tried) if number not in firing]
    if not firing:
        raise NotFoundError("no series that was tried fires it; write a proof")
    fires = replace(tried[min(firing)], fires_at=[at], silent_at=())
    if not silent and not tried[0].series:
        # An alert that reads no series always fires: there is nothing that could keep it silent.
        return [fires]
    if not silent:
        raise NotFoundError("every series that was tried fires it; write a proof")
    return [fires, max(silent, key=lambda case: len(case.series))]


def _whole(seconds: float, step: float) -> float:
    return -(-seconds // step) * step


# Series that the rule does not tell apart ----------------------------------------------------------------------------


def _ensure_apart(rule: Mapping[str, Any], tree: Any, fires: Case) -> None:
    """Raise NotFoundError when two series that differ only in a label which the rule replaces are an error.

    An alert of severity none is an inhibitor's, that kube-prometheus ships in such a form.
    """
    labels = result_labels.of(tree) or Labels()
    first = next(expressions.selectors(tree), None)
    if first is None or rule["labels"].get("severity") == "none":
        return
    replaced = [name for name in ("alertname", *rule["labels"]) if labels.has(name) and _may_differ(first, name)]
    values = next((values for name, values in fires.series.items() if test_series.is_of(name, first.metric)), "")
    if not replaced or not values:
        return
    twins = dict.fromkeys(test_series.variants(first, replaced[0], _labels(tree, first)), values)
    failed, said = failures({"name": "proof", "rules": [rule]}, [replace(fires, series={**fires.series, **twins})])
    if -1 in failed and "same labelset" in said:
        raise NotFoundError(
            f"series that differ only in {replaced[0]}, which the rule replaces, are an error and no alert"
        )


def _ensure_real(rule: Mapping[str, Any], tree: Any, fires: Case, wait: float) -> None:
    """Raise NotFoundError when a second target, or a state that changes, keeps the alert from firing."""
    variations = [*reality.second_targets(tree, fires.series)]
    if wait:
        variations += reality.changed_states(tree, fires.series, lambda selector: _labels(tree, selector))
    group = {"name": "proof", "rules": [rule]}
    for variation in variations:
        failed, _ = failures(group, [replace(fires, series=variation.series)])
        if failed and (variation.must_fire or -1 in failed):
            raise NotFoundError(variation.reason)


def _may_differ(selector: Selector, label: str) -> bool:
    """Whether series of a selector may have several values of a label, as far as the expression says."""
    operators = {operator for name, operator, _ in selector.matchers if name == label}
    return "=" not in operators and bool(operators or (selector.metric == "ALERTS" and label == "alertname"))


# What is tried -------------------------------------------------------------------------------------------------------


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
    """A series for each selector, with the labels that it would have: see `_labels`."""
    series: dict[str, Selector] = {}
    for selector in expressions.selectors(tree):
        series.setdefault(test_series.instance(selector, more=_labels(tree, selector)), selector)
    return series


def _labels(tree: Any, selector: Selector) -> list[str]:
    """Labels that aggregations and joins keep and that the metric has, and those that every scrape gives."""
    exposed = catalogue.find(selector.metric)
    kept = [label for label in sorted(set(_kept(tree))) if exposed is None or label in exposed.labels]
    return [*kept, *(sorted(promql.TARGET_LABELS) if reality.is_scraped(selector.metric) else [])]


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


def _choices(
    name: str, selector: Selector, tree: Any, steps: int, step: float, bounds: Bounds | None
) -> list[dict[str, str]]:
    """What a selector's series may do, calm first and absent last: of a histogram its buckets, otherwise one series."""
    if selector.metric.endswith("_bucket") and not any(label == "le" for label, _, _ in selector.matchers):
        own = reality.bounds_of(selector.metric, bounds or {})
        return [*_histograms(selector, _labels(tree, selector), own, steps, step), {}]
    return [*({name: values} for values in _behaviours(selector, tree, steps, step)), {}]


def _histograms(
    selector: Selector, labels: Sequence[str], bounds: Sequence[float], steps: int, step: float
) -> Iterator[dict[str, str]]:
    """A thousand events per 15 s, all of them in one bucket: each that the histogram has, and beyond the last bound."""
    fixed = test_series.labels_of(selector, [label for label in labels if label != "le"])
    speed = 1000 * step / 15
    for least in [*bounds, math.inf]:
        yield {
            test_series.text(selector.metric, {**fixed, "le": "+Inf" if bound == math.inf else f"{bound:g}"}): _between(
                speed, speed if bound >= least else 0.0, steps
            )
            for bound in [*bounds, math.inf]
        }


def _behaviours(selector: Selector, tree: Any, steps: int, step: float) -> list[str]:
    """Values to try for a series, as promtool reads them, calm ones first. Counters are born at their first value."""
    numbers = sorted(set(_numbers(tree)))
    if COUNTED & set(selector.around):
        speeds = dict.fromkeys([0.0, 1.0, 1000.0, *(2 * abs(number) + 1 for number in numbers)])
        return [_between(speed * step / 15, speed * step / 15, steps) for speed in speeds]
    values = dict.fromkeys(
        [0.0, 1.0, *(one for number in numbers for one in (number / 2, 2 * number + 1, -number - 1))]
    )
    return [*(_between(value, 0.0, steps) for value in values), _between(0.0, step, steps)]


def _between(first: float, slope: float, steps: int) -> str:
    """Values of a series with a sample in the middle between two evaluations."""
    return " ".join(f"_ {first + slope * number:.12g}" for number in range(steps))
