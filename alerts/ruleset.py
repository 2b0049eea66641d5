"""Rule files of Prometheus: for the plane, for each model, and for each rule file of a team."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from alerts import annotate, library, objectives, recovery
from alerts import sli as slis
from alerts.library import DEADMAN
from alerts.made import Made
from midwatch import grafana, promql
from midwatch.promql import Expr
from midwatch.spec import model as spec
from midwatch.spec.rules import AlertRule, Proof, RuleFile
from midwatch.spec.slo import Alerting, Severity, Slo
from midwatch.spec.values import format_duration

__all__ = [
    "BY_VERSION",
    "DEADMAN",
    "PARTS",
    "alert",
    "direct_alert",
    "model_alerts",
    "right_outcomes",
    "rule_files",
    "sli",
    "team_alerts",
]

BY_VERSION = ("model", "version")

PARTS: dict[str, Callable[[spec.Platform], list[Made]]] = {
    "plane.yml": library.of_platform,
    "canary.yml": lambda platform: import_module("alerts.canaries").alerts(platform),  # it builds on this module
    "chaos.yml": lambda platform: import_module("alerts.experiments").alerts(platform),  # as does this
    "recovery.yml": recovery.alerts,
}
"""Rule files that every platform may have, by name: what each part of the house makes; an empty one is not written."""

_SLO_TEXT = {
    "availability": ("ModelErrorsHigh", "of requests answered"),
    "latency": ("ModelLatencyHigh", "of requests in time"),
    "outcome": ("ModelAccuracyLow", "of predictions right"),
}


def rule_files(platform: spec.Platform) -> dict[str, dict[str, Any]]:
    """Documents by file name, each with its groups in order."""
    groups: dict[str, list[dict[str, Any]]] = {
        **{name: _part(name, make(platform)) for name, make in PARTS.items()},
        **{f"model-{model.name}.yml": [] for model in platform.models},
        **{f"team-{file.name}.yml": [] for file in platform.rules},
    }
    for target in objectives.targets(platform):
        groups[target.file].append(objectives.group(target))
    for model in platform.models:
        groups[f"model-{model.name}.yml"].append(_group(f"midwatch-model-{model.name}", model_alerts(platform, model)))
    for team in platform.rules:
        if team.alerts:
            groups[f"team-{team.name}.yml"].append(_group(f"team-{team.name}", team_alerts(platform, team)))
    return {name: {"groups": found} for name, found in groups.items() if found}


def _part(file: str, made: list[Made]) -> list[dict[str, Any]]:
    return [_group(f"midwatch-{file.removesuffix('.yml')}", made)] if made else []


def _group(name: str, made: list[Made]) -> dict[str, Any]:
    return {"name": name, "rules": [one.rule for one in made]}


def alert(
    platform: spec.Platform,
    name: str,
    expr: Expr,
    wait: float,
    owner: str,
    severity: Severity,
    summary: str,
    description: str,
    *,
    runbook: str | None = None,
    page: grafana.Page = grafana.Page.PLANE,
    proof: Proof | None = None,
    **labels: str,
) -> Made:
    """Make an alert that holds for `wait` seconds; `page` is the dashboard to look at."""
    rule = {
        "alert": name,
        "expr": str(expr),
        "for": format_duration(wait) if wait else "0s",
        "labels": {"severity": severity.value, "owner": owner, **labels},
        "annotations": annotate.annotate(
            platform, name, summary=summary, description=description, owner=owner, runbook=runbook, page=page
        ),
    }
    return Made(rule=rule, proof=proof)


# Models ------------------------------------------------------------------------------------------------------------


def model_alerts(platform: spec.Platform, model: spec.Model) -> list[Made]:
    """Alerts on a model beside its error budgets: those of `alert`, then the shipped ones."""
    direct = [direct_alert(platform, model, slo, slo.alert) for slo in model.slos if slo.alert]
    return [*direct, *library.of_model(platform, model)]


def direct_alert(platform: spec.Platform, model: spec.Model, slo: Slo, alert: Alerting) -> Made:
    """Alert while the SLI over the alert's window is short of its objective, with enough events to say so."""
    good, total = sli(model, slo, alert.over)
    expr = (good.over(total, on=BY_VERSION) < slo.objective).and_(total >= alert.min_events, on=BY_VERSION)
    name, what = _SLO_TEXT[slo.kind]
    promise = f"{(slo.objective * 100).normalize():f}%"
    return Made(
        rule={
            "alert": name,
            "expr": str(expr),
            "for": format_duration(alert.for_) if alert.for_ else "0s",
            "labels": {"severity": alert.severity.value, "owner": model.owner, "model": model.name, "slo": slo.name},
            "annotations": annotate.annotate(
                platform,
                name,
                summary=f"{model.name} {{{{ $labels.version }}}}: {{{{ $value | humanizePercentage }}}} {what}, "
                f"objective {promise}",
                description=f"Over the last {format_duration(alert.over)} the SLI of objective {slo.name} is short of "
                f"{promise}.",
                owner=model.owner,
                runbook=slo.runbook or model.runbook,
                slo=slo.name,
                model=model.name,
                version="{{ $labels.version }}",
            ),
        }
    )


def sli(model: spec.Model, slo: Slo, window: float) -> tuple[Expr, Expr]:
    """Good and total events of an objective over a window of seconds, by model and version.

    A version without good events has 0 of them, not nothing: `total * 0` stands in.
    """
    counted = slis.sli_of(slo.model_copy(update={"by": list(BY_VERSION)}), model, Expr(""))
    total = counted.total(window)
    if counted.good:
        return counted.good(window).or_(total * 0), total
    if counted.bad is None:
        raise AssertionError("an SLI has good or bad events")
    return total - Expr(f"({counted.bad(window).or_(total * 0)})"), total


def right_outcomes(model: str, window: promql.Range) -> tuple[Expr, Expr]:
    """Right and all labelled predictions over a window, by model and version; a version without right ones has 0."""
    total = slis.outcomes(model, window, BY_VERSION)
    return slis.right(model, window, BY_VERSION).or_(total * 0), total


# Teams -------------------------------------------------------------------------------------------------------------


def team_alerts(platform: spec.Platform, file: RuleFile) -> list[Made]:
    """Alerts of a rule file, in its order."""
    return [_team_alert(platform, file, rule) for rule in file.alerts]


def _team_alert(platform: spec.Platform, file: RuleFile, rule: AlertRule) -> Made:
    owner = rule.owner or file.owner
    made: dict[str, Any] = {
        "alert": rule.alert,
        "expr": rule.expr,
        "for": format_duration(rule.for_) if rule.for_ else "0s",
    }
    if rule.keep_firing_for:
        made["keep_firing_for"] = format_duration(rule.keep_firing_for)
    made["labels"] = {"severity": rule.severity, **({"owner": owner} if owner else {}), **file.labels, **rule.labels}
    made["annotations"] = annotate.annotate(
        platform,
        rule.alert,
        summary=rule.summary,
        description=rule.description,
        owner=owner,
        runbook=rule.runbook,
        page=grafana.page_of(file),
    )
    return Made(rule=made, proof=rule.proof)
