"""`midwatch --version`: Midwatch, Python, and the programs it uses, as they are found on PATH."""

from __future__ import annotations

import json
import platform
import re
import subprocess

import midwatch
from midwatch import programs

SECONDS = 5.0
"""How long a program may take to say its version."""


def text(*, as_json: bool = False) -> str:
    """One line for each, or one JSON document; a program that is missing is said to be."""
    versions = {"midwatch": midwatch.__version__, "python": platform.python_version()} | _programs()
    if as_json:
        return json.dumps(versions)
    return "\n".join(f"{name} {version or 'not found on PATH'}" for name, version in versions.items())


def _programs() -> dict[str, str | None]:
    """Version of each program, None when it is missing; all of them are asked at the same time."""
    asked = {name: _ask(name) for name in programs.NAMES}
    return {name: None if process is None else _answer(process) for name, process in asked.items()}


def _ask(name: str) -> subprocess.Popen[str] | None:
    program = programs.find(name)
    if program is None:
        return None
    try:
        return subprocess.Popen([program, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return None


def _answer(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "does not answer"
    version = re.search(r"version (\S+?),? ", output)
    return version[1] if version else "unknown"
