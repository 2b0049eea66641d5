"""The global switch: stops the experiment that runs, reverts what is left, and lets none start until it is lifted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chaos import lease
from chaos.places.known import open_place
from chaos.places.place import Home, Place
from chaos.run import recovery
from midwatch import files
from midwatch.errors import MidwatchError

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.02


def stop(state: Path, platform_file: Path | None, where: str) -> dict[str, Any]:
    """Set the switch, and wait until nothing runs and nothing is left; MidwatchError without a state folder.

    A switch in a folder that nobody uses would say that all is quiet while an experiment runs in another.
    """
    if where != "kubernetes" and not state.is_dir():
        raise MidwatchError(f"{state}: there is no such state folder, so nothing was stopped; give that of midwatch up")
    home = Home(state.resolve())
    begun = time.monotonic()
    home.folder.mkdir(parents=True, exist_ok=True)
    files.replace(home.kill_switch, b"set by midwatch chaos stop\n")
    problems: list[str] = []
    if where == "kubernetes":
        _lease(open_place(where, state, platform_file)).set_stop("midwatch chaos stop")
    with ExitStack() as stack:
        lock = _locked(stack, home, begun)
        if where == "kubernetes" or home.open_runs():
            place = open_place(where, state, platform_file)
            problems = recovery.recover(place, lock, lambda _text: None)
    seconds = round(time.monotonic() - begun, 3)
    summary = f"nothing runs, nothing is left, and nothing starts until --lift ({seconds:g} s)"
    return {"stopped": True, "seconds": seconds, "problems": problems, "said": "not clean" if problems else summary}


def lift(state: Path, platform_file: Path | None, where: str) -> dict[str, Any]:
    """Allow experiments again."""
    Home(state.resolve()).kill_switch.unlink(missing_ok=True)
    if where == "kubernetes":
        _lease(open_place(where, state, platform_file)).set_stop(None)
    return {"stopped": False, "problems": [], "said": "experiments may start again"}


def _locked(stack: ExitStack, home: Home, begun: float) -> int:
    """The lock, once the experiment that had it has ended; MidwatchError when it does not."""
    while True:
        try:
            return stack.enter_context(lease.on_this_machine(home.lock))
        except lease.LeaseTakenError as error:
            if time.monotonic() - begun > WAIT_SECONDS:
                raise MidwatchError(f"the experiment that runs has not ended after {WAIT_SECONDS:g} s") from error
            time.sleep(POLL_SECONDS)


def _lease(place: Place) -> lease.ClusterLease:
    held = place.lease("midwatch-chaos-stop")
    if held is None:
        raise MidwatchError(f"{place.name} has no lease")
    return held
