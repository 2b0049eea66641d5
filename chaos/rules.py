"""Alerts on the experiments themselves: one that is overdue, one that deviated, one that left something behind."""

from __future__ import annotations

from typing import Any

import yaml

from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec import chaos as spec
from midwatch.spec import cron
from midwatch.spec import model as platform_spec

FILE = "prometheus/rules/chaos.yml"
LATE_SHARE = 1.25
"""Of the longest time between two runs: after it the next one is overdue, and not only slow."""

Rule = dict[str, Any]


def render_files(platform: platform_spec.Platform) -> dict[str, str]:
    """Text of the rule file, if there are experiments."""
    chaos = platform.chaos
    if chaos is None or not chaos.experiments:
        return {}
    rules = [_left_behind(platform)]
    for experiment in chaos.experiments:
        rules.append(_deviated(platform, experiment))
        if experiment.schedule:
            rules.append(_overdue(platform, experiment, experiment.schedule))
    document = {"groups": [{"name": "midwatch-chaos", "rules": rules}]}
    return {FILE: yaml.safe_dump(document, sort_keys=False, width=2**20)}


def _overdue(platform: platform_spec.Platform, experiment: spec.Experiment, schedule: str) -> Rule:
    """No run has ended within its schedule's longest gap and a quarter, or none is known at all."""
    last = promql.select(metrics.CHAOS_LAST_RUN, experiment=experiment.title)
    newest = promql.max_by(last, "experiment")
    late = (promql.timestamp_now() - newest) > LATE_SHARE * cron.parse(schedule).longest_gap()
    return _alert(
        platform, experiment, "ChaosExperimentOverdue", late.or_(promql.absent(last)), "1h",
        f"Chaos experiment {experiment.title} is overdue",
        f"Its schedule is {schedule}. What it would show is not known any more: no run has ended, or none is seen.",
    )  # fmt: skip


def _deviated(platform: platform_spec.Platform, experiment: spec.Experiment) -> Rule:
    verdict = promql.select(metrics.CHAOS_VERDICT, experiment=experiment.title, verdict="deviated")
    return _alert(
        platform, experiment, "ChaosExperimentDeviated", promql.max_by(verdict, "experiment").equals(1), "0s",
        f"Chaos experiment {experiment.title} deviated",
        "A fault that the platform should bear, or should tell of, was not borne or not told. Its report says which.",
    )  # fmt: skip


def _left_behind(platform: platform_spec.Platform) -> Rule:
    clean: Expr = promql.max_by(promql.select(metrics.CHAOS_CLEAN), "experiment").equals(0)
    return _alert(
        platform, None, "ChaosFaultLeftBehind", clean, "0s",
        "Chaos experiment {{ $labels.experiment }} left a fault behind",
        "It could not be reverted, or not be seen to be gone. midwatch chaos stop tries again and says what stays.",
    )  # fmt: skip


def _alert(
    platform: platform_spec.Platform, experiment: spec.Experiment | None, name: str, expr: Expr, wait: str,
    summary: str, description: str,
) -> Rule:  # fmt: skip
    models = {model.name: model for model in platform.models}
    model = models[experiment.model] if experiment and experiment.model else platform.models[0]
    severity = platform_spec.Severity.TICKET if experiment else platform_spec.Severity.PAGE
    about = {"experiment": experiment.title} if experiment else {}
    return {
        "alert": name,
        "expr": str(expr),
        "for": wait,
        "labels": {"severity": severity.value, "owner": model.owner, **about},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": platform.runbooks.replace("{alert}", name),
        },
    }
