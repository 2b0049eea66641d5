"""A metric that is published only where somebody switched it on: without that a rule is silent for ever."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "off-by-default"


def find(rules: Rules) -> Iterator[Finding]:
    """Such metrics, where no alert of the file sees that a system publishes none; a Prometheus that was asked knows."""
    if rules.live is not None:
        return
    noticed = {fact.system for name in rules.missed if (fact := system_facts.find(name))}
    said: set[str] = set()
    for entry, tree in rules.judged_here:
        for selector in expressions.selectors(tree):
            fact = system_facts.find(selector.metric)
            if fact is None or not fact.metric.off_by_default or fact.system in noticed or selector.metric in said:
                continue
            said.add(selector.metric)
            message = f"{about(entry)}{selector.metric} is off by default, and its absence is nobody's alert"
            yield entry.place, message, f"{fact.described.switch_on}; and alert on its absence"
