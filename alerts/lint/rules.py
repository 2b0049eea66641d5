"""Checks of rules: unknown metrics, counters read as gauges, alerts without owner, runbook or route."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

from alerts import expressions
from alerts.lint import promql, traps
from alerts.lint.problem import LintProblem, problems_of, unique
from alerts.lint.ruleset import RuleCheck, about
from alerts.lint.ruleset import Rules as Rules  # noqa: PLC0414 - known under this module too
from alerts.routing import delivery
from midwatch import catalogue, metrics
from midwatch.spec.base import Finding

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

KEPT = frozenset(f"{metrics.LOOP_STEP_DURATION.name}_{part}" for part in ("bucket", "count", "sum"))
"""Counters that are the same after a restart: the loop counts the episodes of its evidence log."""

EXPENSIVE_RANGE = 86400.0
"""Seconds of raw samples that one evaluation reads per series; beyond it a record has to be read."""
EXPENSIVE_STEPS = 50_000
"""Steps of one subquery: 11,000 is what Prometheus lets a range query have, some of which a period of 90 days needs."""


def run(rules: Rules, checks: Mapping[str, RuleCheck] | None = None) -> list[LintProblem]:
    """Every problem that the checks find, all or those given, in the order of their places."""
    return unique(
        problem
        for name, check in (CHECKS if checks is None else checks).items()
        for problem in problems_of(name, check(rules), rules.document)
    )


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
                yield entry.place, f"{about(entry)}{place} has no metric {name!r}", "correct its name"


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
                    message = f"{about(entry)}{exposed.metric.name} has no label {label!r}"
                    yield entry.place, message, f"it has {', '.join(exposed.metric.labels) or 'none'}"


def counter_without_rate(rules: Rules) -> Iterator[Finding]:
    """A counter compared by its value, which falls to 0 with every restart."""
    for entry, selectors in rules.read:
        for selector in selectors:
            is_counter = selector.metric not in KEPT and rules.is_counter(selector.metric)
            if is_counter and not COUNTER_FUNCTIONS & set(selector.around):
                message = f"{about(entry)}{selector.metric} is a counter, read without rate"
                yield entry.place, message, f"write rate({selector.metric}[5m]), or increase"


def range_expensive(rules: Rules) -> Iterator[Finding]:
    """Ranges of raw series so long that each evaluation reads very many samples."""
    for entry, tree in rules.written:
        for selector in expressions.selectors(tree):
            if selector.range_seconds > EXPENSIVE_RANGE and ":" not in selector.metric:
                days = selector.range_seconds / 86400
                message = f"{about(entry)}every evaluation reads {days:g} days of {selector.metric}"
                yield entry.place, message, "record it over minutes, and read the record"
        for length, step in expressions.subqueries(tree):
            if step and length / step > EXPENSIVE_STEPS:
                message = f"{about(entry)}a subquery of {length / step:,.0f} steps"
                yield entry.place, message, "write a longer step"


def owner_missing(rules: Rules) -> Iterator[Finding]:
    """An alert of nobody."""
    for entry in rules.alerts:
        if "owner" not in entry.rule["labels"] and entry.rule["labels"].get("severity") != "none":
            yield entry.place, f"{about(entry)}no owner", "add owner, here or for the whole file"


def runbook_missing(rules: Rules) -> Iterator[Finding]:
    """An alert without a runbook: neither its own nor a shipped page."""
    pages = {page.name.removesuffix(".md") for page in (files("alerts") / "runbooks").iterdir()}
    for entry in rules.alerts:
        if entry.name not in pages and not entry.has_runbook:
            yield entry.place, f"{about(entry)}no runbook", "say what to do about it, and name the page in runbook"


def alert_unrouted(rules: Rules) -> Iterator[Finding]:
    """An alert that only the default receiver takes."""
    if rules.config is None:
        return
    for entry in rules.alerts:
        if delivery.receivers(rules.config, entry.labels) == [rules.config.route.receiver]:
            yield entry.place, f"{about(entry)}no route takes it", "give it an owner and a severity"


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
    **promql.CHECKS,
    **traps.CHECKS,
}
