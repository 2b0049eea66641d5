"""A value of a series that is gone when it is at its worst: compared with something, nothing is nothing."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "absent-when-worst"


def find(rules: Rules) -> Iterator[Finding]:
    """Alerts on such a value, where neither they nor another of the file see its absence."""
    for entry, tree in rules.judged_here:
        for selector, around in expressions.placed(tree):
            fact = system_facts.find(selector.metric)
            is_asked = expressions.combines(around, "unless") or selector.metric in rules.missed
            if fact is not None and fact.metric.vanishes and not is_asked:
                message = f"{about(entry)}{selector.metric} has no series when it is at its worst"
                yield entry.place, message, "alert on its absence for each that has to be there, from an inventory"
