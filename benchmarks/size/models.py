"""A platform of many models: three objectives each, twenty owners, and an alert of one's own for each model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CLASSES = [f"class-{number}" for number in range(5)]
GROUPS = {"country": ["de", "fr", "pl"], "channel": ["app", "web", "shop"]}
OWNERS = 20


def document(models: int) -> dict[str, Any]:
    """Values of its platform file; what it states fits its limits, so that `check` has nothing to say."""
    slos = [
        {"name": "availability", "sli": "availability", "objective": "99.9%"},
        {"name": "latency", "sli": {"latency": {"threshold": "250ms"}}, "objective": "99%"},
        {"name": "accuracy", "sli": {"outcome": "correct"}, "objective": "80%"},
    ]
    model = {"task": "classification", "classes": CLASSES, "groups": list(GROUPS), "slos": slos, "label_maturity": "1s"}
    return {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "plane_owner": "team-0",
        "owners": {f"team-{number}": {"page": ["hook"], "ticket": ["hook"]} for number in range(OWNERS)},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "exporter": {"caps": {"models": max(200, models), "series": 1_000_000}},
        "prometheus": {"scrape_interval": "30s", "evaluation_interval": "30s"},
        "rule_files": ["own.yaml"],
        "models": [
            {"name": name(number), "owner": f"team-{number % OWNERS}", "requests_per_second": 0.01, **model}
            for number in range(models)
        ],
    }


def name(number: int) -> str:
    """Name of a model."""
    return f"model-{number}"


def write(folder: Path, models: int) -> Path:
    """The platform file, beside its rule file."""
    own = [
        {
            "alert": f"Model{number}Slow",
            "expr": f'max(ml_unsettled_predictions{{model="{name(number)}"}}) > 1e6',
            "for": "5m",
            "severity": "ticket",
            "owner": f"team-{number % OWNERS}",
            "summary": "Many predictions are not settled",
            "description": "Look at its labels.",
            "runbook": "https://runbooks.invalid/x",
        }
        for number in range(models)
    ]
    (folder / "own.yaml").write_text(yaml.safe_dump({"name": "own", "alerts": own}))
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document(models), sort_keys=False))
    return file
