"""What earlier runs left behind: found on disk and in the cluster's lease, and reverted before anything else runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from chaos import faults
from chaos.places.place import Place
from chaos.run import watchdog


class WatchdogOutcome(TypedDict, total=False):
    """The watchdog's last line: why the run was stopped, how long cleaning up took, and what stays."""

    code: int | None
    stopped: str
    seconds_to_clean: float | None
    problems: list[str]


def recover(place: Place, lock: int, say: Callable[[str], None]) -> list[str]:
    """Revert what earlier runs left behind, here and in the cluster's lease; what cannot be reverted, in words."""
    lasting = place.lease("recovery")
    kept = lasting.kept_faults() if lasting else {}
    # What is no longer there was reverted, or somebody has changed the object since: then it is theirs.
    if left := {number: one for number, one in kept.items() if faults.read(one).is_effective()}:
        folder = place.home.runs / f"recovered-{time.time_ns()}"
        ledger = faults.Ledger(folder, place.log())
        for number, document in left.items():
            ledger.take_over(number, document)
    problems: list[str] = []
    for folder in place.home.open_runs():
        say(f"reverting what {folder.name} left behind")
        problems += clean_up(folder, place, lock)["problems"]
    if lasting and not problems:
        lasting.forget_faults()
    return problems


def clean_up(folder: Path, place: Place, lock: int) -> WatchdogOutcome:
    """Do a dead watchdog's work: end the run's tree and revert its faults, by another watchdog."""
    command = watchdog.command(folder, place.home.evidence, place.key_file, "--of", str(_nobody()))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, pass_fds=(lock,))
    try:
        outcome: WatchdogOutcome = json.loads(done.stdout)
    except ValueError:
        return {"problems": [done.stderr.decode(errors="replace")[-300:]], "seconds_to_clean": None, "stopped": ""}
    return outcome


def _nobody() -> int:
    """A number that no process has: one above the largest."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
