"""A state that is a label: another bad state is another series, of which `for` begins again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alerts import expressions, result_labels
from alerts.lint.ruleset import Rules, about
from alerts.result_labels import Labels
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "state-restarts-for"


def find(rules: Rules) -> Iterator[Finding]:
    """Alerts that wait, and have in their result a label of which the selector finds several values."""
    for entry, tree in rules.unrecorded:
        found = {**dict(result_labels.states(tree)), **dict(_known(tree))} if entry.for_ else {}
        for selector, label in found.items():
            message = f"{about(entry)}`for` begins again whenever {label} of {selector.metric} changes"
            yield entry.place, message, f"take the state out of the result, as in max without ({label}) (…)"


def _known(tree: Any) -> Iterator[tuple[expressions.Selector, str]]:
    """Labels that the metric's system says are a state, and that the selector does not pin."""
    labels = result_labels.of(tree) or Labels()
    for selector, around in expressions.placed(tree):
        fact = system_facts.find(selector.metric)
        pinned = {label for label, operator, _ in selector.matchers if operator == "="}
        if fact is not None and not expressions.calls(around, "absent", "absent_over_time"):
            yield from ((selector, label) for label in sorted(fact.states - pinned) if labels.has(label))
