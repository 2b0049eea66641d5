"""Alerts on canaries: failed ones, questions that the gate cannot judge, verdicts that cannot be seen any more.

A failed canary's rollout is held or aborted, and somebody has to look why. One whose question is wrong is aborted too.
"""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

ALERT = "CanaryFailed"
REFUSED = "CanaryQuestionRefused"
REFUSED_WINDOW = 600.0
"""Seconds that the alert looks back: a rollout asks every ten, and gives up after some minutes."""
DROPPED = "CanaryVerdictsDropped"
COMPARED = ("model", "baseline", "canary")


def of_platform(platform: Platform) -> list[AlertingRule]:
    """One for each model whose canaries are judged, and two on the gate."""
    judged = [model for model in platform.models if model.canary]
    failed = [tuning.tuned(model, _failed(platform, model)) for model in judged if not tuning.is_off(model, ALERT)]
    return [*failed, *([_refused(platform), _dropped(platform)] if judged else [])]


def _refused(platform: Platform) -> AlertingRule:
    refused = promql.increase(promql.select(metrics.CANARY_GATE_REFUSED), REFUSED_WINDOW)
    series = f'{metrics.CANARY_GATE_REFUSED.name}{{reason="unknown_model",instance="g:1"}}'
    return alerting_rule.build(
        platform,
        REFUSED,
        promql.sum_by(refused, "reason") > 0,
        0.0,
        platform.operator,
        Severity.TICKET,
        "The canary gate refuses questions: {{ $labels.reason }}",
        "A rollout that asks so is never answered: its analysis ends as an error within minutes, and it is aborted.",
        page=grafana.Page.CANARY,
        proof=Proof.model_validate(
            {"fires": {series: "0+1x40"}, "silent": {series: "7x40"}, "within": 60.0, "interval": 15.0}
        ),
    )


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


def _dropped(platform: Platform) -> AlertingRule:
    series = f'{metrics.CANARY_GATE_DROPPED.name}{{instance="a:1"}}'
    return alerting_rule.build(
        platform,
        DROPPED,
        promql.increase(promql.select(metrics.CANARY_GATE_DROPPED), "1h") > 0,
        0.0,
        platform.operator,
        Severity.TICKET,
        "Gate {{ $labels.instance }} has more comparisons than it publishes",
        "The oldest verdicts are not in canary_verdict any more, and cannot fire CanaryFailed. Answers are as ever.",
        page=grafana.Page.CANARY,
        proof=Proof.model_validate(
            {"fires": {series: "0 1x20"}, "silent": {series: "1x20"}, "within": 120.0, "interval": 15.0}
        ),
    )
