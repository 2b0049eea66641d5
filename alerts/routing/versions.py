"""Which Alertmanager is written for: the one the platform file names, else the one whose `amtool` is here."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import channels
from midwatch.spec.channels import Version
from midwatch.spec.model import Platform


def version_of(platform: Platform) -> Version:
    """Version to write for. Without one in the file and without amtool, the oldest: what it reads, all read."""
    return platform.alertmanager.version or installed() or channels.OLDEST


@cache
def installed() -> Version | None:
    """Version of the amtool on PATH, or None."""
    if shutil.which("amtool") is None:
        return None
    done = subprocess.run(["amtool", "--version"], capture_output=True, text=True, timeout=30, check=False)
    match = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    return (int(match[1]), int(match[2])) if match else None


def ensure_able(platform: Platform, version: Version) -> None:
    """Raise InvalidInputError, naming every channel that needs a newer Alertmanager and which."""
    problems = []
    for name, channel in sorted(platform.channels.items()):
        lack = channels.lacking(channel, version)
        if lack:
            what, since = lack
            problems.append(
                Problem(
                    file="channels",
                    path=f"channels.{name}",
                    message=f"Alertmanager {text(version)} has no {what}",
                    remedy=f"{text(since)} has it; name the version you run in alertmanager.version",
                )
            )
    if problems:
        raise InvalidInputError(problems)


def text(version: Version) -> str:
    """As people write it."""
    return f"{version[0]}.{version[1]}"
