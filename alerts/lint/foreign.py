"""Reads anybody's rule files of Prometheus for the checks: its own labels are not asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alerts import verbatim
from alerts.alerting_rule import AlertingRule
from alerts.inventory import Entry
from alerts.lint.ruleset import Rules
from alerts.routing import shapes
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import alerting
from midwatch.spec.base import Place
from midwatch.spec.document import Document
from midwatch.spec.values import format_duration

Written = tuple[Place, dict[str, Any]]


def load(
    file: Path, *, live: frozenset[str] | None, exported: frozenset[tuple[str, str]] | None, scrape_interval: float
) -> list[Rules]:
    """Rules or promtool's tests of each document of a file; InvalidInputError for what is neither, or no PromQL.

    `live` and `exported` are what a Prometheus has, if one was asked: names, and labels kept as `exported_…`.
    """
    documents = verbatim.read(file)
    problems = [problem for document in documents for problem in document.problems]
    if not documents:
        raise InvalidInputError.at(file, "the file is empty")
    every = []
    for document in documents:
        tests = list(_test_series(document))
        rules = [] if tests else list(_rules(document, problems))
        problems += [document.problem(place, said) for place, rule in rules if (said := _wrong(rule))]
        entries = [_entry(file, place, rule) for place, rule in rules if "alert" in rule]
        groups = [{"rules": [rule for _, rule in rules]}]
        every.append(
            Rules(
                document=document,
                alerts=entries,
                groups=groups,
                live=live,
                scrape_interval=scrape_interval,
                exported=exported,
                is_foreign=True,
                test_series=tests,
            )
        )
    if problems:
        raise InvalidInputError(problems)
    return every


def _test_series(document: Document) -> Iterator[tuple[Place, str]]:
    """Series of a file of promtool's tests, with their places."""
    for place, test in _mappings(document.values, ("tests",)):
        for inside, series in _mappings(test, (*place, "input_series")):
            if isinstance(series.get("series"), str):
                yield (*inside, "series"), series["series"]


def _mappings(values: dict[str, Any], place: Place) -> Iterator[Written]:
    """Mappings of a list, with their places; the last part of `place` is the list's key."""
    listed = values.get(str(place[-1]))
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(one, dict):
            yield (*place, index), one


def _rules(document: Document, problems: list[Problem]) -> Iterator[Written]:
    """Rules with their places, of a rule file or of the operator's object."""
    values = document.values
    above: Place = ()
    if "groups" not in values and isinstance(values.get("spec"), dict):
        values, above = values["spec"], ("spec",)
    groups = values.get("groups")
    if not isinstance(groups, list):
        problems.append(document.problem(above, "not a rule file of Prometheus: it has no list of groups"))
        return
    for index, group in enumerate(groups):
        listed = group.get("rules") if isinstance(group, dict) else None
        for number, rule in enumerate(listed if isinstance(listed, list) else ()):
            place = (*above, "groups", index, "rules", number)
            if _is_rule(rule):
                yield place, _plain(rule)
            else:
                problems.append(document.problem(place, "not a rule: it has an expr, and either an alert or a record"))


def _is_rule(rule: object) -> bool:
    if not isinstance(rule, dict) or not isinstance(rule.get("expr"), str):
        return False
    return isinstance(rule.get("alert"), str) != isinstance(rule.get("record"), str)


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule whose labels and annotations are mappings, and whose wait is in seconds."""
    wait = shapes.seconds(str(rule.get("for") or "0"))
    mappings = {key: rule[key] if isinstance(rule.get(key), dict) else {} for key in ("labels", "annotations")}
    return {**rule, **mappings, "for": format_duration(wait or 0.0)}


def _wrong(rule: dict[str, Any]) -> str:
    return alerting.syntax_problem(str(rule["expr"]))


def _entry(file: Path, place: Place, rule: dict[str, Any]) -> Entry:
    return Entry(alert=AlertingRule(rule=rule), file=file.name, origin=file.stem, place=place)
