"""Checks of PromQL that Prometheus evaluates without a word, and that does not say what it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, SubqueryExpr, VectorSelector

from alerts import expressions, result_labels
from alerts.expressions import Selector
from alerts.lint.ruleset import RATES, RuleCheck, Rules, about
from alerts.result_labels import Labels
from midwatch import catalogue
from midwatch.spec.base import Finding
from midwatch.spec.values import format_duration

TWO_SAMPLES = RATES | {"delta", "idelta", "deriv", "changes", "resets", "predict_linear"}
"""Functions that give nothing for a single sample."""
COMPARISONS = frozenset({">", "<", ">=", "<=", "==", "!="})
ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^"})


def range_below_scrapes(rules: Rules) -> Iterator[Finding]:
    """A range in which two scrapes do not fit: of one sample there is no rate."""
    for entry, tree in rules.written:
        for selector in expressions.selectors(tree):
            function = next((name for name in reversed(selector.around) if name in TWO_SAMPLES), None)
            is_short = 0 < selector.range_seconds < 2 * rules.scrape_interval
            if function and is_short and selector.metric not in rules.records:
                window, scrape = format_duration(selector.range_seconds), format_duration(rules.scrape_interval)
                message = (
                    f"{about(entry)}{function} over {window} of {selector.metric}, which is scraped every {scrape}"
                )
                yield entry.place, message, f"write at least {format_duration(4 * rules.scrape_interval)}"


def rate_over_sum(rules: Rules) -> Iterator[Finding]:
    """A rate over a sum of counters: when one of them restarts, the sum falls, and the rate shows a burst."""
    for entry, tree in rules.written:
        for node in expressions.walk(tree):
            if isinstance(node, Call) and node.func.name in (*RATES, "resets") and _is_aggregated(rules, node.args[0]):
                message = (
                    f"{about(entry)}{node.func.name} over an aggregation: a counter that restarts looks like a burst"
                )
                yield entry.place, message, f"write the aggregation around it, as in sum({node.func.name}(x_total[5m]))"


def _is_aggregated(rules: Rules, argument: Any) -> bool:
    """Whether samples are those of an aggregation of counters."""
    if isinstance(argument, MatrixSelector):
        record = rules.records.get(argument.vector_selector.name or "")
        inner = expressions.parse_or_none(str(record["expr"])) if record else None
    else:
        inner = argument.expr if isinstance(argument, SubqueryExpr) else None
    inner = expressions.bare(inner)
    if not isinstance(inner, AggregateExpr):
        return False
    return not any(isinstance(node, Call) and node.func.name in TWO_SAMPLES for node in expressions.walk(inner))


def delta_of_counter(rules: Rules) -> Iterator[Finding]:
    """A difference of a counter's values, which is negative after a restart."""
    for entry, tree in rules.written:
        for selector in expressions.selectors(tree):
            function = selector.around[-1] if selector.around else ""
            is_counter = rules.is_counter(selector.metric) or _is_named_counter(selector.metric)
            if function in ("delta", "idelta", "deriv") and is_counter:
                message = f"{about(entry)}{function} of {selector.metric}, a counter: it falls with every restart"
                yield entry.place, message, "write increase, or rate"


def _is_named_counter(name: str) -> bool:
    return catalogue.find(name) is None and name.endswith("_total")


def bound_unknown(rules: Rules) -> Iterator[Finding]:
    """A bucket that the histogram does not have."""
    for entry, tree in rules.written:
        for selector in expressions.selectors(tree):
            bounds = rules.bounds_of(selector.metric)
            for label, operator, value in selector.matchers:
                if label == "le" and operator == "=" and bounds and not _is_bound(value, bounds):
                    known = ", ".join(f"{bound:g}" for bound in bounds)
                    yield entry.place, f"{about(entry)}{selector.metric} has no bucket le={value!r}", f"it has {known}"


def _is_bound(text: str, bounds: Sequence[float]) -> bool:
    try:
        return text == "+Inf" or float(text) in bounds
    except ValueError:
        return False


# Labels --------------------------------------------------------------------------------------------------------------

_TEMPLATE_LABEL = re.compile(r"(?:\$labels|\.Labels)\.(\w+)|index\s+(?:\$labels|\.Labels)\s+\"(\w+)\"")


_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_OPENS, _CLOSES = re.compile(r"(if|with|range|define|block)\b"), re.compile(r"end\b")
_CHANGES_DOT = ("with", "range")


def _said_labels(text: str) -> set[str]:
    """Labels of the alert that a template says: in a `range` or `with`, `.Labels` are those of what it goes through."""
    blocks: list[str] = []
    found: set[str] = set()
    for action in _ACTION.findall(text):
        moved = any(block in _CHANGES_DOT for block in blocks)
        own = action.replace(".Labels", ".elsewhere") if moved else action
        found |= {name for pair in _TEMPLATE_LABEL.findall(own) for name in pair if name}
        if opens := _OPENS.match(action):
            blocks.append(opens[1])
        elif _CLOSES.match(action) and blocks:
            blocks.pop()
    return found


def template_label_removed(rules: Rules) -> Iterator[Finding]:
    """A template that says a label which the expression has aggregated away: it says nothing."""
    for entry, tree in rules.written:
        labels = result_labels.of(tree) or Labels()
        texts = [str(text) for key in ("labels", "annotations") for text in entry.rule.get(key, {}).values()]
        names = set().union(*map(_said_labels, texts))
        for name in sorted(name for name in names if not labels.has(name)):
            message = f"{about(entry)}the result has no label {name!r}, which a template says"
            yield entry.place, message, f"keep it in the expression, as in sum by ({name}) (…), or leave it out"


