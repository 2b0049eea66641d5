"""Programs that Midwatch runs and does not bring: under which names they stand on PATH, and what installs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

from midwatch.errors import MissingProgramError

Version = tuple[int, int]
"""Major and minor version."""

NAMES = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "promtool": ("promtool",),
    "amtool": ("amtool",),
}
"""Names that a program has on PATH; where one folder has both, Debian's counts."""

_PACKAGES = {
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}
"""Debian packages that have them."""


VERSION_SECONDS = 30.0
"""How long a program may take to say its version, on a machine that has much to do."""


def find(name: str) -> str | None:
    """Path of a program in the first folder of PATH that has it under any of its names; None when none has."""
    tried = (shutil.which(one, path=folder) for folder in os.get_exec_path() for one in NAMES[name])
    return next(filter(None, tried), None)


def version(name: str) -> Version | None:
    """Version of the program that `find` finds; None when there is none, or it does not say its version."""
    path = find(name)
    return None if path is None else _version(path)


@cache
def _version(path: str) -> Version | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version v?(\d+)\.(\d+)", done.stdout + done.stderr)
    return (int(match[1]), int(match[2])) if match else None


def version_text(version: Version) -> str:
    """A version as people write it.

    >>> version_text((3, 16))
    '3.16'
    """
    return f"{version[0]}.{version[1]}"


def path_of(name: str) -> str:
    """Path of a program; MissingProgramError, which names what to install, when it is not on PATH."""
    path = find(name)
    if path is None:
        package = _PACKAGES[name]
        remedy = f"install the Debian package {package} (apt-get install {package}), or put the program on PATH"
        raise MissingProgramError(name, remedy)
    return path
