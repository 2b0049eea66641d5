"""Alerts on chaos experiments themselves: one that is overdue, one that deviated, one that left something behind."""

from __future__ import annotations

from alerts import alerting_rule
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, metrics, promql
from midwatch.spec import cron
from midwatch.spec.chaos import Experiment
from midwatch.spec.model import Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity

OVERDUE_FOR = 3600.0


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Alerts of a platform with experiments, none without."""
    experiments = platform.chaos.experiments if platform.chaos else []
    if not experiments:
        return []
    made = [_left_behind(platform)]
    for experiment in experiments:
        made.append(_deviated(platform, experiment))
        if experiment.schedule:
            made.append(_overdue(platform, experiment, experiment.schedule))
    return made


def _overdue(platform: Platform, experiment: Experiment, schedule: str) -> AlertingRule:
    """No run has ended within its schedule's longest gap and a quarter, or none is known at all."""
    last = promql.select(metrics.CHAOS_LAST_RUN, experiment=experiment.title)
    gap = cron.parse(schedule).longest_gap()
    late = (promql.timestamp_now() - promql.max_by(last, "experiment")) > cron.LATE_SHARE * gap
    step = max(60.0, gap / 32)
    return alerting_rule.build(
        platform,
        "ChaosExperimentOverdue",
        late.or_(promql.absent(last)),
        OVERDUE_FOR,
        _owner(platform, experiment),
        Severity.TICKET,
        f"Chaos experiment {experiment.title} is overdue",
        f"Its schedule is {schedule}. What it would show is not known any more: no run has ended, or none is seen.",
        page=grafana.Page.RESILIENCE,
        experiment=experiment.title,
        # The last run was at time 0; in the silent series one ends at every step.
        proof=Proof.model_validate(
            {
                "fires": {str(last): "0x50"},
                "silent": {str(last): f"0+{step:g}x50"},
                "within": cron.LATE_SHARE * gap + OVERDUE_FOR + 2 * step,
                "interval": step,
            }
        ),
    )


def _deviated(platform: Platform, experiment: Experiment) -> AlertingRule:
    verdict = promql.select(metrics.CHAOS_VERDICT, experiment=experiment.title, verdict="deviated")
    return alerting_rule.build(
        platform,
        "ChaosExperimentDeviated",
        promql.max_by(verdict, "experiment").equals(1),
        0.0,
        _owner(platform, experiment),
        Severity.TICKET,
        f"Chaos experiment {experiment.title} deviated",
        "A fault that the platform should bear, or should tell of, was not borne or not told. Its report says which.",
        page=grafana.Page.RESILIENCE,
        experiment=experiment.title,
        proof=_proof(str(verdict), "1x20", "0x20"),
    )


def _left_behind(platform: Platform) -> AlertingRule:
    clean = promql.select(metrics.CHAOS_CLEAN)
    return alerting_rule.build(
        platform,
        "ChaosFaultLeftBehind",
        promql.max_by(clean, "experiment").equals(0),
        0.0,
        platform.operator,
        Severity.PAGE,
        "Chaos experiment {{ $labels.experiment }} left a fault behind",
        "It could not be reverted, or not be seen to be gone. midwatch chaos stop tries again and says what stays.",
        page=grafana.Page.RESILIENCE,
        proof=_proof(str(promql.select(metrics.CHAOS_CLEAN, experiment="x")), "0x20", "1x20"),
    )


def _proof(series: str, fires: str, silent: str) -> Proof:
    return Proof.model_validate({"fires": {series: fires}, "silent": {series: silent}, "within": 60.0})


def _owner(platform: Platform, experiment: Experiment) -> str:
    models = {model.name: model.owner for model in platform.models}
    return models[experiment.model] if experiment.model else platform.models[0].owner
