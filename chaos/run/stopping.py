"""The global switch: stops the experiment that runs, reverts what is left, and lets none start until it is lifted."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict

from chaos import lease
from chaos.places.known import open_asked
from chaos.places.local.plane import OtherPlatformError
from chaos.places.place import Home, Place
from chaos.run import publish, recovery
from midwatch import files, processes
from midwatch.errors import MidwatchError

GRACE_SECONDS = 2.0
"""For whoever holds the lock to see the switch and end by itself; then it is told to end."""
END_SECONDS = 30.0
"""For its end after that; then it is killed, and what is left of its run is ended from here."""
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.02
_PRESSURE: tuple[tuple[float, signal.Signals | None], ...] = (
    (GRACE_SECONDS, None),
    (END_SECONDS, signal.SIGTERM),
    (KILLED_SECONDS, signal.SIGKILL),
)
"""What is done to those who hold the lock, and how long is waited for each."""


class Stopped(TypedDict):
    """What came of it: `problems` is what stays, or could not be written."""

    stopped: bool
    seconds: float
    problems: list[str]
    said: str


def stop(state: Path, platform_file: Path | None, where: str) -> Stopped:
    """Set the switch, end what runs and revert what is left; MidwatchError without a state folder.

    A switch in a folder that nobody uses would say that all is quiet while an experiment runs in another. A full disk
    keeps nothing from being ended and reverted: what could not be written is said afterwards.
    """
    begun, home = time.monotonic(), Home(state.resolve())
    is_cluster = where == "kubernetes"
    _ensure_used(state, is_cluster=is_cluster)
    place = open_asked(where, state, platform_file) if is_cluster else _plane(state, platform_file)
    switch = _set_switch(home)
    if is_cluster and place:
        _lease(place).set_stop("midwatch chaos stop")
    with ExitStack() as stack:
        lock = _locked(stack, home, is_told_at_once=bool(switch))
        recovered = recovery.recover(place, lock, _nothing) if place else recovery.recover_here(home, lock, _nothing)
        told = _told(place)
    unwritten = [*switch, *recovered.unwritten, *told]
    seconds = round(time.monotonic() - begun, 3)
    said = f"nothing runs, nothing is left, and nothing starts until --lift ({seconds:g} s)"
    if recovered.problems:
        said = "not clean"
    elif unwritten:
        said = f"nothing runs and nothing is left ({seconds:g} s), but not all of it could be written"
    return {"stopped": True, "seconds": seconds, "problems": [*recovered.problems, *unwritten], "said": said}


def lift(state: Path, platform_file: Path | None, where: str) -> Stopped:
    """Allow experiments again."""
    _ensure_used(state, is_cluster=where == "kubernetes")
    Home(state.resolve()).kill_switch.unlink(missing_ok=True)
    if where == "kubernetes":
        _lease(open_asked(where, state, platform_file)).set_stop(None)
    return {"stopped": False, "seconds": 0.0, "problems": [], "said": "experiments may start again"}


def _ensure_used(state: Path, *, is_cluster: bool) -> None:
    """Raise MidwatchError for a folder that is not where experiments are; in a cluster it only keeps evidence."""
    if is_cluster:
        return
    if not state.is_dir():
        raise MidwatchError(f"{state}: there is no such state folder, so nothing was stopped; give that of midwatch up")
    if not (state / "plane.json").exists() and not Home(state).folder.is_dir():
        raise MidwatchError(f"{state}: no plane ever ran here, so nothing was stopped; give the folder of midwatch up")


def _plane(state: Path, platform_file: Path | None) -> Place | None:
    """The plane that runs; None when none does, or its file can no longer be read: reverting needs neither."""
    try:
        return open_asked("local", state, platform_file)
    except OtherPlatformError:
        raise
    except MidwatchError:
        return None


def _set_switch(home: Home) -> list[str]:
    """Set the switch; what keeps it from being set, in words."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True)
        files.replace(home.kill_switch, b"set by midwatch chaos stop\n")
    except (MidwatchError, OSError) as error:
        return [f"the kill switch is not set, and experiments may start: {error}"]
    return []


def _locked(stack: ExitStack, home: Home, *, is_told_at_once: bool) -> int:
    """The lock, once whoever had it has ended, by itself or by force; MidwatchError when it does not even then."""
    for seconds, number in _PRESSURE[1 if is_told_at_once else 0 :]:
        if number is not None:
            for pid in lease.holders(home.lock):
                processes.send(pid, number)
                processes.send(pid, signal.SIGCONT)  # one that is stopped would not hear it
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                return stack.enter_context(lease.on_this_machine(home.lock))
            except lease.LeaseTakenError:
                time.sleep(POLL_SECONDS)
    raise MidwatchError(f"{home.lock} is held by {lease.holders(home.lock)}, which cannot be ended")


def _told(place: Place | None) -> list[str]:
    """Tell that nothing runs; what could not be told, in words."""
    try:
        return publish.idle(place) if place else []
    except (MidwatchError, OSError) as error:
        return [str(error)]


def _nothing(_text: str) -> None:
    """Say nothing."""


def _lease(place: Place) -> lease.ClusterLease:
    held = place.lease("midwatch-chaos-stop")
    if held is None:
        raise MidwatchError(f"{place.name} has no lease")
    return held
