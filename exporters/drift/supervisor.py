"""Keeps the drift judge running beside the exporter, and holds what it said last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from exporters.drift import published
from exporters.events import store
from midwatch import metrics, modules
from midwatch.exposition import Sample

PAUSE = 1.0, 30.0
"""Seconds before the judge is started again: first, and at the most."""

SETTLED = 30.0
"""Seconds that a judge has to run until one that ended before it is forgotten: else one that ends at once, and is
started again, looks as if it ran."""

SILENCE = 60.0
"""Seconds without a judge until its last verdicts are taken back: what nobody looks at is not stable."""

_VERDICT = frozenset(metric.name for metric in published.VERDICT)
_LINE = msgspec.json.Decoder(published.Line)
_log = logging.getLogger(__name__)


class Supervisor:
    """The judge of one exporter's journal."""

    def __init__(self, state: Path, platform_file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._state, self._platform_file = state, platform_file
        self._clock = clock
        self._last: list[Sample] = []
        self._begun: float | None = None
        self._ended: float | None = clock()
        self._has_said = self._is_failing = self._has_ended_early = False

    async def run(self) -> None:
        """Run the judge, and run it again when it ends, until this is cancelled."""
        pause = PAUSE[0]
        while True:
            begun = self._clock()
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
            self._begun, self._ended, self._has_said = self._clock(), None, False
            await self._listen(process)
            _log.error("the drift judge ended with code %s", await process.wait())
        finally:
            self._begun, self._ended = None, self._clock()
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        said: list[Sample] = []
        while stdout is not None and (text := await stdout.readline()):
            try:
                line = _LINE.decode(text)
                said += [(metrics.CATALOGUE[name], labels, value) for name, labels, value in line.samples]
            except (msgspec.MsgspecError, KeyError) as error:
                _log.error("the drift judge said something unreadable: %s", error)
                continue
            if not line.more:
                self._last, said = said, []
                self._has_said, self._is_failing = True, line.is_failing

    @property
    def is_up(self) -> bool:
        """Whether the judge runs, judges everything, and does not end again and again."""
        if self._begun is None or not self._has_said or self._is_failing:
            return False
        return not self._has_ended_early or self._clock() - self._begun >= SETTLED

    def _take_back(self) -> None:
        """Forget the verdicts of a judge that has been away for long."""
        if self._ended is not None and self._clock() - self._ended > SILENCE:
            self._last = [sample for sample in self._last if sample[0].name not in _VERDICT]

    def samples(self) -> list[Sample]:
        """What the judge said last, whether it runs, and what it has yet to read."""
        self._take_back()
        position = store.read_position(self._state / "drift" / "position.json")
        backlog = store.backlog(self._state, position) if position else 0
        return [
            (metrics.DRIFT_WORKER_UP, {}, int(self.is_up)),
            (metrics.DRIFT_WORKER_BACKLOG, {}, backlog),
            *self._last,
        ]
