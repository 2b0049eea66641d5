"""Says which Alertmanager is written for, and which version brought what integrations do not say themselves.

It is the one that the platform file names, else the one whose `amtool` is here. What came with an integration stands in
its class in `midwatch.spec.channels`.
"""

from __future__ import annotations

from alerts.routing import amtool
from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import channels
from midwatch.spec.alertmanager_fields import OLDEST, Version
from midwatch.spec.model import Platform

INHIBITION_NAMES: Version = (0, 30)
"""First Alertmanager with names of inhibition rules."""

TEMPLATE_FUNCTIONS: dict[str, Version] = {
    **dict.fromkeys(
        ("toUpper", "toLower", "title", "join", "match", "safeHtml", "reReplaceAll", "stringSlice"), (0, 25)
    ),
    "trimSpace": (0, 26),
    "date": (0, 28),
    "tz": (0, 28),
    "since": (0, 28),
    "humanizeDuration": (0, 28),
    "now": (0, 33),
    "safeUrl": (0, 30),
    "urlUnescape": (0, 30),
    "toJson": (0, 30),
}
"""Functions of notification templates (template/template.go), by the version that brought them."""


def version_of(platform: Platform) -> Version:
    """Version to write for. Without one in the file and without amtool, the oldest: what it reads, all read."""
    return platform.alertmanager.version or amtool.installed() or OLDEST


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
