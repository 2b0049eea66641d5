"""Alerts on promotions: champions that no record explains, and a registry that nobody watches."""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec import promotion
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

AROUND = "PromotionAroundGate"
UNWATCHED = "PromotionsUnwatched"
NAMES = (AROUND, UNWATCHED)
AROUND_WINDOW = "1h"
"""How long a promotion around the gate is told that was taken back before anybody looked."""
UNWATCHED_SECONDS = 900.0


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Two for each model whose promotions the gate watches."""
    watched = promotion.watched(platform)
    makers = ((AROUND, _around), (UNWATCHED, _unwatched))
    return [
        tuning.tuned(model, make(platform, model))
        for model in watched
        for name, make in makers
        if not tuning.is_off(model, name)
    ]


def _around(platform: Platform, model: Model) -> AlertingRule:
    unrecorded = promql.select(metrics.PROMOTION_UNRECORDED, model=model.name)
    events = promql.select(metrics.PROMOTION_EVENTS, model=model.name, event="around_gate")
    counted = promql.sum_by(promql.increase(events, AROUND_WINDOW), "model") > 0
    series = f'{metrics.PROMOTION_UNRECORDED.name}{{model="{model.name}",version="7"}}'
    return alerting_rule.build(
        platform,
        AROUND,
        promql.max_by(unrecorded, "model", "version").equals(1).or_(counted, on=["model"]),
        0.0,
        model.owner,
        Severity.TICKET,
        f"A version of {model.name} became champion, and not by the gate: {{{{ $labels.version }}}}",
        "No record says who promoted it, nor on what verdict, evaluation and bias check. Without a number here it has "
        "been taken back.",
        runbook=model.runbook,
        page=grafana.Page.CANARY,
        model=model.name,
        proof=Proof.model_validate(
            {"fires": {series: "1x20"}, "silent": {series: "0x20"}, "within": 60.0, "interval": 15.0}
        ),
    )


def _unwatched(platform: Platform, model: Model) -> AlertingRule:
    looked = promql.max_by(promql.select(metrics.PROMOTION_LAST_LOOK, model=model.name), "model")
    series = f'{metrics.PROMOTION_LAST_LOOK.name}{{model="{model.name}"}}'
    return alerting_rule.build(
        platform,
        UNWATCHED,
        (promql.Expr("time()") - looked) > UNWATCHED_SECONDS,
        0.0,
        platform.operator,
        Severity.TICKET,
        f"The gate has not seen who is champion of {model.name} for {{{{ $value | humanizeDuration }}}}",
        "The registry does not answer it, or what it saw cannot be written down: promotions around the gate go unseen.",
        page=grafana.Page.CANARY,
        model=model.name,
        proof=Proof.model_validate(
            {"fires": {series: "0x100"}, "silent": {series: "0+60x100"}, "within": 1020.0, "interval": 60.0}
        ),
    )
