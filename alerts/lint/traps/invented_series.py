"""A unit test or a proof whose series the program cannot have: it passes for a rule that never fires."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules
from midwatch import system_facts
from midwatch.spec.base import Finding
from midwatch.system_facts import Fact

ID = "test-series-invented"


def find(rules: Rules) -> Iterator[Finding]:
    """Series of tests with bounds or labels that the metric does not have in any version."""
    for place, text in rules.test_series:
        tree = expressions.parse_or_none(text)
        for selector in expressions.selectors(tree) if tree is not None else ():
            fact = system_facts.find(selector.metric)
            for label, _, value in selector.matchers if fact else ():
                if fact and (said := _invented(fact, label, value)):
                    yield place, f"the test's {selector.metric} has {said}", "take the series from the real program"


def _invented(fact: Fact, label: str, value: str) -> str:
    if label != "le" or fact.suffix != "_bucket":
        return ""
    try:
        known = value == "+Inf" or float(value) in fact.bounds
    except ValueError:
        known = False
    real = ", ".join(f"{bound:g}" for bound in sorted(fact.bounds))
    return "" if known else f"le={value!r}, and {fact.system} has the bounds {real}"
