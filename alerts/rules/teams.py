"""Alerting rules that teams write in rule files, with the owner and the labels of the file."""

from __future__ import annotations

from typing import Any

from alerts import alerting_rule
from alerts.alerting_rule import AlertingRule
from midwatch import grafana
from midwatch.spec.model import Platform
from midwatch.spec.rules import AlertRule, RuleFile
from midwatch.spec.values import format_duration


def of_file(platform: Platform, file: RuleFile) -> list[AlertingRule]:
    """Rules of a rule file, in its order."""
    return [_of_rule(platform, file, rule) for rule in file.alerts]


def records_of(file: RuleFile) -> list[dict[str, Any]]:
    """Recording rules of a rule file, in its order."""
    return [one.model_dump(exclude_defaults=True) for one in file.records]


def _of_rule(platform: Platform, file: RuleFile, written: AlertRule) -> AlertingRule:
    owner = written.owner or file.owner
    rule: dict[str, Any] = {
        "alert": written.alert,
        "expr": written.expr,
        "for": alerting_rule.wait_text(written.for_),
    }
    if written.keep_firing_for:
        rule["keep_firing_for"] = format_duration(written.keep_firing_for)
    owned = {"owner": owner} if owner else {}
    rule["labels"] = {"severity": written.severity, **owned, **file.labels, **written.labels}
    rule["annotations"] = alerting_rule.annotations_of(
        platform,
        written.alert,
        summary=written.summary,
        description=written.description,
        owner=owner,
        runbook=written.runbook,
        page=grafana.page_of(file),
    )
    rule["annotations"] |= written.annotations
    return AlertingRule(rule=rule, proof=written.proof)
