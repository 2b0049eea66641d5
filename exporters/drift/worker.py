"""The drift judge: a process beside the exporter that reads its journal, judges windows, and says what it found.

Ingestion never waits for it. Windows' counts, the place in the journal and what is published are written together, and
nothing is said before it is written: a restart neither loses nor counts twice. It ends when the exporter does. What it
cannot use or judge it passes over, and says so. Standard output: JSON lines (`published`) with what has changed.

It reads, judges, keeps and says in turns, each for a short time, so that none waits for another to have nothing to do.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from exporters.drift import earlier, published, state
from exporters.drift.judge import Judge
from exporters.drift.references import OfVersions, Replaced, Unwatched, Watched
from exporters.events import journal, prepared, private_files
from midwatch import files, telemetry
from midwatch.errors import MidwatchError
from midwatch.spec import load

PAUSE = 0.2
"""Seconds between two looks at the journal."""

TURN = 0.5
"""Seconds of reading, and of judging, until it is another's turn; a frame or a window that was begun is finished."""

SAY_EVERY = 2.0
"""Seconds between two lines that say how far the judge is."""

KEEP_EVERY, KEEP_AT_MOST = 1.0, 30.0
"""Seconds between two writes of the state: at least, and at most while something has changed."""

KEEP_BYTES = 2 * 2**20
"""Bytes of state that are written a second, on average: a larger one is written more rarely."""

KEEP_SHARE = 0.05
"""Part of the time that may be spent on writing when verdicts wait to be said."""

LOOK_AGAIN = 30.0
"""Seconds between two looks at references that cannot be used, or are others: to read a large one takes a second."""

KEEP_FRAMES = 256 * 2**20
"""Bytes of the journal after which the state is written anyway: reading as many again takes about five seconds."""

_log = logging.getLogger(__name__)


