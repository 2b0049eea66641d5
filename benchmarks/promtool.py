"""promtool as a calculator: values of expressions at a time, from rules and series."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml


def counting(group: dict[str, Any]) -> dict[str, Any]:
    """The rules of an objective that its period's budget is made of."""
    read = re.compile("count|period|bridged|remaining|increase5m")
    return {**group, "rules": [rule for rule in group["rules"] if read.search(rule.get("record", ""))]}


def values(
    groups: list[dict], series: dict[str, str], asked: list[tuple[str, float]], evaluation: str, interval: str = "1m"
) -> list[tuple[str, float]]:
    """Value of each expression at a minute: promtool shows what it got where nothing was expected."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
        test = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": evaluation,
            "tests": [
                {
                    "interval": interval,
                    "input_series": [{"series": one, "values": values} for one, values in series.items()],
                    "promql_expr_test": [
                        {"expr": expr, "eval_time": f"{round(minute * 60)}s", "exp_samples": []}
                        for expr, minute in asked
                    ],
                }
            ],
        }
        (folder / "test.yml").write_text(yaml.safe_dump(test))
        command = ["promtool", "test", "rules", "test.yml"]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    text = said.stdout + said.stderr
    if said.returncode and "got:" not in text:
        raise RuntimeError(text)
    return [(at, float(got)) for at, got in re.findall(r"time: (\S+),\s+exp: nil\s+got: \{.*?\} (\S+)", text)]
