"""A service and a timer of systemd for every scheduled drill of a loop, on the machine of `midwatch loop serve`."""

from __future__ import annotations

from midwatch import systemd
from midwatch.spec import loop_drill
from midwatch.spec.loop_drill import LoopDrill
from midwatch.spec.model import Platform

FOLDER = "/var/lib/midwatch/loop"
"""Folder of the loop's log, which a drill reads: the `--state` of `midwatch loop serve` on that machine."""
GRACE_SECONDS = 360.0
"""A drill that is told to stop puts the champion back, and runs `restore`, which has five minutes."""


def render_files(platform: Platform) -> dict[str, str]:
    """Text of each file by its path below the output folder."""
    drills = [model.loop.drill for model in loop_drill.drilled(platform) if model.loop and model.loop.drill]
    files: dict[str, str] = {}
    for drill in drills:
        if drill.schedule is not None:
            unit = f"systemd/midwatch-loop-drill-{drill.copies}"
            files[f"{unit}.service"] = _service(drill)
            files[f"{unit}.timer"] = systemd.timer(
                f"Schedule of the drill of the loop of {drill.copies}", drill.schedule, catches_up=True
            )
    return files


def _service(drill: LoopDrill) -> str:
    command = f"midwatch loop drill --model {drill.copies} -f /etc/midwatch/platform.yaml --state {FOLDER} --json"
    return systemd.service(f"Drill of the loop of {drill.copies}", command, grace_seconds=GRACE_SECONDS)
