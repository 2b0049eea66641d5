"""What promtool and amtool say of rendered files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from midwatch.errors import MissingProgramError, Problem

_REMEDY = "install the Debian packages prometheus and prometheus-alertmanager, or put the programs on PATH"
_TIMEOUT_SECONDS = 60


def check_files(files: Mapping[str, str]) -> list[Problem]:
    """Problems that the programs find; MissingProgramError when one is not there, since unchecked is not right."""
    for program in ("promtool", "amtool"):
        if shutil.which(program) is None:
            raise MissingProgramError(program, _REMEDY)
    with tempfile.TemporaryDirectory(prefix="midwatch-check-") as name:
        folder = Path(name)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        return list(_run_all(folder))


def _run_all(folder: Path) -> Iterator[Problem]:
    prometheus, alertmanager = folder / "prometheus/prometheus.yml", folder / "alertmanager/alertmanager.yml"
    yield from _run(["promtool", "check", "config", str(prometheus)], folder)
    yield from _run(["amtool", "check-config", str(alertmanager)], folder)


def _run(command: list[str], folder: Path) -> Iterator[Problem]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        text = (done.stderr + done.stdout).replace(f"{folder}/", "")
        lines = [line.strip() for line in text.splitlines() if "FAILED" in line or "error" in line.lower()]
        file = Path(command[-1]).relative_to(folder)
        yield Problem(file=str(file), message=f"{command[0]}: {' '.join(lines) or text.strip()}")