def label_overwritten(rules: Rules) -> Iterator[Finding]:
    """A label of the rule that replaces the one by which series differ: two of them are an error, and no alert.

    Prometheus' own ALERTS have the alert's name, which every rule replaces. An alert of severity none is an
    inhibitor's, that kube-prometheus ships in this form.
    """
    for entry, tree in rules.written:
        if entry.severity == "none":
            continue
        labels = result_labels.of(tree) or Labels()
        replaced = {"alertname", *entry.rule["labels"]}
        pinned = {
            label for one in expressions.selectors(tree) for label, operator, _ in one.matchers if operator == "="
        }
        lost = sorted((replaced & labels.names) - pinned) if not labels.is_all_but else []
        if lost and labels.names <= replaced | pinned:
            message = f"{about(entry)}series that differ only in {', '.join(lost)} become the same alert"
            yield entry.place, message, f"aggregate without {', '.join(lost)}, or leave the label to the series"
        first = next(expressions.selectors(tree), None)
        if first is not None and first.metric == "ALERTS" and labels.has("alertname") and not _is_pinned(first):
            message = f"{about(entry)}alerts that differ only in alertname become the same alert"
            yield entry.place, message, "aggregate them, as in max without (alertname, alertstate) (ALERTS{…})"


def _is_pinned(selector: Selector) -> bool:
    return any(label == "alertname" and operator == "=" for label, operator, _ in selector.matchers)


def sides_unmatched(rules: Rules) -> Iterator[Finding]:
    """Two sides with different labels: no series of one matches any of the other."""
    for entry, tree in rules.written:
        for node in expressions.walk(tree):
            if not isinstance(node, BinaryExpr) or str(node.op) == "or":
                continue
            left, right = result_labels.of(node.lhs), result_labels.of(node.rhs)
            is_free = node.modifier is None or node.modifier.matching is None
            if left is None or right is None or not is_free or left.is_all_but or right.is_all_but:
                continue
            if left.names != right.names:
                said = [", ".join(sorted(side.names)) or "none" for side in (left, right)]
                message = f"{about(entry)}the sides of {node.op} have different labels ({said[0]}; {said[1]})"
                yield entry.place, message, "aggregate both by the same labels, or match them with on (…)"


def match_label_missing(rules: Rules) -> Iterator[Finding]:
    """A label that `on` or `group_left` names and a side does not have: nothing is told apart, or taken over, by it.

    `or` is left out: what it adds is often a fixed number without labels.
    """
    for entry, tree in rules.written:
        for node in expressions.walk(tree):
            if not isinstance(node, BinaryExpr) or str(node.op) == "or":
                continue
            for words, side, label in _missing(node):
                message = f"{about(entry)}{words} ({label}), and the {side} side of {node.op} has no label {label}"
                yield entry.place, message, f"keep it there, as in sum by ({label}) (…), or match by other labels"


def _missing(node: BinaryExpr) -> Iterator[tuple[str, str, str]]:
    """What names a label, which side lacks it, and the label."""
    sides = {"left": result_labels.of(node.lhs), "right": result_labels.of(node.rhs)}
    modifier = node.modifier
    if modifier is None or None in sides.values():
        return
    if modifier.matching is not None and str(modifier.matching.type).endswith("Include"):
        for label in modifier.matching.labels:
            yield from (("on", side, label) for side, labels in sides.items() if labels and not labels.has(label))
    one = {"ManyToOne": ("group_left", "right"), "OneToMany": ("group_right", "left")}.get(_card(modifier))
    if one is not None:
        words, side = one
        labels = sides[side]
        for label in modifier.group_labels or ():
            if labels and not labels.has(label):
                yield words, side, label


def _card(modifier: Any) -> str:
    """How many series of a side match one of the other."""
    return str(modifier.card).rpartition(".")[2]


def ratio_of_itself(rules: Rules) -> Iterator[Finding]:
    """A ratio of a metric's series to the same metric's: each is divided by itself, which is 1."""
    for entry, tree in rules.written:
        for node in expressions.walk(tree):
            if not (isinstance(node, BinaryExpr) and str(node.op) == "/") or _is_matched(node):
                continue
            part, whole = _plain_selector(node.lhs), _plain_selector(node.rhs)
            if part and whole and part.metric == whole.metric and set(whole.matchers) <= set(part.matchers):
                message = f"{about(entry)}each series of {part.metric} is divided by itself: the ratio is 1"
                yield entry.place, message, "aggregate both sides, as in sum(part) / sum(whole)"


def _is_matched(node: BinaryExpr) -> bool:
    return node.modifier is not None and node.modifier.matching is not None


def _plain_selector(node: Any) -> Selector | None:
    """The selector of a side that is nothing but one, or its rate."""
    node = expressions.bare(node)
    inner = expressions.bare(node.args[0]) if isinstance(node, Call) and node.func.name in RATES else node
    if not isinstance(inner, VectorSelector | MatrixSelector):
        return None
    return next(expressions.selectors(inner), None)


CHECKS: dict[str, RuleCheck] = {
    "range-below-scrapes": range_below_scrapes,
    "rate-over-sum": rate_over_sum,
    "delta-of-counter": delta_of_counter,
    "bucket-unknown": bound_unknown,
    "template-label-removed": template_label_removed,
    "label-overwritten": label_overwritten,
    "sides-unmatched": sides_unmatched,
    "match-label-missing": match_label_missing,
    "ratio-of-itself": ratio_of_itself,
}
"""Checks of expressions by id."""
