"""An age that its publisher writes: it stands still when the publisher does, and looks fresh for ever."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "age-without-heartbeat"


def find(rules: Rules) -> Iterator[Finding]:
    """Alerts on an age that ask neither `up` nor, here or elsewhere in the file, for its absence."""
    for entry, tree in rules.judged_here:
        selectors = list(expressions.selectors(tree))
        if any(selector.metric == "up" for selector in selectors):
            continue
        for selector in selectors:
            fact = system_facts.find(selector.metric)
            if fact is not None and fact.metric.is_age and selector.metric not in rules.missed:
                message = f"{about(entry)}{selector.metric} is an age, and stands still when its publisher does"
                yield entry.place, message, "read up of the same target, too, or alert on its absence"
