"""The rule group of an objective: its records, then the alerts that read them, in Midwatch's form or in Sloth's."""

from __future__ import annotations

from typing import Any

from alerts.objectives import burn_rates, records, sloth
from alerts.objectives.objective import Objective


def rule_group(objective: Objective) -> dict[str, Any]:
    """Rule group of an objective, in which each rule reads what those before it recorded."""
    name = f"slo-{objective.subject}-{objective.slo.name}"
    if objective.slo.compatibility == "sloth":
        return {"name": name, "rules": sloth.rules(objective)}
    return {"name": name, "rules": [*records.of_objective(objective), *burn_rates.alerts(objective)]}
