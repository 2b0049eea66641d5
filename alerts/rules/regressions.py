"""Alerts on models whose trainings or releases have become worse than their own history."""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

ALERT = "ModelRegressed"


def of_platform(platform: Platform) -> list[AlertingRule]:
    """One for each model that is compared with its history."""
    compared = [model for model in platform.models if model.regression is not None]
    return [tuning.tuned(model, _regressed(platform, model)) for model in compared if not tuning.is_off(model, ALERT)]


def _regressed(platform: Platform, model: Model) -> AlertingRule:
    verdict = promql.select(metrics.REGRESSION_VERDICT, model=model.name, verdict="regressed")
    series = f'{metrics.REGRESSION_VERDICT.name}{{model="{model.name}",series="accuracy",verdict="regressed"}}'
    return alerting_rule.build(
        platform,
        ALERT,
        promql.max_by(verdict, "model", "series").equals(1),
        0.0,
        model.owner,
        Severity.TICKET,
        f"{model.name}: {{{{ $labels.series }}}} is worse than its history",
        "The newest trainings or the newest release are worse than those before by more than is tolerated, and not by "
        "chance. midwatch loop regressions says since which version, and by how much.",
        runbook=model.runbook,
        page=grafana.Page.CANARY,
        model=model.name,
        proof=Proof.model_validate(
            {"fires": {series: "1x20"}, "silent": {series: "0x20"}, "within": 60.0, "interval": 15.0}
        ),
    )
