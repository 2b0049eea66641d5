"""What earlier runs left behind: found on disk and in the cluster's lease, and reverted before anything else runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from chaos import faults, lease
from chaos.places.place import Home, Place
from chaos.run import open_run, watchdog

CLEAN_UP_SECONDS = 2 * faults.REVERTED_SECONDS + watchdog.ROLLBACK_SECONDS + 20.0
"""A watchdog that takes longer than ending a run's tree, reverting its faults and playing its rollbacks hangs."""


class WatchdogOutcome(TypedDict, total=False):
    """The watchdog's last line: why the run was stopped, how long cleaning up took, and what stays.

    `unwritten` is evidence that could not be written, in words.
    """

    code: int | None
    stopped: str
    seconds_to_clean: float | None
    problems: list[str]
    unwritten: list[str]


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """What earlier runs left: `problems` is what cannot be reverted, `unwritten` the evidence that cannot be kept."""

    problems: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)


def recover(place: Place, lock: int, say: Callable[[str], None]) -> Recovered:
    """Revert what earlier runs left behind, here and in the cluster's lease."""
    lasting = place.lease("recovery")
    kept = lasting.kept_faults() if lasting else {}
    # What is no longer there was reverted, or somebody has changed the object since: then it is theirs.
    if left := {number: one for number, one in kept.items() if faults.read(one).is_effective()}:
        folder = place.home.runs / f"recovered-{time.time_ns()}"
        ledger = faults.Ledger(folder, place.log())
        for number, document in left.items():
            ledger.take_over(number, document)
    recovered = recover_here(place.home, lock, say, place.key_file)
    if lasting and not recovered.problems:
        lasting.forget_faults()
    return recovered


def recover_here(home: Home, lock: int, say: Callable[[str], None], key_file: Path | None = None) -> Recovered:
    """Revert what earlier runs left behind on this machine, for which no plane has to run.

    `key_file` is of the log of runs that do not say where theirs is.
    """
    recovered = Recovered()
    for folder in home.open_runs():
        say(f"reverting what {folder.name} left behind")
        outcome = clean_up(folder, home, lock, key_file)
        recovered.problems.extend(outcome["problems"])
        recovered.unwritten.extend(outcome["unwritten"])
    return recovered


def recover_without_plane(home: Home, say: Callable[[str], None]) -> list[str]:
    """As `recover_here`, for a command that finds no plane; what cannot be reverted, in words."""
    if not home.open_runs():
        return []
    with lease.on_this_machine(home.lock) as lock:
        return recover_here(home, lock, say).problems


def clean_up(folder: Path, home: Home, lock: int, key_file: Path | None = None) -> WatchdogOutcome:
    """Do a dead watchdog's work by another one: end the run's tree, revert its faults, play its rollbacks."""
    run = open_run.read(folder)
    if run:
        key_file = Path(run.key_file) if run.key_file else None
    log = Path(run.log) if run else home.evidence
    command = watchdog.command(folder, log, key_file, "--of", str(_nobody()))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            pass_fds=(lock,),
            timeout=CLEAN_UP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return _not_clean(f"{folder.name}: it could not be cleaned up within {CLEAN_UP_SECONDS:g} s")
    said = done.stderr.decode(errors="replace").strip()
    try:
        outcome: WatchdogOutcome = json.loads(done.stdout)
    except ValueError:
        return _not_clean(f"{folder.name}: {said[-300:] or f'its watchdog ended with {done.returncode}'}")
    return outcome | {"unwritten": sorted(set(said.splitlines()))}


def _not_clean(problem: str) -> WatchdogOutcome:
    return {"problems": [problem], "seconds_to_clean": None, "stopped": "", "unwritten": []}


def _nobody() -> int:
    """A number that no process has: one above the largest."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
