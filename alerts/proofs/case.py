"""A promtool test of one alert; promtool runs many of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch import yamlfile
from midwatch.errors import MissingProgramError
from midwatch.spec.values import format_duration

REMEDY = "install the Debian package prometheus, or put the program on PATH"
TIMEOUT_SECONDS = 60
"""One proof takes a second or two; what takes longer is said to be unproven."""


class NotFoundError(ValueError):
    """No series fires the alert as real series would, or none keeps it silent."""


class SlowError(Exception):
    """promtool did not finish in time."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Seconds between scrapes, and between evaluations."""

    scrape: float = 15.0
    evaluation: float = 15.0

    @property
    def longest(self) -> float:
        """The longer of the two."""
        return max(self.scrape, self.evaluation)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, and whether the alert fires under them at each of some times (seconds from their begin)."""

    series: Mapping[str, str]
    interval: float
    evaluation: float
    alert: str
    severity: str
    fires_at: Sequence[float] = ()
    silent_at: Sequence[float] = ()

    def document(self, mark: int = 0) -> dict[str, Any]:
        """One entry of promtool's `tests`; a failure shows `mark`."""
        matchers = f'alertname="{self.alert}", severity="{self.severity}", alertstate="firing"'
        firing = f"vector({mark}) and on () ALERTS{{{matchers}}}"
        times = [(at, True) for at in self.fires_at] + [(at, False) for at in self.silent_at]
        return {
            "interval": format_duration(self.interval),
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "promql_expr_test": [
                {
                    "expr": firing,
                    "eval_time": format_duration(at),
                    "exp_samples": [{"labels": "{}", "value": mark}] if fires else [],
                }
                for at, fires in sorted(times)
            ],
        }


def test_file(rules: str, cases: Sequence[Case]) -> str:
    """Text of a file for `promtool test rules`, whose rules are in the file of that name."""
    return yamlfile.dump(
        {
            "rule_files": [rules],
            "evaluation_interval": format_duration(cases[0].evaluation),
            "tests": [case.document(mark + 1) for mark, case in enumerate(cases)],
        }
    )


def ensure_promtool() -> None:
    """Raise MissingProgramError when promtool is not there: unproven is not proven."""
    if shutil.which("promtool") is None:
        raise MissingProgramError("promtool", REMEDY)


def failures(group: Mapping[str, Any], cases: Sequence[Case]) -> tuple[set[int], str]:
    """Indices of cases that do not hold under a rule group, and what promtool said; -1 when it could not run them.

    Raises SlowError when it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="midwatch-proof-") as name:
        folder = Path(name)
        (folder / "rules.yml").write_text(yamlfile.dump({"groups": [group]}), encoding="utf-8")
        (folder / "test.yml").write_text(test_file("rules.yml", cases), encoding="utf-8")
        try:
            done = subprocess.run(
                ["promtool", "test", "rules", "test.yml"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SlowError(f"promtool did not finish within {TIMEOUT_SECONDS} s") from error
    said = done.stdout + done.stderr
    if not done.returncode:
        return set(), said
    marks = {int(mark) - 1 for mark in re.findall(r"vector\((\d+)\) and on", said)}
    return marks or {-1}, said


def workers() -> ThreadPoolExecutor:
    """Threads that wait for one promtool each."""
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
