"""Checks of rules: unknown metrics, counters read as gauges, alerts without owner, runbook or route."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from alerts import expressions
from alerts.expressions import Selector
from alerts.inventory import Entry
from alerts.lint.problem import LintProblem, problems_of
from alerts.routing import delivery
from alerts.routing.configuration import Config
from midwatch import catalogue
from midwatch.spec.base import Finding
from midwatch.spec.document import Document

OWN_PREFIXES = ("ml_", "midwatch_", "dr_", "chaos_", "canary_", "slo:")
"""Names that only Midwatch publishes: one that the catalogue lacks is a mistake, whatever Prometheus says."""

COUNTER_FUNCTIONS = frozenset(
    {
        "rate",
        "irate",
        "increase",
        "resets",
        "changes",
        "absent",
        "absent_over_time",
        "present_over_time",
        "count",
        "count_over_time",
        "timestamp",
        "group",
        "delta",
    }
)
"""What may be asked of a counter; its value by itself says only when its process began."""

EXPENSIVE_RANGE = 86400.0
"""Seconds of raw samples that one evaluation reads per series; beyond it a record has to be read."""
EXPENSIVE_STEPS = 50_000
"""Steps of one subquery: 11,000 is what Prometheus lets a range query have, some of which a period of 90 days needs."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules to look at. `live` are the metrics that a Prometheus has, if one was asked; `document` says where."""

    document: Document
    alerts: Sequence[Entry]
    groups: Sequence[Mapping[str, Any]]
    config: Config | None = None
    live: Collection[str] | None = None

    @cached_property
    def records(self) -> dict[str, Mapping[str, Any]]:
        """Recording rules by name, the first of each."""
        by_name: dict[str, Mapping[str, Any]] = {}
        for group in self.groups:
            for rule in group["rules"]:
                if "record" in rule:
                    by_name.setdefault(rule["record"], rule)
        return by_name

    @cached_property
    def read(self) -> list[tuple[Entry, list[Selector]]]:
        """Selectors of every alert whose expression can be parsed."""
        return [(entry, list(expressions.selectors(tree))) for entry in self.alerts if (tree := _tree(entry))]


def _tree(entry: Entry) -> Any:
    try:
        return expressions.parse(entry.rule["expr"])
    except ValueError:
        return None  # promtool has the last word, and says it better


RuleCheck = Callable[[Rules], Iterator[Finding]]


def run(rules: Rules) -> list[LintProblem]:
    """Every problem that the checks find, in the order of their places."""
    problems = (
        problem for name, check in CHECKS.items() for problem in problems_of(name, check(rules), rules.document)
    )
    return sorted(set(problems))


def _about(entry: Entry) -> str:
    return f"{entry.name}: "


def metric_unknown(rules: Rules) -> Iterator[Finding]:
    """A metric that nobody publishes: of our names by the catalogue, of all others by a live Prometheus."""
    for entry, selectors in rules.read:
        for selector in selectors:
            name = selector.metric
            if not name or name in rules.records:
                continue
            if _is_ours(name):
                place, is_known = "the catalogue", catalogue.find(name) is not None
            else:
                place, is_known = "Prometheus", rules.live is None or name in rules.live
            if not is_known:
                yield entry.place, f"{_about(entry)}{place} has no metric {name!r}", "correct its name"


def _is_ours(name: str) -> bool:
    return name.startswith(OWN_PREFIXES)


def label_unknown(rules: Rules) -> Iterator[Finding]:
    """A label that a metric of ours does not have: the selector finds nothing. Others' may get labels when scraped."""
    for entry, selectors in rules.read:
        for selector in selectors:
            exposed = catalogue.find(selector.metric)
            if exposed is None or not _is_ours(selector.metric) or selector.metric.startswith("slo:"):
                continue
            for label, _, _ in selector.matchers:
                if label not in exposed.labels and label != "__name__":
                    message = f"{_about(entry)}{exposed.metric.name} has no label {label!r}"
                    yield entry.place, message, f"it has {', '.join(exposed.metric.labels) or 'none'}"


