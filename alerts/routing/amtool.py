"""Asks the amtool on PATH what its own version of Alertmanager says of a configuration file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from midwatch import programs
from midwatch.errors import Problem
from midwatch.spec.alertmanager_fields import Version

TIMEOUT_SECONDS = 30


def installed() -> Version | None:
    """Version of the amtool on PATH, or None."""
    return programs.version("amtool")


def verdict(file: Path) -> list[Problem] | None:
    """Problems that amtool has with a file, none when it takes it; None when amtool gives no answer."""
    command = ["amtool", "check-config", str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout + done.stderr
    if not done.returncode:
        return []
    lines = [(int(number), text) for number, text in re.findall(r"^\s*line (\d+): (.*)$", said, re.MULTILINE)]
    if not lines:
        match = re.search(r"FAILED: (.*)|panic: (.*)", said)
        lines = [(0, (match[1] or match[2]) if match else " ".join(said.split()))]
    return [Problem(file=str(file), line=line, message=f"amtool: {text}") for line, text in lines]
