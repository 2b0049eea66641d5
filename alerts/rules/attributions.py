"""Alerts on models whose attributions changed: inputs that moved, or a version that uses them otherwise."""

from __future__ import annotations

from alerts import alerting_rule, tuning
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec.model import Model, Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

ALERT = "AttributionsChanged"


def of_platform(platform: Platform) -> list[AlertingRule]:
    """One for each model whose explanations are compared."""
    explained = [model for model in platform.models if model.explanations is not None]
    return [tuning.tuned(model, _changed(platform, model)) for model in explained if not tuning.is_off(model, ALERT)]


def _changed(platform: Platform, model: Model) -> AlertingRule:
    lasting = promql.select(metrics.ATTRIBUTION_LASTING, model=model.name)
    series = f'{metrics.ATTRIBUTION_LASTING.name}{{model="{model.name}",version="v1",question="inputs"}}'
    return alerting_rule.build(
        platform,
        ALERT,
        promql.max_by(lasting, "model", "version", "question").equals(1),
        0.0,
        model.owner,
        Severity.TICKET,
        f'{model.name} {{{{ $labels.version }}}}: {{{{ if eq $labels.question "use" }}}}it uses its features otherwise '
        "than the version that it replaces{{ else }}its inputs moved, by what its features add to answers{{ end }}",
        "The attributions of the last two windows differ from those of the windows before, more than calm windows do. "
        "midwatch attributions compare names the features.",
        runbook=model.runbook,
        page=grafana.Page.EXPLANATIONS,
        model=model.name,
        proof=Proof.model_validate(
            {"fires": {series: "1x20"}, "silent": {series: "0x20"}, "within": 60.0, "interval": 15.0}
        ),
    )
