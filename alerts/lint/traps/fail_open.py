"""A guard that lets everything pass while it is down: its own metrics do not count that, whoever asks it does."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding

ID = "fail-open-uncounted"


def find(rules: Rules) -> Iterator[Finding]:
    """The first alert on such a guard, where no alert reads what its callers count."""
    read = {selector.metric for _, selectors in rules.read for selector in selectors}
    said: set[str] = set()
    for entry, tree in rules.judged_here:
        for selector in expressions.selectors(tree):
            fact = system_facts.find(selector.metric)
            callers = set(fact.described.counted_by) if fact else set()
            if fact is None or not callers or fact.system in said or callers & read or selector.metric in callers:
                continue
            said.add(fact.system)
            message = f"{about(entry)}{fact.described.title} counts nothing while it is down and all may pass"
            yield entry.place, message, f"alert on {min(callers)}, too"
