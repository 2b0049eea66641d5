"""Lists the rule files of Prometheus: of the platform, of each model, and of each rule file of a team."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from alerts.alerting_rule import AlertingRule
from alerts.objectives import groups as objective_groups
from alerts.objectives import objective as objectives
from alerts.rules import (
    attributions,
    canaries,
    experiments,
    fairness,
    loop,
    models,
    promotions,
    recovery,
    regions,
    regressions,
    served,
    shipped,
    teams,
)
from midwatch.spec.model import Platform

OF_PLATFORM: dict[str, Callable[[Platform], list[AlertingRule]]] = {
    "plane.yml": shipped.of_platform,
    "canary.yml": canaries.of_platform,
    "promotion.yml": promotions.of_platform,
    "regression.yml": regressions.of_platform,
    "fairness.yml": fairness.of_platform,
    "attributions.yml": attributions.of_platform,
    "chaos.yml": experiments.of_platform,
    "loop.yml": loop.of_platform,
    "recovery.yml": recovery.of_platform,
    "regions.yml": regions.of_platform,
}
"""Rule files that every platform may have, and what makes their rules. A file without rules is not written."""

OF_VIEW = ("plane.yml", "regions.yml")
"""Those of the view over all regions: what it evaluates beside budgets, since all else is where its data is."""

RECORDS: dict[str, Callable[[Platform], list[dict[str, Any]]]] = {"regions.yml": regions.records_of}
"""Records that stand before the rules of a file."""


def of_platform(platform: Platform) -> dict[str, Callable[[Platform], list[AlertingRule]]]:
    """Rule files of the platform by their names, and what makes their alerts."""
    return {name: make for name, make in OF_PLATFORM.items() if name in OF_VIEW or not platform.is_view}


def documents(platform: Platform) -> dict[str, dict[str, Any]]:
    """Documents by file name, each with its groups in order."""
    groups: dict[str, list[dict[str, Any]]] = {
        **{
            name: _groups(f"midwatch-{name.removesuffix('.yml')}", make(platform), _records(name, platform))
            for name, make in of_platform(platform).items()
        },
        **{f"model-{model.name}.yml": [] for model in platform.models},
        **{f"team-{file.name}.yml": [] for file in platform.rules},
    }
    for objective in objectives.of_platform(platform):
        groups[objective.file] += objective_groups.rule_groups(objective)
    for model in () if platform.is_view else platform.models:
        groups[f"model-{model.name}.yml"].append(
            {
                "name": f"midwatch-model-{model.name}",
                "rules": [
                    *served.of_model(platform, model),
                    *(one.rule for one in models.of_model(platform, model)),
                ],
            }
        )
    for team in platform.rules:
        groups[f"team-{team.name}.yml"] += _groups(
            f"team-{team.name}", teams.of_file(platform, team), teams.records_of(team)
        )
    return {name: {"groups": those} for name, those in groups.items() if those}


def _records(name: str, platform: Platform) -> list[dict[str, Any]]:
    return RECORDS[name](platform) if name in RECORDS else []


def _groups(name: str, rules: list[AlertingRule], records: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """One group of these rules, after records that they may read, or none without any."""
    every = [*records, *(rule.rule for rule in rules)]
    return [{"name": name, "rules": every}] if every else []
