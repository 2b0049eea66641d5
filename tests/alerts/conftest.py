"""Running promtool on rendered rules."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import need_program


@pytest.fixture
def promtool(tmp_path: Path) -> Any:
    """Values of expressions at a time, by promtool, from rule documents and input series."""
    program = need_program("promtool")

    def run(
        groups: list[dict], series: dict[str, str], expected: list[dict], interval: str, evaluation: str | None = None
    ) -> str:
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
        test = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": evaluation or interval,
            "tests": [
                {
                    "interval": interval,
                    "input_series": [{"series": name, "values": values} for name, values in series.items()],
                    "promql_expr_test": expected,
                }
            ],
        }
        (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
        done = subprocess.run(
            [program, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return run


def value(expr: str, at: str, labels: str | None, number: float = 1.0) -> dict:
    """What promtool should find; no labels at all means no sample."""
    samples = [] if labels is None else [{"labels": labels, "value": number}]
    return {"expr": expr, "eval_time": at, "exp_samples": samples}
