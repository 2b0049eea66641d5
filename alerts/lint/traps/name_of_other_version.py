"""A name that the system's version does not have: after a rename a rule is silent, and nothing is in error."""

from __future__ import annotations

from collections.abc import Iterator

from alerts import expressions
from alerts.lint.ruleset import Rules, about
from midwatch import system_facts
from midwatch.spec.base import Finding
from midwatch.spec.system_rules import version_text
from midwatch.system_facts import Fact

ID = "name-of-other-version"


def find(rules: Rules) -> Iterator[Finding]:
    """Names that the stated version lacks, or the newest where none is stated, with what it calls them."""
    for entry, tree in rules.judged_here:
        names = {selector.metric for selector in expressions.selectors(tree)}
        for name in sorted(names - set(rules.live or ())):
            fact = system_facts.find(name)
            version = rules.versions.get(fact.system, fact.described.versions.read) if fact else ()
            if fact is None or name.removesuffix(fact.suffix) in fact.metric.names_exposed(fact.newest, version):
                continue
            newer = fact.metric.name_in(fact.newest, version) + fact.suffix
            if newer not in names or not fact.metric.is_in(version):
                yield entry.place, f"{about(entry)}{_said(fact, version)} has no {name}", _remedy(fact, version, newer)


def _said(fact: Fact, version: tuple[int, ...]) -> str:
    return f"{fact.described.title} {version_text(version)}"


def _remedy(fact: Fact, version: tuple[int, ...], newer: str) -> str:
    if fact.metric.is_in(version):
        return f"it is called {newer}"
    ranged = (("from", fact.metric.since), ("until", fact.metric.until))
    return f"it is there {' '.join(f'{word} {version_text(one)}' for word, one in ranged if one is not None)}"
