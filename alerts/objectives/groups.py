"""Rule groups of an objective: its counts, and its records with the alerts on them, in Midwatch's or Sloth's form."""

from __future__ import annotations

from typing import Any

from alerts.objectives import burn_rates, counters, records, sloth
from alerts.objectives.objective import Objective
from midwatch.spec.values import format_duration


def rule_groups(objective: Objective) -> list[dict[str, Any]]:
    """Rule groups of an objective, in which each rule reads what those before it recorded.

    Its counts are a group of their own, evaluated once per tile: they are summed over the period, so that each costs.
    """
    name = f"slo-{objective.subject}-{objective.slo.name}"
    if objective.slo.compatibility == "sloth":
        return [{"name": name, "rules": sloth.rules(objective)}]
    group = {"name": name, "rules": [*records.of_objective(objective), *burn_rates.alerts(objective)]}
    counts = list(records.counts_of_objective(objective))
    interval = format_duration(counters.interval_seconds(objective.platform.prometheus.scrape_interval))
    return [*([{"name": f"{name}-counts", "interval": interval, "rules": counts}] if counts else []), group]


def rule_group(objective: Objective) -> dict[str, Any]:
    """Every rule of an objective as one group, for what evaluates all at one interval, as promtool does."""
    groups = rule_groups(objective)
    return {"name": groups[-1]["name"], "rules": [rule for group in groups for rule in group["rules"]]}