def counter_without_rate(rules: Rules) -> Iterator[Finding]:
    """A counter compared by its value, which falls to 0 with every restart."""
    for entry, selectors in rules.read:
        for selector in selectors:
            if _is_counter(selector.metric) and not COUNTER_FUNCTIONS & set(selector.around):
                message = f"{_about(entry)}{selector.metric} is a counter, read without rate"
                yield entry.place, message, f"write rate({selector.metric}[5m]), or increase"


def _is_counter(name: str) -> bool:
    """Whether a name is a counter: the catalogue knows, and of names that it lacks the suffix is the convention."""
    exposed = catalogue.find(name)
    return exposed.is_counter if exposed else name.endswith(("_total", "_bucket"))


def range_expensive(rules: Rules) -> Iterator[Finding]:
    """Ranges of raw series so long that each evaluation reads very many samples."""
    for entry, selectors in rules.read:
        for selector in selectors:
            if selector.range_seconds > EXPENSIVE_RANGE and ":" not in selector.metric:
                days = selector.range_seconds / 86400
                message = f"{_about(entry)}every evaluation reads {days:g} days of {selector.metric}"
                yield entry.place, message, "record it over minutes, and read the record"
        for length, step in expressions.subqueries(_tree(entry)):
            if step and length / step > EXPENSIVE_STEPS:
                message = f"{_about(entry)}a subquery of {length / step:,.0f} steps"
                yield entry.place, message, "write a longer step"


def owner_missing(rules: Rules) -> Iterator[Finding]:
    """An alert of nobody."""
    for entry in rules.alerts:
        if "owner" not in entry.rule["labels"] and entry.rule["labels"].get("severity") != "none":
            yield entry.place, f"{_about(entry)}no owner", "add owner, here or for the whole file"


def runbook_missing(rules: Rules) -> Iterator[Finding]:
    """An alert without a runbook: neither its own nor a shipped page."""
    pages = {page.name.removesuffix(".md") for page in (files("alerts") / "runbooks").iterdir()}
    for entry in rules.alerts:
        if entry.name not in pages and not entry.has_runbook:
            yield entry.place, f"{_about(entry)}no runbook", "say what to do about it, and name the page in runbook"


def alert_unrouted(rules: Rules) -> Iterator[Finding]:
    """An alert that only the default receiver takes."""
    if rules.config is None:
        return
    for entry in rules.alerts:
        if delivery.receivers(rules.config, entry.labels) == [rules.config.route.receiver]:
            yield entry.place, f"{_about(entry)}no route takes it", "give it an owner and a severity"


def record_unused(rules: Rules) -> Iterator[Finding]:
    """A record that no rule reads and no catalogue offers to dashboards."""
    texts = [str(rule["expr"]) for group in rules.groups for rule in group["rules"]]
    read = {name for text in texts for name in _NAME.findall(text)}
    for name in sorted(set(rules.records) - read - set(catalogue.names()) - SLOTH_FOR_DASHBOARDS):
        yield (), f"no rule and no dashboard reads the record {name}", "remove it"


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

SLOTH_FOR_DASHBOARDS = frozenset(
    {
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
        "sloth_slo_info",
    }
)
"""Records of the Sloth form that its own dashboards read."""


def unjudged(rules: Rules) -> list[str]:
    """Metrics that the catalogue lacks, of which only a live Prometheus could say whether they are there."""
    if rules.live is not None:
        return []
    names = {selector.metric for _, selectors in rules.read for selector in selectors} - {""}
    known = {*catalogue.names(), *rules.records}
    return sorted(name for name in names - known if not _is_ours(name))


CHECKS: dict[str, RuleCheck] = {
    "metric-unknown": metric_unknown,
    "label-unknown": label_unknown,
    "counter-without-rate": counter_without_rate,
    "range-expensive": range_expensive,
    "owner-missing": owner_missing,
    "runbook-missing": runbook_missing,
    "alert-unrouted": alert_unrouted,
    "record-unused": record_unused,
}
