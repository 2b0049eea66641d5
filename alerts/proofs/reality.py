"""What real series are like: the labels and buckets that a metric has, second targets, and states that change.

A proof by series that no Prometheus would have proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promql_parser import BinaryExpr

from alerts import expressions, result_labels
from alerts.expressions import Selector
from alerts.proofs import series as test_series
from alerts.proofs.case import NotFoundError
from alerts.result_labels import Labels
from alerts.routing.matchers import Matcher
from midwatch import catalogue, metrics

_WRITTEN_BY_PROMETHEUS = frozenset({"ALERTS", "ALERTS_FOR_STATE"})
_TARGET, _OTHER_TARGET = f'instance="{test_series.GROUP}"', 'instance="other"'


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Series that are as real as those of a proof, and what it means when an alert does not bear them.

    Where the alert need not fire (its numbers may be others), it must at least not be an error.
    """

    series: Mapping[str, str]
    reason: str
    must_fire: bool


def is_scraped(metric: str) -> bool:
    """Whether a metric's series have the labels of a target, as all do that no rule records."""
    return ":" not in metric and metric not in _WRITTEN_BY_PROMETHEUS


def ensure_exposed(tree: Any, own: Mapping[str, Sequence[float]]) -> None:
    """Raise NotFoundError when a selector asks for a label or a bucket that no series of a metric has.

    Metrics of others may get labels when they are scraped. `own` are buckets of histograms that the platform file sets.
    """
    for selector in expressions.selectors(tree):
        _ensure_bucket(selector, own)
        exposed = catalogue.find(selector.metric)
        if exposed is None or exposed.metric.name not in metrics.CATALOGUE or not is_scraped(selector.metric):
            continue
        for label, operator, value in selector.matchers:
            asks = label != "__name__" and not Matcher(label, operator, value).matches("")
            if asks and label not in exposed.labels:
                raise NotFoundError(f"{exposed.metric.name} has no label {label!r}: no series has it")


def _ensure_bucket(selector: Selector, own: Mapping[str, Sequence[float]]) -> None:
    matchers = [Matcher(*one) for one in selector.matchers if one[0] == "le"]
    bounds = _bounds(selector.metric, own)
    if not matchers or not bounds:
        return
    spelled = [text for bound in bounds for text in (f"{bound:g}", str(float(bound)))] + ["+Inf"]
    if not any(all(one.matches(text) for one in matchers) for text in spelled):
        asked = ", ".join(map(str, matchers))
        raise NotFoundError(f"{selector.metric} has no bucket {asked}: its last bound is {max(bounds):g}")


def bounds_of(metric: str, own: Mapping[str, Sequence[float]]) -> Sequence[float]:
    """Buckets of a histogram's `_bucket` series. Raises NotFoundError when nobody here knows them."""
    bounds = _bounds(metric, own)
    if not bounds:
        raise NotFoundError(f"the buckets of {metric} are not known; write a proof with those that it has")
    return bounds


def _bounds(metric: str, own: Mapping[str, Sequence[float]]) -> Sequence[float]:
    if not metric.endswith("_bucket"):
        return ()
    exposed = catalogue.find(metric)
    return own.get(metric.removesuffix("_bucket")) or (exposed.metric.buckets if exposed else ())


# Second targets ------------------------------------------------------------------------------------------------------


def second_targets(tree: Any, series: Mapping[str, str]) -> Iterator[Variation]:
    """The same series of a second target, and those that differ in a label which a match leaves out."""
    matched = list(_matches(tree))
    if not matched:
        return
    doubled = {name.replace(_TARGET, _OTHER_TARGET): values for name, values in series.items()}
    reason = "two targets are an error and no alert: aggregate the sides that are matched"
    yield Variation(series={**doubled, **series}, reason=reason, must_fire=False)
    for label, selector in _ignored(matched):
        several = _several(series, selector, label)
        if several:
            reason = f"two series of {selector.metric} that differ only in {label} are an error and no alert"
            yield Variation(series=several, reason=reason, must_fire=False)


def _matches(node: Any) -> Iterator[Any]:
    """Arithmetic and comparisons of two sides that say by which labels they match."""
    is_matching = isinstance(node, BinaryExpr) and str(node.op) not in result_labels.SET_OPERATORS
    if is_matching and node.modifier is not None and node.modifier.matching is not None:
        yield node
    for child in expressions.children(node):
        yield from _matches(child)


def _ignored(matched: Sequence[Any]) -> Iterator[tuple[str, Selector]]:
    """Labels that a match ignores, and selectors on its sides whose series have several values of them."""
    for node in matched:
        matching = node.modifier.matching
        if str(matching.type).endswith("Include"):
            continue
        for label in matching.labels:
            sides = [one for one in (node.lhs, node.rhs) if (result_labels.of(one) or Labels()).has(label)]
            found = [one for side in sides for one in expressions.selectors(side)]
            said = [one for one in found if any(name == label for name, _, _ in one.matchers)] or found[:1]
            yield from ((label, one) for one in said)


def _several(series: Mapping[str, str], selector: Selector, label: str) -> dict[str, str]:
    """The series with two of the selector's that differ in a label instead of one; empty when it has one value only."""
    own = {name: values for name, values in series.items() if _is_of(name, selector)}
    rest = {name: values for name, values in series.items() if name not in own}
    twins: dict[str, str] = {}
    for name, values in own.items():
        (named,) = expressions.selectors(expressions.parse(name))
        labels = [one for one, _, _ in named.matchers if one != "__name__"]
        found = test_series.variants(selector, label, [one for one in labels if one != label])
        twins |= dict.fromkeys(found, values)
    return {**rest, **twins} if len(twins) > len(own) else {}


def _is_of(name: str, selector: Selector) -> bool:
    return test_series.is_of(name, selector.metric)


# States --------------------------------------------------------------------------------------------------------------


def changed_states(
    tree: Any, series: Mapping[str, str], labels_of: Callable[[Selector], Sequence[str]]
) -> Iterator[Variation]:
    """A state that is a label changes half way, from one that the selector finds to another."""
    for selector, label in result_labels.states(tree):
        found = test_series.variants(selector, label, labels_of(selector))
        values = next((values for name, values in series.items() if _is_of(name, selector)), "")
        if len(found) < 2 or not values:
            continue
        samples = values.split()
        half = len(samples) // 2
        rest = {name: one for name, one in series.items() if not _is_of(name, selector)}
        changed = {
            found[0]: " ".join([*samples[:half], "stale"]),
            found[1]: " ".join(["_"] * half + samples[half:]),
        }
        reason = f"`for` begins again whenever {label} of {selector.metric} changes: take it out of the result"
        yield Variation(series={**rest, **changed}, reason=reason, must_fire=True)
