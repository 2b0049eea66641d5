"""Programs that Midwatch runs and does not bring: under which names they stand on PATH, and what installs them."""

from __future__ import annotations

import shutil

from midwatch.errors import MissingProgramError

NAMES = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "promtool": ("promtool",),
    "amtool": ("amtool",),
}
"""Names that a program has on PATH: Debian's first."""

_PACKAGES = {
    "prometheus": "prometheus",
    "alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}
"""Debian packages that have them."""


def find(name: str) -> str | None:
    """Path of a program; None when it is not on PATH."""
    return next(filter(None, map(shutil.which, NAMES[name])), None)


def path_of(name: str) -> str:
    """Path of a program; MissingProgramError, which names what to install, when it is not on PATH."""
    path = find(name)
    if path is None:
        package = _PACKAGES[name]
        remedy = f"install the Debian package {package} (apt-get install {package}), or put the program on PATH"
        raise MissingProgramError(name, remedy)
    return path
