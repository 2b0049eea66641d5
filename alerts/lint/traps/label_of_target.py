"""A label that the program and its target both have: Prometheus keeps the program's own as `exported_…`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from promql_parser import AggregateExpr

from alerts import expressions
from alerts.expressions import Selector
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "label-of-target"

_PREFIX = "exported_"


def find(rules: Rules) -> Iterator[Finding]:
    """Labels that mean the target, or that are not there, depending on honor_labels.

    A Prometheus that was asked tells which; of somebody else's file alone it is said once for each metric.
    """
    said: set[tuple[str, str]] = set()
    for entry, tree in rules.judged_here if rules.exported is not None or rules.is_foreign else ():
        grouped = set(_grouped(tree))
        for selector in expressions.selectors(tree):
            fact = system_facts.find(selector.metric)
            for label in sorted(_used(selector, grouped)) if fact else ():
                own = label.removeprefix(_PREFIX)
                if fact is None or own not in fact.labels or (selector.metric, own) in said:
                    continue
                if wrong := _wrong(rules, selector.metric, label, own):
                    said.add((selector.metric, own))
                    yield entry.place, f"{about(entry)}{wrong}", _remedy(rules, own)


def _used(selector: Selector, grouped: set[str]) -> set[str]:
    names = {label for label, _, _ in selector.matchers} | grouped
    return {name for name in names if name.removeprefix(_PREFIX) in system_facts.OF_A_TARGET}


def _wrong(rules: Rules, metric: str, label: str, own: str) -> str:
    if rules.exported is None:
        kept = "scraped with honor_labels" if label == own else "scraped without honor_labels"
        return f"{label} of {metric} is what the program says only where it is {kept}"
    if metric not in (rules.live or ()):
        return ""
    is_exported = (metric, own) in rules.exported
    if is_exported and label == own:
        return f"{label} of {metric} is the target's; the program's own is {_PREFIX}{own}"
    return f"{metric} has no {label}; the program's own is {own}" if label != own and not is_exported else ""


def _remedy(rules: Rules, own: str) -> str:
    if rules.exported is not None:
        return "write the program's own"
    return f"see with --prometheus which it is, or match either, as in label_replace of {_PREFIX}{own}"


def _grouped(tree: Any) -> Iterator[str]:
    for node in expressions.walk(tree):
        if isinstance(node, AggregateExpr) and node.modifier is not None and str(node.modifier.type).endswith("By"):
            yield from node.modifier.labels
