"""Public rules of the systems that are shipped: what is wrong with each is found, and how many can never fire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.lint import linter, traps

SOURCES: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path("tests/alerts/rules_of_others.yaml").read_text())
RULES = [(source, rule) for source, rules in SOURCES.items() for rule in rules]
NEVER = [rule for _, rule in RULES if "never" in rule]

BY_LIVE = {
    "Cert-managerHittingAcmeRateLimits": "certmanager_http_acme_client_request_count",
    "OpentelemetryCollectorProcessorRefusedSpans": "otelcol_processor_incoming_items",
}
"""Rules whose name no version described here has: a Prometheus that has the program's other names tells."""


def found(folder: Path, rule: dict[str, Any], live: frozenset[str] | None = None) -> list[str]:
    file = folder / "rules.yml"
    alert = {"alert": rule["rule"], "expr": rule["expr"], "for": rule.get("for", "0s")}
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [alert]}]}))
    problems = linter.lint_rules([file], live=live, exported=None).problems
    return sorted({problem.id for problem in problems})


@pytest.mark.parametrize(
    ("source", "rule"), RULES, ids=[f"{source.split()[0]}-{rule['rule']}" for source, rule in RULES]
)
def test_the_traps_of_a_rule_are_found_and_no_others(source: str, rule: dict[str, Any], tmp_path: Path) -> None:
    ids = found(tmp_path, rule)
    assert [name for name in ids if name in traps.CHECKS] == sorted(rule.get("traps", [])), source


def test_every_trap_of_metrics_is_in_a_rule_of_others() -> None:
    seen = {trap for _, rule in RULES for trap in rule.get("traps", [])}
    assert seen == set(traps.CHECKS) - {"test-series-invented"}


@pytest.mark.parametrize("rule", NEVER, ids=[rule["rule"] for rule in NEVER])
def test_a_rule_that_can_never_fire_is_found_by_its_name_or_its_bound(rule: dict[str, Any], tmp_path: Path) -> None:
    if rule["rule"] in BY_LIVE:
        assert "metric-unknown" in found(tmp_path, rule, frozenset({BY_LIVE[rule["rule"]]}))
    else:
        assert {"quantile-beyond-buckets", "name-of-other-version"} & set(rule["traps"])


INVENTED = """
rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'argocd_app_reconcile_bucket{le="120"}', values: 0+1x10}
      - {series: 'argocd_git_request_duration_seconds_bucket{le="60"}', values: 0+1x10}
"""


def test_the_buckets_that_a_mixins_tests_invent_are_found(tmp_path: Path) -> None:
    file = tmp_path / "tests.yml"
    file.write_text(INVENTED)
    assert [one.id for one in linter.lint_rules([file], live=None).problems] == ["test-series-invented"] * 2


def test_the_figures_are_those_of_the_guide() -> None:
    public = [rule for source, rule in RULES if source != "seeded"]
    trapped = sum(bool(rule.get("traps")) for rule in public)
    never = sum("never" in rule for rule in public)
    text = Path("docs/figures.md").read_text()
    assert len(public) >= 40
    row = "Public rules of these systems: looked at, with a trap, that can never fire"
    assert f"| {row} | {len(public)}, {trapped}, {never} |" in text
