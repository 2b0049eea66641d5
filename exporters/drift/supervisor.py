"""Keeps the drift judge running beside the exporter, and holds what it said last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import msgspec

from exporters.drift import published
from exporters.drift.published import Subject
from exporters.events import journal, store
from midwatch import metrics, modules
from midwatch.exposition import Sample

PAUSE = 1.0, 30.0
"""Seconds before the judge is started again: first, and at the most."""

SETTLED = 30.0
"""Seconds that a judge has to run until one that ended before it is forgotten: else one that ends at once, and is
started again, looks as if it ran."""

SILENCE = 60.0
"""Seconds without a judge until its last verdicts are taken back: what nobody looks at is not stable. One that says
nothing for so long is not up."""

STUCK = 300.0
"""Seconds after which a judge that says nothing is ended and started again: it says how far it is each two seconds,
between windows, and reads all references before it says anything."""

_LINE = msgspec.json.Decoder(published.Line)
_log = logging.getLogger(__name__)


class Supervisor:
    """The judge of one exporter's journal; `now` is the journal's time."""

    def __init__(
        self,
        state: Path,
        platform_file: Path | None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._platform_file = state, platform_file
        self._clock, self._now = clock, now
        self._told = published.Told()
        self._fresh: set[Subject] = set()
        self._status: published.Status | None = None
        self._lost_rows = 0
        self._restarts = -1
        self._begun: float | None = None
        self._ended: float | None = clock()
        self._heard = clock()
        self._has_ended_early = False

    # Running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the judge, and run it again when it ends, until this is cancelled."""
        pause = PAUSE[0]
        while True:
            begun = self._clock()
            self._restarts += 1
            try:
                await self._run_once()
            except Exception:  # whatever it was, drift has to be looked at
                _log.exception("the drift judge could not be followed")
            ran = self._clock() - begun
            self._has_ended_early = ran < SETTLED
            pause = PAUSE[0] if ran > PAUSE[1] else min(pause * 2, PAUSE[1])
            await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        command = modules.command(
            "exporters.drift.worker", "--state", str(self._state), "--platform", str(self._platform_file)
        )
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=published.MAX_LINE
        )
        try:
            self._begin()
            await self._listen(process)
            _log.error("the drift judge ended with code %s", await process.wait())
        finally:
            self._end()
            if process.returncode is None:
                process.kill()  # it may be stuck, and has nothing to finish: what it kept is whole
                await process.wait()

    def _begin(self) -> None:
        self._begun = self._heard = self._clock()
        self._ended = self._status = None
        self._fresh = set()
        self._told.forget_coming()

    def _end(self) -> None:
        self._lost_rows += self._status.lost_rows if self._status else 0
        self._begun, self._status, self._ended = None, None, self._clock()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        while stdout is not None and (text := await asyncio.wait_for(stdout.readline(), STUCK)):
            self._heard = self._clock()
            try:
                self._take(_LINE.decode(text))
            except (msgspec.MsgspecError, KeyError) as error:
                _log.error("the drift judge said something unreadable: %s", error)

    def _take(self, line: published.Line) -> None:
        if isinstance(line, published.Status):
            self._take_status(line)
            return
        if subject := self._told.take(line):
            self._fresh.add(subject)

    def _take_status(self, status: published.Status) -> None:
        if self._status is None:  # all that a judge before said, and this one did not, is no more
            for subject in self._told.samples.keys() - self._fresh:
                del self._told.samples[subject]
        self._status = status
        self._fresh.clear()

    # What is published -------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the judge runs, judges everything, and does not end again and again."""
        if self._begun is None or self._status is None or self._status.is_failing:
            return False
        if self._clock() - self._heard > SILENCE:
            return False
        return not self._has_ended_early or self._clock() - self._begun >= SETTLED

    def _take_back(self) -> None:
        """Forget the verdicts of a judge that has been away for long."""
        if self._ended is None or self._clock() - self._ended <= SILENCE:
            return
        for subject in [subject for subject in self._told.samples if subject[0] in published.OF_A_WINDOW]:
            del self._told.samples[subject]

    def _position(self) -> journal.Position | None:
        """How far the judge has read; without one, how far the last one had when it kept its windows."""
        if self._status is not None:
            return journal.Position(self._status.segment, self._status.offset)
        return store.read_position(self._state / "drift" / "position.json")

    def _behind(self, position: journal.Position) -> float:
        unread = journal.next_time(self._state, position)
        waiting = self._status.waiting_seconds if self._status else 0.0
        return max(waiting, 0.0 if unread is None else self._now() - unread)

    def samples(self) -> list[Sample]:
        """What the judge said last, whether it runs, and what it has yet to read."""
        self._take_back()
        position = self._position() or journal.Position(0, 0)
        lost_rows = self._status.lost_rows if self._status else 0
        return [
            (metrics.DRIFT_WORKER_UP, {}, int(self.is_up)),
            (metrics.DRIFT_WORKER_RESTARTS, {}, max(0, self._restarts)),
            (metrics.DRIFT_WORKER_BACKLOG, {}, store.backlog(self._state, position)),
            (metrics.DRIFT_WORKER_BEHIND, {}, self._behind(position)),
            (metrics.DRIFT_LOST_ROWS, {}, self._lost_rows + lost_rows),
            (metrics.DRIFT_LEFT_OUT, {}, self._status.left_out if self._status else 0),
            *chain.from_iterable(self._told.samples.values()),
        ]
