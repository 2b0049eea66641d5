"""Scheduled experiments on a machine: a systemd service and a timer for each.

A run that was missed is not made up for at another hour: that it is missing is the alert ChaosExperimentOverdue.
"""

from __future__ import annotations

from midwatch import systemd
from midwatch.spec.model import Platform

STATE = "/var/lib/midwatch"
"""State folder of the `midwatch up` whose plane is hit."""
GRACE_SECONDS = 60.0
"""An experiment that is told to stop reverts its faults; that must not be cut short."""


def render_files(platform: Platform) -> dict[str, str]:
    """Units of every scheduled experiment, for `systemctl enable --now`."""
    files: dict[str, str] = {}
    for experiment in platform.chaos.experiments if platform.chaos else ():
        if experiment.schedule is None:
            continue
        name, unit = experiment.title, f"systemd/midwatch-chaos-{experiment.title}"
        command = f"midwatch chaos run {name} --state {STATE} --json"
        files[f"{unit}.service"] = systemd.service(
            f"Chaos experiment {name} of {platform.platform}", command, grace_seconds=GRACE_SECONDS
        )
        files[f"{unit}.timer"] = systemd.timer(
            f"Schedule of the chaos experiment {name}", experiment.schedule, catches_up=False
        )
    return files