class Keeper:
    """Writes the state of a judge when it is due."""

    def __init__(self, folder: Path, judge: Judge, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._judge, self._clock = folder, judge, clock
        self._kept_at = clock()
        self._seconds = 0.0
        self._bytes = 0
        self.frames = 0

    def is_due(self, *, has_verdicts: bool) -> bool:
        """Whether enough has changed since the state was written, or has waited for long enough."""
        waited = self._clock() - self._kept_at
        pause = self._seconds / KEEP_SHARE if has_verdicts else self._bytes / KEEP_BYTES
        return self.frames > KEEP_FRAMES or waited >= min(max(pause, KEEP_EVERY), KEEP_AT_MOST)

    def keep(self) -> bool:
        """Write the state, and the place again for who keeps the journal; whether that could be done."""
        begun = self._clock()
        try:
            self._bytes = state.write(self._folder / "windows.log", self._judge.saved())
            place = {"segment": self._judge.position.segment, "offset": self._judge.position.offset}
            files.replace(self._folder / "position.json", json.dumps(place).encode())
        except MidwatchError:
            self._judge.failed("drift windows could not be kept")
            return False
        finally:
            self._kept_at = self._clock()
            self._seconds = self._kept_at - begun
            self.frames = 0
        (self._folder / "windows.json").unlink(missing_ok=True)
        return True


class Worker:
    """One judge at work; `out` is told. `unwatched` are models that it cannot judge yet, `replaced` the others."""

    def __init__(
        self,
        folder: Path,
        judge: Judge,
        out: BinaryIO,
        unwatched: Unwatched | None = None,
        replaced: Replaced | None = None,
    ) -> None:
        self._state, self._judge, self._out = folder, judge, out
        self._unwatched, self._replaced, self._looked_at = unwatched, replaced, time.monotonic()
        self._keeper = Keeper(folder / "drift", judge)
        self._said_at = 0.0
        self._is_changed = self._has_verdicts = False
        self.say()

    def step(self) -> bool:
        """Read for a while, judge for a while, keep what has changed and say it; whether there was anything to do."""
        judge = self._judge
        self._look_again()
        has_read, is_at_end = self._read(time.monotonic() + TURN)
        # A window closes on time only when everything before its end has been read.
        now = time.time() if is_at_end else judge.read_until
        has_judged = judge.close(now, time.monotonic() + TURN)
        self._is_changed |= has_read or has_judged
        self._has_verdicts |= has_judged
        if judge.retraining.step(time.time(), self._keep):
            judge.publish_retraining()
            self._has_verdicts = True
        if (self._is_changed or self._has_verdicts) and self._keeper.is_due(has_verdicts=self._has_verdicts):
            self._keep()
        if time.monotonic() - self._said_at >= SAY_EVERY:
            self._status()
        return has_read or has_judged

    def _look_again(self) -> None:
        """Watch models whose reference can be used by now, and judge others by the one that they have by now."""
        if time.monotonic() - self._looked_at < LOOK_AGAIN:
            return
        for name, watched in self._unwatched.usable().items() if self._unwatched else ():
            self._judge.watch(name, watched)
        for name, watched in self._replaced.usable().items() if self._replaced else ():
            self._is_changed |= self._judge.replace(name, watched)
        self._looked_at = time.monotonic()

    def _read(self, until: float) -> tuple[bool, bool]:
        """Whether anything was read, and whether all that is there was."""
        judge = self._judge
        begun = judge.position
        is_at_end = True
        try:
            for frame in prepared.settled(journal.follow(self._state, judge.position)):
                judge.read(frame)
                self._keeper.frames += len(frame.body)
                if time.monotonic() > until:
                    is_at_end = False
                    break
        except journal.GapError as gap:
            _log.error("part of the journal was deleted before it was read: drift windows miss events")
            judge.position = gap.resume
            is_at_end = False
        except OSError:
            judge.failed("the journal could not be read")
            is_at_end = False
        return judge.position != begun, is_at_end

    def _keep(self) -> None:
        if self._keeper.keep():
            self._is_changed = self._has_verdicts = False
            self.say()

    def say(self) -> None:
        """Say what has changed."""
        for line in self._judge.board.changes():
            self._out.write(line)
        self._status()

    def _status(self) -> None:
        judge = self._judge
        self._out.write(
            published.line(
                published.Status(
                    segment=judge.position.segment,
                    offset=judge.position.offset,
                    waiting_seconds=judge.waiting_seconds,
                    is_failing=judge.is_failing,
                    left_out=judge.board.left_out,
                    lost_rows=judge.lost_rows,
                )
            )
        )
        self._out.flush()
        self._said_at = time.monotonic()


def restored(folder: Path, models: dict[str, Watched]) -> state.Saved:
    """What a process before has kept; nothing where that cannot be read."""
    try:
        return state.read(folder / "windows.log")
    except FileNotFoundError:
        pass
    except state.DamagedError:
        _log.exception("open drift windows could not be read and begin anew")
        return state.Saved()
    try:
        return earlier.read(folder / "windows.json", models)
    except FileNotFoundError:
        return state.Saved()
    except msgspec.MsgspecError:
        _log.exception("open drift windows could not be read and begin anew")
        return state.Saved()


def started(folder: Path, platform_file: Path, out: BinaryIO) -> Worker:
    """A judge of an exporter's state folder, which goes on where the one before has stopped."""
    private_files.make_inner_folder(folder / "drift")
    platform, base = load.load_platform(platform_file), load.base_folder(platform_file)
    replaced, unwatched = Replaced(platform, base), Unwatched(platform, base)
    models = unwatched.usable()
    saved, of_version = restored(folder / "drift", models), OfVersions(platform, base)
    judge = Judge(platform, base, folder / "drift", models, saved, of_version)
    return Worker(folder, judge, out, unwatched, replaced)


def _end_with_parent() -> None:
    """End when the exporter does, however it ends: its end of our standard input closes then."""

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main(arguments: list[str] | None = None) -> Any:
    """Entry of `python -m exporters.drift.worker`."""
    parser = argparse.ArgumentParser(description="Judge drift windows from an exporter's journal.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--platform", type=Path, required=True)
    options = parser.parse_args(arguments)
    telemetry.setup("midwatch-drift")
    os.nice(10)  # ingestion comes first
    _end_with_parent()
    worker = started(options.state, options.platform, sys.stdout.buffer)
    gc.freeze()  # references stay, and are not looked at again with each thousand events
    while True:
        if not worker.step():
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
