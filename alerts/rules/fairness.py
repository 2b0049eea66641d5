"""Alerts on fairness promises: broken ones, and those of which nothing is known for longer than the platform file lets.

Verdicts are the evaluator's. They hold however often they are looked at, so that a rule may fire at once; missing
labels and small groups are already weighed in them.
"""

from __future__ import annotations

from dataclasses import replace

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.metrics import Metric
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.values import format_duration

BROKEN = "FairnessBroken"
UNKNOWN = "FairnessUnknown"
NAMES = (BROKEN, UNKNOWN)
PROMISE = ("model", "version", "attribute", "measure", "limit")
"""Labels of an alert: those of a verdict without its rate."""
KEEP_SECONDS = 900.0
"""How long a broken promise stays told while the evaluator is restarted, or its evidence lies on the edge."""
BROKEN_MEANS = (
    "{{ if gt $value 0.0 }}The last blocks of time show it, whatever was before: look at what changed."
    "{{ else }}It is shown since counting began, over all looks.{{ end }} "
    "midwatch fairness judge names the groups and how far they are apart."
)
PROOF_INTERVAL = 15.0
PROOF_STEPS = 4000
"""Most samples of a proof; promtool loads no more than 10,000."""


def of_platform(platform: Platform) -> list[AlertingRule]:
    """One for each promise, and another for each that may not stay unknown."""
    rules = [
        (model, rule)
        for model in platform.models
        for promise in model.fairness
        for rule in (
            _broken(platform, model, promise),
            *([] if promise.unknown_after is None else [_unknown(platform, model, promise, promise.unknown_after)]),
        )
    ]
    return [tuning.tuned(model, rule) for model, rule in rules if not tuning.is_off(model, rule.name)]


def _broken(platform: Platform, model: Model, promise: Fairness) -> AlertingRule:
    verdict, lately = metrics.FAIRNESS_VERDICT, metrics.FAIRNESS_BECAME_UNFAIR
    since = promql.min_by(_of(verdict, model, promise), *PROMISE).equals(-1)
    recent = promql.max_by(_of(lately, model, promise), *PROMISE).equals(1)
    summary = (
        f"{model.name} {{{{ $labels.version }}}} treats groups of {promise.compared} unlike: "
        f"{promise.measure}, {promise.limit_text}"
    )
    built = alerting_rule.build(
        platform,
        BROKEN,
        since.or_(recent),
        0.0,
        model.owner,
        promise.severity,
        summary,
        BROKEN_MEANS,
        runbook=model.runbook,
        page=grafana.Page.FAIRNESS,
        model=model.name,
        proof=Proof.model_validate(
            {
                "fires": {_series(verdict, model, promise): "-1x20", _series(lately, model, promise): "0x20"},
                "silent": {_series(verdict, model, promise): "0x20", _series(lately, model, promise): "0x20"},
                "within": 60.0,
                "interval": PROOF_INTERVAL,
            }
        ),
    )
    annotations = alerting_rule.annotations_of(  # with the version, by which what changed is found
        platform,
        BROKEN,
        summary=summary,
        description=BROKEN_MEANS,
        owner=model.owner,
        runbook=model.runbook,
        page=grafana.Page.FAIRNESS,
        model=model.name,
        version="{{ $labels.version }}",
    )
    more = {"keep_firing_for": format_duration(KEEP_SECONDS), "annotations": annotations}
    return replace(built, rule={**built.rule, **more})


def _unknown(platform: Platform, model: Model, promise: Fairness, wait: float) -> AlertingRule:
    verdict = _of(metrics.FAIRNESS_VERDICT, model, promise)
    series = _series(metrics.FAIRNESS_VERDICT, model, promise)
    interval = max(PROOF_INTERVAL, wait / PROOF_STEPS)
    steps = int(wait / interval) + 10
    return alerting_rule.build(
        platform,
        UNKNOWN,
        promql.min_by(verdict, *PROMISE).equals(0).or_(promql.absent(verdict)),
        wait,
        model.owner,
        Severity.TICKET,
        f"{model.name}: whether groups of {promise.compared} are treated alike is not known: "
        f"{promise.measure}, {promise.limit_text}",
        "Too few events of a group, missing labels, or nobody judges. midwatch fairness judge says what would decide.",
        runbook=model.runbook,
        page=grafana.Page.FAIRNESS,
        model=model.name,
        proof=Proof.model_validate(
            {
                "fires": {series: f"0x{steps}"},
                "silent": {series: f"1x{steps}"},
                "within": wait + 4 * interval,
                "interval": interval,
            }
        ),
    )


def _of(metric: Metric, model: Model, promise: Fairness) -> promql.Expr:
    attribute, measure, limit = promise.key
    return promql.select(metric, model=model.name, attribute=attribute, measure=measure, limit=limit)


def _series(metric: Metric, model: Model, promise: Fairness) -> str:
    """A series of a promise, for its proof."""
    attribute, measure, limit = promise.key
    values = {"model": model.name, "version": "v1", "attribute": attribute, "measure": measure, "limit": limit}
    return f"{metric.name}{{{','.join(promql.matcher(name, value) for name, value in values.items())}}}"
