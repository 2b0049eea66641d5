"""The alert on a canary that the gate failed: its rollout is held or aborted, and somebody has to look why."""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

ALERT = "CanaryFailed"
COMPARED = ("model", "baseline", "canary")


def of_platform(platform: Platform) -> list[AlertingRule]:
    """One for each model whose canaries are judged."""
    judged = [model for model in platform.models if model.canary and not tuning.is_off(model, ALERT)]
    return [tuning.tuned(model, _failed(platform, model)) for model in judged]


def _failed(platform: Platform, model: Model) -> AlertingRule:
    verdict = promql.select(metrics.CANARY_VERDICT, model=model.name, verdict="fail")
    series = f'{metrics.CANARY_VERDICT.name}{{model="{model.name}",baseline="v1",canary="v2",verdict="fail"}}'
    return alerting_rule.build(
        platform,
        ALERT,
        promql.max_by(verdict, *COMPARED).equals(1),
        0.0,
        model.owner,
        Severity.TICKET,
        f"{model.name} {{{{ $labels.canary }}}}: the canary is worse than {{{{ $labels.baseline }}}}",
        "The gate's last verdict is fail. A rollout that asks it stops; traffic of the canary goes on until it does.",
        runbook=model.runbook,
        page=grafana.Page.CANARY,
        model=model.name,
        proof=Proof.model_validate(
            {"fires": {series: "1x20"}, "silent": {series: "0x20"}, "within": 60.0, "interval": 15.0}
        ),
    )
